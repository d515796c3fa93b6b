"""Replicas without a server: logs on simulated disks, a leader that answers, a follower that performs effects."""

from collections.abc import Iterable, Iterator
from typing import Any

from tests.kafka.log.kit import DIR, NOW_MS, SMALL, TOPIC_ID, batch, disk_with, open_at

from riverport.kafka.log import Isolation, Log
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.replica import follower
from riverport.kafka.replica.fetcher import Asked, Effect, Fetcher, FetchLimits, StartAt, Take, Truncate
from riverport.kafka.replica.leader import Surroundings
from riverport.kafka.replica.partition import Partition
from riverport.kafka.wire import codec
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

TOPIC = "t"
FETCH_VERSION = 17
LIMITS = FetchLimits(
    max_wait_ms=500, min_bytes=1, response_max_bytes=10_000, partition_max_bytes=1_000, backoff_ms=1_000
)


def replica(broker_id: int, index: int = 0, *, high_watermark: int = 0) -> Partition:
    """A partition with an empty log on a disk of its own."""
    log = open_at(disk_with(), f"{DIR[:-2]}-{index}", SMALL, high_watermark=high_watermark)
    return Partition(broker_id, TOPIC, index, TOPIC_ID, log, _storage_failed, _surroundings(broker_id))


def _storage_failed(log: Log, error: Exception) -> None:
    raise AssertionError(f"{log}: {error}")


def _surroundings(broker_id: int) -> Surroundings:
    return Surroundings(broker_id, 30_000, lambda: 1, lambda id_: None)


def log_of(partition: Partition) -> Log:
    assert partition.log is not None
    return partition.log


def led_by(partition: Partition, leader_id: int, epoch: int) -> None:
    """The metadata says so; nothing but the leadership changes."""
    partition.leader_id, partition.leader_epoch = leader_id, epoch
    if partition.is_leader:
        log_of(partition).start_leader_epoch(epoch)


def write(partition: Partition, *values: bytes) -> None:
    """Append batches of one record each as the leader; nothing of it is committed."""
    for value in values:
        log_of(partition).append_as_leader(batch(value), partition.leader_epoch, NOW_MS)


def batches(log: Log, start: int = 0) -> list[tuple[int, int, int]]:
    """(base offset, leader epoch, checksum) of every batch from an offset on."""
    return [(h.base_offset, h.leader_epoch, h.crc) for _, h in log.headers() if h.base_offset >= start]


class Leader:
    """Answers one follower's requests from the logs of partitions that it leads, with a fetch session."""

    def __init__(self, *partitions: Partition) -> None:
        self.partitions = {(p.topic_id, p.index): p for p in partitions}
        self.high_watermarks: dict[tuple[bytes, int], int] = {}
        self.errors: dict[int, ErrorCode] = {}  # by index: what to answer instead
        self.session: dict[tuple[bytes, int], Any] | None = None
        self.session_epoch = 0
        self.has_sessions = True
        self.requests: list[Any] = []
        self._told: dict[tuple[bytes, int], tuple[int, int]] = {}

    def answer(self, request: Any) -> Any:
        """As over a connection: only bytes pass."""
        version = FETCH_VERSION if isinstance(request, m.FetchRequest) else 9
        copy, _ = codec.decode(type(request), version, codec.encode(request, version))
        self.requests.append(copy)
        response = self._fetch(copy) if isinstance(copy, m.FetchRequest) else self._list_offsets(copy)
        return codec.decode(type(response), version, memoryview(codec.encode(response, version)))[0]

    def _fetch(self, request: m.FetchRequest) -> m.FetchResponse:
        assert (request.replica_id, request.replica_state.replica_epoch) == (-1, 7)
        named = {(t.topic_id, p.partition): p for t in request.topics for p in t.partitions}
        is_full = request.session_epoch == 0
        if is_full:
            self.session, self.session_epoch, self._told = dict(named), 1, {}
        elif self.session is None or request.session_id != 99 or request.session_epoch != self.session_epoch:
            return m.FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        else:
            self.session.update(named)
            for topic in request.forgotten_topics_data:
                for index in topic.partitions:
                    self.session.pop((topic.topic_id, index), None)
            self.session_epoch += 1
        topics: dict[bytes, list[Any]] = {}
        for (topic_id, index), wanted in self.session.items():
            found = self._partition(self.partitions[topic_id, index], wanted)
            state = (found.high_watermark, found.log_start_offset)
            is_news = found.error_code or found.records or found.diverging_epoch.epoch >= 0
            if is_full or is_news or self._told.get((topic_id, index)) != state:
                topics.setdefault(topic_id, []).append(found)
            self._told[topic_id, index] = state
        if not self.has_sessions:
            self.session = None
        answers = [m.FetchResponse.FetchableTopicResponse("", topic_id, found) for topic_id, found in topics.items()]
        return m.FetchResponse(session_id=99 if self.has_sessions else 0, responses=answers)

    def _partition(self, partition: Partition, wanted: Any) -> Any:
        answer = m.FetchResponse.PartitionData(wanted.partition, high_watermark=-1, records=b"")
        if (error := self.errors.get(partition.index)) is not None:
            answer.error_code = error
            return answer
        try:
            log = partition.leader_log(wanted.current_leader_epoch)
            if wanted.last_fetched_epoch >= 0:
                epoch, end = log.offset_for_leader_epoch(wanted.last_fetched_epoch)
                if epoch < wanted.last_fetched_epoch or end < wanted.fetch_offset:
                    answer.diverging_epoch = m.FetchResponse.EpochEndOffset(epoch, end)
                    return answer
            read = log.read(wanted.fetch_offset, wanted.partition_max_bytes, isolation=Isolation.LOG_END, min_one=True)
        except ApiError as error:
            answer.error_code = error.code
            return answer
        answer.high_watermark = self.high_watermarks.get((partition.topic_id, partition.index), log.high_watermark)
        answer.log_start_offset = log.log_start_offset
        answer.records = read.records
        return answer

    def _list_offsets(self, request: m.ListOffsetsRequest) -> m.ListOffsetsResponse:
        answer = m.ListOffsetsResponse.ListOffsetsPartitionResponse
        topics = []
        for topic in request.topics:
            answers = []
            for wanted in topic.partitions:
                partition = self.partitions[TOPIC_ID, wanted.partition_index]
                try:
                    log = partition.leader_log(wanted.current_leader_epoch)
                    offset = log.log_end_offset if wanted.timestamp == -1 else log.log_start_offset
                    answers.append(answer(wanted.partition_index, 0, offset=offset))
                except ApiError as error:
                    answers.append(answer(wanted.partition_index, error.code))
            topics.append(m.ListOffsetsResponse.ListOffsetsTopicResponse(topic.name, answers))
        return m.ListOffsetsResponse(topics=topics)


def fetcher_of(*partitions: Partition) -> Fetcher:
    made = Fetcher(partitions[0].broker_id, LIMITS)
    for partition in partitions:
        made.follow(partition)
    return made


def ask(fetcher: Fetcher, now_ms: float = 0) -> Asked:
    asked = fetcher.next_request(now_ms, 7)
    assert asked is not None, "nothing to ask for"
    return asked


def perform(effects: Iterable[Effect]) -> list[Effect]:
    """As the broker's shell does."""
    done = []
    for effect in effects:
        partition = effect.followed.partition
        match effect:
            case Take():
                follower.take(partition, effect.records, effect.high_watermark, effect.log_start, NOW_MS)
            case Truncate():
                follower.truncate(partition, effect.offset, NOW_MS)
            case StartAt():
                follower.start_at(partition, effect.offset, NOW_MS)
        done.append(effect)
    return done


def exchange(fetcher: Fetcher, leader: Leader, now_ms: float = 0) -> list[Effect]:
    """One request and its answer; the effects, performed."""
    asked = ask(fetcher, now_ms)
    return perform(fetcher.answered(asked, leader.answer(asked.message), now_ms))


def exchanges(fetcher: Fetcher, leader: Leader, most: int = 100) -> Iterator[list[Effect]]:
    """Until an answer changes nothing any more."""
    for now_ms in range(0, most * 10_000, 10_000):
        if (asked := fetcher.next_request(now_ms, 7)) is None:
            continue
        effects = perform(fetcher.answered(asked, leader.answer(asked.message), now_ms))
        yield effects
        if isinstance(asked.message, m.FetchRequest) and not any(
            not isinstance(effect, Take) or effect.records for effect in effects
        ):
            return
    raise AssertionError("it never comes to rest")


def catch_up(fetcher: Fetcher, leader: Leader) -> None:
    for _ in exchanges(fetcher, leader):
        pass


def last_epochs(log: Log) -> list[int]:
    """The leader epochs of the batches, one after the other."""
    return sorted({header.leader_epoch for _, header in log.headers()})


def whole(records: Any) -> int:
    return sum(1 for _ in iter_headers(records))
