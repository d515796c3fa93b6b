"""The short way of followers' fetches: sessions that go on, partitions without errors.

As the lane of Produce it does what the general way does, and leaves to it, before anything is done, what is not
ordinary: sessions to be opened or closed, partitions that are new to a session, and whatever a test wants to see of
requests. Where an answer turns out to have an error in it, the general way writes it.
"""

from typing import TYPE_CHECKING, Any

from riverport.kafka.server import fetch_answers
from riverport.kafka.server.connection import LATER, Started
from riverport.kafka.server.fetch_session import Fetched, Refused
from riverport.kafka.server.follower_fetch import FollowerFetch, Told, answer_of
from riverport.kafka.server.request import Request
from riverport.kafka.wire import follower_frame
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.frame import framed

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker
    from riverport.kafka.server.connection import Connection
    from riverport.kafka.server.dispatch import Dispatch


class FollowerLane:
    """One for all connections of a broker's listeners."""

    def __init__(self, broker: "Broker", dispatch: "Dispatch") -> None:
        self._broker = broker
        self._dispatch = dispatch

    def serve(self, buffer: memoryview, start: int, stop: int, connection: "Connection") -> bytes | None:
        """LATER, whenever it was: the answer is delivered; None where the request is to go the general way."""
        broker = self._broker
        if broker.request_filter:
            return None
        asked = follower_frame.read(buffer, start, stop)
        if asked is None:
            return None
        sessions = broker.fetch_sessions
        session = sessions.find(asked.session_id, asked.session_epoch, True)
        if isinstance(session, Refused):
            return None
        follower = session.follower
        if follower is None or follower.replica_id != asked.replica_id:
            return None
        named: list[tuple[Fetched, follower_frame.Asked]] = []
        for topic_id, partitions in asked.topics:
            for entry in partitions:
                item = session.partitions.get((topic_id, entry[0]))
                if item is None or item.topic is None:
                    return None
                named.append((item, entry))
        for item, entry in named:
            _, item.leader_epoch, item.offset, item.last_fetched_epoch, item.log_start_offset, item.max_bytes, _ = entry
        now_ms = connection.last_active_ms
        follower.asked([item for item, _ in named], asked.replica_epoch, now_ms)
        sessions.touch(session, now_ms)
        fetch = FollowerFetch(broker, follower, asked.version, asked.min_bytes, asked.max_bytes, full=False)
        told = fetch.start(asked.max_wait_ms)
        place = connection.defer(ApiKey.FETCH)
        if told is None:
            place.hurry = lambda: fetch.finish(True)
            fetch.reply = lambda told: self._deliver(connection, place, asked, told)
        else:
            self._deliver(connection, place, asked, told)
        return LATER

    def _deliver(
        self, connection: "Connection", place: Started, asked: follower_frame.FollowerRequest, told: list[Told]
    ) -> None:
        parts: list[Any] = []
        if any(log is None for _, log, _ in told):
            connection.deliver(place, self._general(connection, asked, told))
            return
        follower_frame.write(
            asked.session_id,
            [
                (item.topic_id, item.index, log.high_watermark, log.last_stable_offset, log.log_start_offset, records)
                for item, log, records in told
                if log is not None
            ],
            parts.append,
        )
        connection.deliver(place, framed(True, asked.correlation_id, parts))

    def _general(self, connection: "Connection", asked: follower_frame.FollowerRequest, told: list[Told]) -> list[Any]:
        request = Request(ApiKey.FETCH, asked.version, asked.correlation_id, None, None, connection, 0.0)
        answers = [(item, answer_of(item, log, found)) for item, log, found in told]
        response = fetch_answers.response_of(self._broker, request, asked.session_id, answers)
        operation = self._dispatch.operation(ApiKey.FETCH, asked.version)
        assert operation is not None
        return operation.encode_answer(response, asked.correlation_id)
