"""Records into batches, batches to the leaders of their partitions.

A partition has at most one batch on its way, so retries never reorder it. With `idempotent=True` the broker drops what
a retry sends twice (KIP-98). `send` waits while BUFFER_BYTES are waiting to be sent: memory is bounded.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from riverport.base.tasks import Tasks
from riverport.kafka.client.client import Client
from riverport.kafka.client.errors import ClientError, Disconnected, Refused, TimedOut, Unreachable, check
from riverport.kafka.client.partitioner import partition_of
from riverport.kafka.client.retry import Backoff, now_s
from riverport.kafka.records.batch import add_sequence
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.codecs import Codec
from riverport.kafka.records.record import Header
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

BUFFER_BYTES = 32 * 1024 * 1024
"""Bytes of records that wait or are on their way; `send` waits for room."""
RECORD_OVERHEAD = 32
"""What a record is counted to cost beside its key and value."""

TopicPartition = tuple[str, int]
PASSING = (Disconnected, TimedOut, Unreachable)
NEW_PRODUCER_ID = frozenset(
    (ErrorCode.UNKNOWN_PRODUCER_ID, ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
)


@dataclass(slots=True, frozen=True)
class Delivery:
    """Where a record is. The offset is -1 with acks=0, and where a retry was recognised after the fact."""

    topic: str
    partition: int
    offset: int
    timestamp: int


@dataclass(slots=True)
class _Batch:
    deadline: float  # on the loop's clock; given up on after that
    ready_at: float  # the end of its linger, or of a wait before a retry
    records: list[NewRecord] = field(default_factory=list)
    futures: list["asyncio.Future[Delivery]"] = field(default_factory=list)
    size: int = 0
    full: bool = False
    failed: bool = False  # it was sent, and is to be sent again
    producer: tuple[int, int, int] | None = None  # id, epoch, base sequence: given at the first attempt, kept for all
    backoff: Backoff = field(default_factory=Backoff)


class Producer:
    """`async with Producer(client) as producer`; leaving the block sends what is left."""

    def __init__(
        self,
        client: Client,
        *,
        acks: int = -1,
        idempotent: bool = False,
        codec: Codec = Codec.NONE,
        linger_ms: float = 5,
        batch_bytes: int = 64 * 1024,
        buffer_bytes: int = BUFFER_BYTES,
        delivery_timeout_ms: float = 120_000,
    ) -> None:
        if idempotent and acks != -1:
            raise ClientError("an idempotent producer needs acks=all (-1)")
        self._client = client
        self._acks = acks
        self._idempotent = idempotent
        self._codec = codec
        self._linger = linger_ms / 1000
        self._batch_bytes = batch_bytes
        self._buffer_bytes = buffer_bytes
        self._delivery_timeout = delivery_timeout_ms / 1000
        self._queues: dict[TopicPartition, deque[_Batch]] = defaultdict(deque)
        self._muted: set[TopicPartition] = set()  # a batch is on its way
        self._buffered = 0
        self._room = asyncio.Condition()
        self._wake = asyncio.Event()
        self._flushing = 0
        self._sticky: dict[str, int] = {}  # where the next record without a key goes
        self._identity: tuple[int, int] | None = None
        self._sequences: dict[TopicPartition, int] = {}
        self._tasks = Tasks()
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Producer":
        return self

    async def __aexit__(self, error_type: object, *_: object) -> None:
        if error_type is None:
            await self.flush()
        await self.close()

    async def close(self) -> None:
        """Stop; what is not sent is given up on. `flush` first to send it."""
        for task in (self._sender, *self._tasks):
            if task is not None:
                task.cancel()
        await asyncio.gather(*filter(None, (self._sender, *self._tasks)), return_exceptions=True)
        for queue in self._queues.values():
            for batch in queue:
                self._fail(batch, ClientError("the producer was closed before the record was sent"))
        self._queues.clear()

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: Iterable[Header] = (),
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> "asyncio.Future[Delivery]":
        """Queue one record; the future is done when it is acknowledged. Waits while the buffer is full.

        Without a partition, a key decides (murmur2, as the Java client); without a key, batches go round.
        """
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_batches())
        partitions = (await self._client.topic(topic, create=True)).partitions
        if partition is None:
            partition = self._choose(topic, key, list(partitions))
        elif partition not in partitions:
            raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"partition {topic}-{partition}")
        headers = list(headers)
        size = RECORD_OVERHEAD + len(key or b"") + len(value or b"")
        size += sum(len(name) + len(content or b"") + 8 for name, content in headers)
        if self._buffered + size > self._buffer_bytes:
            async with self._room:
                await self._room.wait_for(lambda: not self._buffered or self._buffered + size <= self._buffer_bytes)
        self._buffered += size
        record = NewRecord(key, value, headers, self._client.clock.wall_ms() if timestamp is None else timestamp)
        return self._queue(topic, partition, record, size)

    async def flush(self) -> None:
        """Wait until every record that was queued is acknowledged or has failed."""
        self._flushing += 1
        try:
            while waiting := [f for queue in self._queues.values() for b in queue for f in b.futures if not f.done()]:
                self._wake.set()
                await asyncio.wait(waiting)
        finally:
            self._flushing -= 1

    # --- batches

    def _choose(self, topic: str, key: bytes | None, partitions: list[int]) -> int:
        if key is not None:
            return partition_of(key, len(partitions))
        chosen = self._sticky[topic] = partitions[self._sticky.get(topic, 0) % len(partitions)]
        return chosen

    def _queue(self, topic: str, partition: int, record: NewRecord, size: int) -> "asyncio.Future[Delivery]":
        queue = self._queues[topic, partition]
        now = now_s()
        batch = queue[-1] if queue else None
        if batch is None or batch.full or batch.producer is not None or batch.size + size > self._batch_bytes:
            if batch is not None:
                batch.full = True
            batch = _Batch(now + self._delivery_timeout, now + self._linger, backoff=Backoff(rng=self._client.rng))
            queue.append(batch)
            self._wake.set()
        batch.records.append(record)
        batch.size += size
        if batch.size >= self._batch_bytes:
            batch.full = True
            self._next_partition(topic, partition)
            self._wake.set()
        future: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        batch.futures.append(future)
        return future

    def _next_partition(self, topic: str, partition: int) -> None:
        """Records without a key stay with one partition until its batch is done, then go to the next."""
        if self._sticky.get(topic) == partition:
            self._sticky[topic] = partition + 1

    async def _send_batches(self) -> None:
        """The sender: takes what is ready, one request for each leader, until the producer is closed."""
        while True:
            self._wake.clear()
            now = now_s()
            next_at = now + 60
            ready: dict[TopicPartition, _Batch] = {}
            for place, queue in self._queues.items():
                if queue and place not in self._muted:
                    batch = queue[0]
                    at = now if (batch.full or self._flushing) and not batch.failed else batch.ready_at
                    if at <= now:
                        ready[place] = batch
                    else:
                        next_at = min(next_at, at)
            if ready:
                self._start(ready)
            try:
                async with asyncio.timeout(next_at - now):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _start(self, ready: dict[TopicPartition, _Batch]) -> None:
        by_leader: dict[int, dict[TopicPartition, _Batch]] = defaultdict(dict)
        for (topic, partition), batch in ready.items():
            batch.full = True  # nothing is added to a batch that was sent
            self._next_partition(topic, partition)
            self._muted.add((topic, partition))
            by_leader[self._client.view.leader(topic, partition)][topic, partition] = batch
        for leader, batches in by_leader.items():
            self._tasks.start(self._deliver(leader, batches))

    async def _deliver(self, leader: int, batches: dict[TopicPartition, _Batch]) -> None:
        """One Produce request, and what its answer means for each batch."""
        try:
            if leader < 0:
                raise Refused(ErrorCode.LEADER_NOT_AVAILABLE, "a partition without a leader")
            if self._idempotent:
                await self._identify(batches)
            answers = await self._produce(leader, batches)
        except PASSING as error:
            outcomes: dict[TopicPartition, Delivery | ClientError] = dict.fromkeys(batches, error)
        except ClientError as error:
            outcomes = dict.fromkeys(batches, error)
        else:
            outcomes = answers
        for place, batch in batches.items():
            self._settle(place, batch, outcomes.get(place) or TimedOut(f"no word of {place[0]}-{place[1]}"))
        self._muted.difference_update(batches)
        self._wake.set()
        async with self._room:
            self._room.notify_all()
        if any(isinstance(outcome, ClientError) for outcome in outcomes.values()):
            await self._look_again({topic for topic, _ in batches})

    async def _look_again(self, topics: Iterable[str]) -> None:
        """After an error leaders may have moved."""
        try:
            await self._client.refresh(list(topics))
        except ClientError:
            self._client.forget_view()

    def _settle(self, place: TopicPartition, batch: _Batch, outcome: "Delivery | ClientError") -> None:
        if isinstance(outcome, ClientError):
            passes = isinstance(outcome, PASSING) or (isinstance(outcome, Refused) and outcome.retriable)
            wait = batch.backoff.next_ms() / 1000
            if passes and now_s() + wait < batch.deadline:
                batch.ready_at, batch.failed = now_s() + wait, True
                return
            if self._idempotent:
                # Sequences behind the lost batch would leave a gap: start again under a new id.
                self._identity = None
        self._queues[place].popleft()
        self._buffered -= batch.size
        if isinstance(outcome, ClientError):
            self._fail(batch, outcome)
            return
        for delta, future in enumerate(batch.futures):
            if not future.done():
                offset = outcome.offset + delta if outcome.offset >= 0 else -1
                stamp = outcome.timestamp if outcome.timestamp >= 0 else batch.records[delta].timestamp
                future.set_result(Delivery(place[0], place[1], offset, stamp))

    def _fail(self, batch: _Batch, error: ClientError) -> None:
        for future in batch.futures:
            if not future.done():
                future.set_exception(error)
                future.exception()  # a caller that does not look at it has chosen not to know

    # --- requests

    async def _identify(self, batches: dict[TopicPartition, _Batch]) -> None:
        """Give each new batch the producer's id, epoch and its sequence."""
        if self._identity is None:
            request = m.InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)

            async def attempt() -> tuple[int, int]:
                answer = await self._client.ask(request)
                check(answer.error_code, "a producer id")
                return answer.producer_id, answer.producer_epoch

            self._identity = await self._client.retrying(attempt)
            self._sequences.clear()
        for place, batch in batches.items():
            if batch.producer is None:
                sequence = self._sequences.get(place, 0)
                batch.producer = (*self._identity, sequence)
                self._sequences[place] = add_sequence(sequence, len(batch.records))

    async def _produce(
        self, leader: int, batches: dict[TopicPartition, _Batch]
    ) -> "dict[TopicPartition, Delivery | ClientError]":
        topics: dict[str, list[m.ProduceRequest.PartitionProduceData]] = defaultdict(list)
        for (topic, partition), batch in batches.items():
            producer_id, epoch, sequence = batch.producer or (-1, -1, -1)
            data = build_batch(
                batch.records,
                codec=self._codec,
                producer_id=producer_id,
                producer_epoch=epoch,
                base_sequence=sequence,
            )
            topics[topic].append(m.ProduceRequest.PartitionProduceData(index=partition, records=data))
        view = self._client.view
        ids = {topic: view.topic_id(topic) for topic in topics}
        request = m.ProduceRequest(
            acks=self._acks,
            timeout_ms=int(self._client.request_timeout_ms),
            topic_data=[
                m.ProduceRequest.TopicProduceData(name=topic, topic_id=ids[topic], partition_data=data)
                for topic, data in topics.items()
            ],
        )
        # Version 13 names topics by id only, which brokers before 2.8 do not have.
        answer = await self._client.ask(request, node=leader, most=13 if all(map(any, ids.values())) else 12)
        if answer is None:
            return {(topic, partition): Delivery(topic, partition, -1, -1) for topic, partition in batches}
        names = {topic_id: topic for topic, topic_id in ids.items()}
        return {
            (topic.name or names[topic.topic_id], p.index): _outcome(topic.name or names[topic.topic_id], p)
            for topic in answer.responses
            for p in topic.partition_responses
        }


def _outcome(topic: str, answer: "m.ProduceResponse.PartitionProduceResponse") -> "Delivery | ClientError":
    if answer.error_code == ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
        return Delivery(topic, answer.index, -1, -1)
    if answer.error_code:
        faults = [error.batch_index_error_message or "" for error in answer.record_errors]
        message = "; ".join(filter(None, [answer.error_message, *faults[:3]])) or None
        return Refused(answer.error_code, f"records for {topic}-{answer.index}", message)
    return Delivery(topic, answer.index, answer.base_offset, answer.log_append_time_ms)
