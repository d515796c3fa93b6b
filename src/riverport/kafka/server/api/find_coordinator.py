"""FindCoordinator v0-6: which broker coordinates a group (KIP-699: several at once from v4).

The first one makes `__consumer_offsets`; until it is there, and while nobody leads its partition, the answer is
COORDINATOR_NOT_AVAILABLE and clients ask again. There is no coordinator for transactions or share groups here: who asks
for one of transactions is told UNSUPPORTED_VERSION, which ends `init_transactions` at once, where any answer of Kafka's
would have it ask again until it times out.
"""

from typing import TYPE_CHECKING

from riverport.kafka.groups.records import partition_of
from riverport.kafka.server.request import Request
from riverport.kafka.server.topics import OFFSETS_TOPIC
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

GROUP, TRANSACTION, SHARE = 0, 1, 2

_Coordinator = m.FindCoordinatorResponse.Coordinator

_MESSAGES = {
    ErrorCode.COORDINATOR_NOT_AVAILABLE: "The coordinator is not available.",
    ErrorCode.UNSUPPORTED_VERSION: "Riverport has no transactions yet.",
    ErrorCode.INVALID_REQUEST: "This most likely occurs because of a request being malformed by the client library or "
    "the message was sent to an incompatible broker. See the broker logs for more details.",
}


def handle(broker: "Broker", request: Request) -> m.FindCoordinatorResponse:
    body: m.FindCoordinatorRequest = request.body
    keys = body.coordinator_keys if request.version >= 4 else [body.key]
    found = [_find(broker, request, body.key_type, key) for key in keys]
    if request.version >= 4:
        return m.FindCoordinatorResponse(coordinators=found)
    one = found[0]
    message = _MESSAGES.get(ErrorCode(one.error_code), "NONE")
    return m.FindCoordinatorResponse(0, one.error_code, message, one.node_id, one.host, one.port)


def _find(broker: "Broker", request: Request, key_type: int, key: str) -> _Coordinator:
    if key_type == TRANSACTION:
        return _Coordinator(key, -1, "", -1, ErrorCode.UNSUPPORTED_VERSION, _MESSAGES[ErrorCode.UNSUPPORTED_VERSION])
    if key_type != GROUP:
        message = "" if key_type == SHARE else _MESSAGES[ErrorCode.INVALID_REQUEST]
        return _Coordinator(key, -1, "", -1, ErrorCode.INVALID_REQUEST, message)
    topic = broker.metadata.image.topics.get(OFFSETS_TOPIC)
    if topic is None:
        broker.auto_creation.create(OFFSETS_TOPIC)
    else:
        leader = topic.partitions[partition_of(key, len(topic.partitions))].leader
        for node, host, port in broker.view.brokers(request.connection.listener.name):
            if node.id == leader:
                return _Coordinator(key, leader, host, port)
    return _Coordinator(key, -1, "", -1, ErrorCode.COORDINATOR_NOT_AVAILABLE)
