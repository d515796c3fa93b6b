"""Metadata v0-13 (KIP-516 topic ids, KIP-4 auto-creation flag, KIP-1102 re-bootstrap code in v13).

Answers are not cached whole; what is cached is the topic part, encoded for each topic, until the image changes it.
"""

from asyncio import Future
from functools import partial
from typing import TYPE_CHECKING

from riverport.base.ids import ZERO_UUID
from riverport.kafka.server.request import Request
from riverport.kafka.wire import codec
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.classes import EncodedElements
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Broker = m.MetadataResponse.MetadataResponseBroker
_Topic = m.MetadataResponse.MetadataResponseTopic


def handle(broker: "Broker", request: Request) -> "m.MetadataResponse | Future[m.MetadataResponse]":
    body: m.MetadataRequest = request.body
    if body.topics and any(topic.name is None and topic.topic_id == ZERO_UUID for topic in body.topics):
        # Neither a name nor an id: Apache Kafka fails at it as a whole.
        code = ErrorCode.UNKNOWN_SERVER_ERROR
        return m.MetadataResponse(topics=[_Topic(code, t.name or "", t.topic_id) for t in body.topics], error_code=code)
    if _is_hidden(broker, body):
        awaited = broker.awaited_leaders.wait(partial(_is_hidden, broker, body), partial(_answer, broker, request))
        request.hurry = partial(broker.awaited_leaders.finish, awaited)
        return awaited
    return _answer(broker, request)


def _is_hidden(broker: "Broker", body: m.MetadataRequest) -> bool:
    """Whether the leader of a partition that is asked about is hidden for the moment."""
    hidden = broker.view.hidden_topics()
    if not hidden or body.topics is None:
        return bool(hidden)
    return any((topic.name or broker.topic_names.get(topic.topic_id)) in hidden for topic in body.topics)


def _answer(broker: "Broker", request: Request) -> m.MetadataResponse:
    body, listener = request.body, request.connection.listener.name
    response = m.MetadataResponse(
        brokers=[_Broker(node.id, host, port, node.rack) for node, host, port in broker.view.brokers(listener)],
        cluster_id=broker.cluster_id,
        controller_id=broker.view.shown_controller(),
        topics=_topics(broker, request),
    )
    if 8 <= request.version <= 10 and body.include_cluster_authorized_operations:
        response.cluster_authorized_operations = broker.view.cluster_operations()
    return response


def _refusal(request: Request) -> list[_Topic] | None:
    """v10 and v11 have ids in the request but may not ask by them; null names need an id (KIP-516)."""
    version, topics = request.version, request.body.topics
    if topics is None:
        return None
    wrong = False
    if 10 <= version <= 11:
        wrong = any(topic.name is None or topic.topic_id != ZERO_UUID for topic in topics)
    if not wrong:
        return None
    return [_Topic(ErrorCode.INVALID_REQUEST, topic.name or "", topic.topic_id) for topic in topics]


def _topics(broker: "Broker", request: Request) -> list[_Topic]:
    """What is asked for, encoded already where no caller wants more than everybody is told."""
    refused = _refusal(request)
    if refused is not None:
        return refused
    listener, version, view = request.connection.listener.name, request.version, broker.view
    asked = _asked(broker, request)
    if version >= 8 and request.body.include_topic_authorized_operations:
        found = [view.topic_metadata(one, listener) if isinstance(one, str) else one for one in asked]
        return [_with_operations(broker, topic) for topic in found]
    return EncodedElements(
        view.encoded_topic(one, listener, version) if isinstance(one, str) else codec.encode(one, version)
        for one in asked
    )


def _asked(broker: "Broker", request: Request) -> list[str | _Topic]:
    """The names of the topics that there are, and what is said of those that there are not."""
    body, view = request.body, broker.view
    if body.topics is None or (request.version == 0 and not body.topics):
        return [*view.topic_names()]
    if ids := dict.fromkeys(topic.topic_id for topic in body.topics if topic.topic_id != ZERO_UUID):
        # Names are then passed over.
        return [
            broker.topic_names.get(topic_id) or _Topic(ErrorCode.UNKNOWN_TOPIC_ID, None, topic_id) for topic_id in ids
        ]
    asked: list[str | _Topic] = []
    missing: list[str] = []
    for name in dict.fromkeys(topic.name for topic in body.topics):
        (asked if broker.has_topic(name) else missing).append(name)
    may_create = request.version < 4 or body.allow_auto_topic_creation
    for name in missing:
        code = broker.auto_creation.missing(name, may_create=may_create)
        asked.append(_Topic(code, name, ZERO_UUID, view.is_internal(name)))
    return asked


def _with_operations(broker: "Broker", topic: _Topic) -> _Topic:
    """A copy: the topic's own object is shared by all answers."""
    return _Topic(
        topic.error_code,
        topic.name,
        topic.topic_id,
        topic.is_internal,
        topic.partitions,
        broker.view.topic_operations() if not topic.error_code else -(2**31),
    )
