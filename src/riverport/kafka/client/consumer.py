"""Records of assigned partitions, in order, from where the group or the caller left off.

Partitions are given with `assign`, or taken from a group with `subscribe`. `poll` hands out what has been fetched and
fetches while there is nothing: one request for each leader, answers taken as they come, batches opened as their records
are handed out. A partition is fetched again when its last answer is used up, so memory is bounded by one answer each.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from riverport.kafka.client.client import Client
from riverport.kafka.client.errors import ClientError, Disconnected, Refused, TimedOut, Unreachable
from riverport.kafka.client.group import REJOIN, GroupMember
from riverport.kafka.client.offsets import (
    EARLIEST,
    LATEST,
    CommittedOffset,
    TopicPartition,
    commit_offsets,
    committed_offsets,
    list_offsets,
)
from riverport.kafka.client.retry import now_s
from riverport.kafka.records.batch import check_crc, iter_headers
from riverport.kafka.records.control import ControlType, control_type
from riverport.kafka.records.errors import RecordError
from riverport.kafka.records.record import Record, iter_records
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

MAX_WAIT_MS = 500
"""Longest wait of one Fetch request at the broker."""
FETCH_BYTES = 16 * 1024 * 1024
"""Most bytes of one Fetch answer (the first batch is sent even if it is larger, KIP-74)."""
PARTITION_BYTES = 1024 * 1024
RETRY_PAUSE_S = 0.1

Reset = Literal["earliest", "latest", "error"]


@dataclass(slots=True, frozen=True)
class ConsumedRecord:
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(slots=True)
class _Partition:
    """One assigned partition. `position` is the offset of the next record to hand out, -1 until it is known."""

    position: int = -1
    records: "Iterator[ConsumedRecord] | None" = None  # of the last answer, not used up
    end: int = 0  # the offset behind the last batch of that answer
    high_watermark: int = -1


class Consumer:
    """`async with Consumer(client, group="g") as consumer`; leaving the block leaves the group."""

    def __init__(
        self,
        client: Client,
        *,
        group: str | None = None,
        reset: Reset = "earliest",
        read_committed: bool = False,
        instance_id: str | None = None,
        session_timeout_ms: int = 45_000,
        rebalance_timeout_ms: int = 60_000,
        heartbeat_ms: int = 3_000,
        fetch_bytes: int = FETCH_BYTES,
        partition_bytes: int = PARTITION_BYTES,
        commit_on_rebalance: bool = False,
    ) -> None:
        """With `commit_on_rebalance`, what was polled counts as done before the partitions are given up."""
        self._client = client
        self._group = group
        self._reset: Reset = reset
        self._read_committed = read_committed
        self._member_options = {
            "instance_id": instance_id,
            "session_timeout_ms": session_timeout_ms,
            "rebalance_timeout_ms": rebalance_timeout_ms,
            "heartbeat_ms": heartbeat_ms,
        }
        self._fetch_bytes = fetch_bytes
        self._partition_bytes = partition_bytes
        self._commit_on_rebalance = commit_on_rebalance
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._fetches: dict[int, asyncio.Task[None]] = {}  # by leader
        self._lane = f"fetch-{id(self)}"
        self._joining: asyncio.Task[None] | None = (
            None  # goes on between polls, so that two members of one task can join
        )
        self.member: GroupMember | None = None

    async def __aenter__(self) -> "Consumer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the group. What was polled and not committed is polled again by the next member."""
        await self._drop_fetches()
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)
        if self.member is not None:
            await self.member.leave()
            self.member = None
        await self._client.close_lane(self._lane)

    # --- what to consume

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Consume exactly these; positions of those that stay are kept."""
        self._partitions = {place: self._partitions.get(place) or _Partition() for place in partitions}

    def subscribe(self, topics: Iterable[str]) -> None:
        """Consume what the group gives us of these topics; the next `poll` joins it."""
        if self._group is None:
            raise ClientError("subscribe needs a group; without one, assign partitions")
        self.member = GroupMember(self._client, self._group, list(topics), **self._member_options)  # type: ignore[arg-type]
        self._partitions = {}

    @property
    def assignment(self) -> list[TopicPartition]:
        return sorted(self._partitions)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Go on at `offset`; the partition must be assigned."""
        if (topic, partition) not in self._partitions:
            raise ClientError(f"{topic}-{partition} is not assigned")
        self._partitions[topic, partition] = _Partition(position=offset)

    def position(self, topic: str, partition: int) -> int:
        """The offset of the next record that `poll` hands out, -1 while it is not known."""
        return self._partitions[topic, partition].position

    def high_watermark(self, topic: str, partition: int) -> int:
        """As of the last answer, -1 before the first."""
        return self._partitions[topic, partition].high_watermark

    # --- records

    async def poll(self, *, timeout_ms: float = 1000, max_records: int = 500) -> list[ConsumedRecord]:
        """Up to `max_records` records, as soon as there is one; none after `timeout_ms`. Raises ClientError."""
        deadline = now_s() + timeout_ms / 1000
        while True:
            if self.member is not None and self.member.stale and not await self._rejoined(deadline):
                return []
            records = self._take(max_records)
            left = deadline - now_s()
            if records or left <= 0:
                return records
            await self._find_positions()
            await self._fetch(left)

    async def commit(self) -> None:
        """Commit the positions: the next member starts at the records that `poll` has not handed out yet."""
        if self._group is None:
            raise ClientError("commit needs a group")
        offsets = {place: CommittedOffset(p.position) for place, p in self._partitions.items() if p.position >= 0}
        member = self.member
        if member is None:
            await commit_offsets(self._client, self._group, offsets)
        else:
            await commit_offsets(
                self._client,
                self._group,
                offsets,
                generation=member.generation,
                member_id=member.member_id,
                instance_id=member.instance_id,
            )

    async def commit_if_owned(self) -> bool:
        """As `commit`; False where nothing is assigned, or where it comes too late: the next owner polls it again."""
        if not self._partitions:
            return False
        try:
            await self.commit()
        except Refused as error:
            if error.code not in REJOIN:
                raise
            return False
        return True

    async def _rejoined(self, deadline: float) -> bool:
        """Take part in a rebalance; False where it is not over at the deadline."""
        if self._joining is None:
            self._joining = asyncio.create_task(self._rejoin())
        await asyncio.wait({self._joining}, timeout=max(0.0, deadline - now_s()))
        if not self._joining.done():
            return False
        joining, self._joining = self._joining, None
        joining.result()
        return True

    async def _rejoin(self) -> None:
        assert self.member is not None
        await self._drop_fetches()
        if self._commit_on_rebalance:
            await self.commit_if_owned()
        self._partitions = {}
        self._partitions = {place: _Partition() for place in await self.member.join()}

    def _take(self, most: int) -> list[ConsumedRecord]:
        taken: list[ConsumedRecord] = []
        for place, partition in self._partitions.items():
            while partition.records is not None and len(taken) < most:
                try:
                    record = next(partition.records, None)
                except RecordError as error:
                    partition.records = None
                    raise ClientError(f"{place[0]}-{place[1]} at offset {partition.position}: {error}") from error
                if record is None:
                    partition.records = None
                    partition.position = max(partition.position, partition.end)
                else:
                    partition.position = record.offset + 1
                    taken.append(record)
        return taken

    # --- positions

    async def _find_positions(self) -> None:
        """From what the group has committed, else from the end that `reset` names."""
        unknown = [place for place, partition in self._partitions.items() if partition.position < 0]
        if unknown and self._group is not None:
            committed = await committed_offsets(self._client, self._group, unknown, require_stable=self._read_committed)
            for place, at in committed.items():
                self._partitions[place].position = at.offset
        await self._reset_positions([place for place in unknown if self._partitions[place].position < 0])

    async def _reset_positions(self, places: list[TopicPartition]) -> None:
        if not places:
            return
        if self._reset == "error":
            raise ClientError(f"no offset to start from in {', '.join(f'{t}-{p}' for t, p in places)}")
        time_ms = EARLIEST if self._reset == "earliest" else LATEST
        found = await list_offsets(self._client, dict.fromkeys(places, time_ms), read_committed=self._read_committed)
        for place in places:
            self._partitions[place] = _Partition(position=found[place].offset)

    # --- fetching

    async def _fetch(self, seconds: float) -> None:
        """Ask the leaders that have no request under way; return when one has answered or the time is over."""
        view = await self._client.metadata(dict.fromkeys(topic for topic, _ in self._partitions))
        wanted: dict[int, list[TopicPartition]] = defaultdict(list)
        for place, partition in self._partitions.items():
            if partition.records is None:
                wanted[view.leader(*place)].append(place)
        if wanted.pop(-1, None):
            self._client.forget_view()
        for leader, places in wanted.items():
            if leader not in self._fetches:
                self._fetches[leader] = asyncio.create_task(self._fetch_from(leader, places, seconds))
        if not self._fetches:
            await asyncio.sleep(min(seconds, RETRY_PAUSE_S))
            return
        await asyncio.wait(self._fetches.values(), timeout=min(seconds, 1), return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in self._fetches.values() if task.done()]
        self._fetches = {leader: task for leader, task in self._fetches.items() if not task.done()}
        for task in done:
            task.result()

    async def _drop_fetches(self) -> None:
        for task in self._fetches.values():
            task.cancel()
        await asyncio.gather(*self._fetches.values(), return_exceptions=True)
        self._fetches.clear()

    async def _fetch_from(self, leader: int, places: list[TopicPartition], seconds: float) -> None:
        asked = {place: self._partitions[place].position for place in places}
        ids = {topic: self._client.view.topic_id(topic) for topic, _ in places}
        request = self._request(asked, ids, int(min(seconds * 1000, MAX_WAIT_MS)))
        try:
            # From version 13 on topics are named by id only, which brokers before 2.8 do not have.
            most = 18 if all(map(any, ids.values())) else 12
            answer = await self._client.ask(request, node=leader, lane=self._lane, most=most)
        except (Disconnected, TimedOut, Unreachable):
            self._client.forget_view()
            await asyncio.sleep(RETRY_PAUSE_S)
            return
        if answer.error_code:
            raise Refused(answer.error_code, f"fetch from node {leader}")
        names = {topic_id: topic for topic, topic_id in ids.items()}
        lost: list[TopicPartition] = []
        for topic in answer.responses:
            for p in topic.partitions:
                place = (topic.topic or names.get(topic.topic_id, ""), p.partition_index)
                partition = self._partitions.get(place)
                # Assigned anew or sought elsewhere meanwhile: this answer is late, not wrong.
                if partition is not None and partition.position == asked.get(place) and partition.records is None:
                    lost += self._accept(place, partition, p)
        await self._reset_positions(lost)
        told = [p for topic in answer.responses for p in topic.partitions]
        if any(p.error_code for p in told) and not lost and not any(p.records for p in told):
            await asyncio.sleep(RETRY_PAUSE_S)  # who leads now may not be known yet, or not be there

    def _request(self, asked: dict[TopicPartition, int], ids: dict[str, bytes], wait_ms: int) -> m.FetchRequest:
        topics: dict[str, list[m.FetchRequest.FetchPartition]] = defaultdict(list)
        for (topic, partition), offset in asked.items():
            topics[topic].append(
                m.FetchRequest.FetchPartition(
                    partition=partition,
                    # A replica that has another leader by now must not tell us that its log has no such offset.
                    current_leader_epoch=self._client.view.leader_epoch(topic, partition),
                    fetch_offset=offset,
                    partition_max_bytes=self._partition_bytes,
                )
            )
        return m.FetchRequest(
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=self._fetch_bytes,
            isolation_level=int(self._read_committed),
            topics=[
                m.FetchRequest.FetchTopic(topic=topic, topic_id=ids[topic], partitions=partitions)
                for topic, partitions in topics.items()
            ],
        )

    def _accept(self, place: TopicPartition, partition: _Partition, answer: Any) -> list[TopicPartition]:
        """One partition of an answer; returns it if its position is outside the log."""
        what = f"{place[0]}-{place[1]}"
        if answer.error_code == ErrorCode.OFFSET_OUT_OF_RANGE:
            if self._reset == "error":
                raise Refused(answer.error_code, f"{what} at offset {partition.position}")
            return [place]
        if answer.error_code:
            error = Refused(answer.error_code, what)
            if not error.retriable:
                raise error
            self._client.forget_view()
            return []
        partition.high_watermark = answer.high_watermark
        if answer.records is not None and len(answer.records):
            aborted = answer.aborted_transactions if self._read_committed else None
            partition.end = partition.position
            partition.records = _opened(place, partition, answer.records, aborted or [])
        return []


def _opened(
    place: TopicPartition, partition: _Partition, records: memoryview, aborted: list[Any]
) -> Iterator[ConsumedRecord]:
    """The records of an answer from the position on, without markers and (KIP-98) without aborted transactions."""
    start = partition.position
    waiting = sorted(aborted, key=lambda transaction: transaction.first_offset, reverse=True)
    rolled_back: set[int] = set()  # producers whose transaction, at this point of the log, will have been aborted
    topic, index = place
    for header in iter_headers(records):
        if not check_crc(records, header):
            raise RecordError(ErrorCode.CORRUPT_MESSAGE, "the checksum of a batch is wrong")
        while waiting and waiting[-1].first_offset <= header.last_offset:
            rolled_back.add(waiting.pop().producer_id)
        partition.end = max(partition.end, header.next_offset)
        if header.is_control:
            for record in iter_records(records, header):
                if control_type(record) is ControlType.ABORT:
                    rolled_back.discard(header.producer_id)
        elif not (header.is_transactional and header.producer_id in rolled_back):
            for record in iter_records(records, header):
                if record.offset >= start:
                    yield _consumed(topic, index, record)


def _consumed(topic: str, partition: int, record: Record) -> ConsumedRecord:
    return ConsumedRecord(topic, partition, record.offset, record.timestamp, record.key, record.value, record.headers)
