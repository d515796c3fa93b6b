"""What the active controller decides, on its way into the metadata log.

    submit(decide) -> future      decide() looks at the controller's image and returns an Outcome;
                                  its records are appended and replayed at once, so the next decision sees them;
                                  once a majority has them the brokers' image follows and the future gets the answer

Two images, because a broker must not act on what could still be lost: `pending` is the controller's and has everything
that was appended, the replica's `image` is what is committed. Many submissions share one sync.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.kafka.controller import features
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.log import Origin
from riverport.kafka.records.batch import iter_headers
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.control import raft_control_batch
from riverport.kafka.records.record import iter_records
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.kafka.wire.metadata_records import decode_record, encode_record

if TYPE_CHECKING:
    from riverport.kafka.server.metadata_shell import MetadataShell

log = get_logger(__name__)

MAX_BATCH_RECORDS = 10_000
MAX_OPERATION_RECORDS = 10_000
"""Of one request of a user; Kafka's MAX_RECORDS_PER_USER_OP."""


class MetadataEncodeError(Exception):
    """A decision of the controller that its own records cannot express: a defect, and never the client's."""


@dataclass(slots=True)
class Uncommitted:
    """What was appended together, and who waits for it to be committed."""

    base_offset: int
    end_offset: int
    size: int  # bytes in the log
    timestamp: int
    records: list[tuple[Any, int]] = field(default_factory=list)  # (record, its offset)
    control: list[Any] = field(default_factory=list)
    answer: "asyncio.Future[Any] | None" = None
    response: Any = None

    def finish(self) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(self.response)

    def fail(self, error: Exception) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # who asked may be gone by now: nobody need look at it


def not_controller() -> ApiError:
    return ApiError(ErrorCode.NOT_CONTROLLER, "This is not the correct controller for this cluster.")


def bounded(outcome: Outcome) -> Outcome:
    """What a user's request has come to. Raises ApiError POLICY_VIOLATION where that is too much at once."""
    if len(outcome.records) > MAX_OPERATION_RECORDS:
        raise ApiError(ErrorCode.POLICY_VIOLATION, "Unable to perform excessively large batch operation.")
    return outcome


class MetadataWriter:
    """Writes only between `begin` and `end`, while its node is the active controller."""

    def __init__(self, shell: "MetadataShell", min_insync: int) -> None:
        """`min_insync` is the min.insync.replicas of a new cluster."""
        self._shell = shell
        self._min_insync = min_insync
        self._uncommitted: deque[Uncommitted] = deque()
        self.epoch = -1  # in which it writes, -1 while it does not
        self.pending = MetadataImage()

    # --- the lead

    def begin(self, epoch: int, image: MetadataImage, *, in_transaction: bool) -> None:
        """The node is active from now on; `image` has all that earlier epochs have left."""
        assert not self._uncommitted, "something is left of an earlier epoch"
        self.epoch = epoch
        self.pending.become(image)
        if in_transaction:
            # Its controller died in the middle: what it had begun never happened.
            self.append([m.AbortTransactionRecord("the controller has changed")])
        if features.METADATA_VERSION not in self.pending.features:
            self.append(self._bootstrap_records())

    def end(self, error: Exception | None = None) -> None:
        """The node does not lead any more, or cannot: what is not committed may come true, or not."""
        self.epoch = -1
        while self._uncommitted:
            self._uncommitted.popleft().fail(error or not_controller())

    # --- decisions

    def submit(self, decide: Callable[[], Outcome]) -> "asyncio.Future[Any]":
        """The answer, once what it promises is committed. What `decide` raises becomes the future's exception."""
        answer: asyncio.Future[Any] = self._shell.loop.create_future()
        if self.epoch < 0:
            answer.set_exception(not_controller())
            return answer
        try:
            outcome = decide()
        except Exception as error:
            answer.set_exception(error)
            return answer
        if not outcome.records and not outcome.control and not self._uncommitted:
            answer.set_result(outcome.response)
            return answer
        try:
            encoded = self._encoded(outcome.records)
        except Exception as error:
            # The records are ours: that they cannot be written is no fault of who asked, whatever it looks like.
            answer.set_exception(MetadataEncodeError(f"a metadata record cannot be encoded: {error}"))
            return answer
        if outcome.control:
            self.append_control(outcome.control)
        self.append(outcome.records, encoded, answer, outcome.response)
        return answer

    def write_noop(self) -> None:
        """`metadata.max.idle.interval.ms`: an idle log moves on, so that lag can be told from silence."""
        if self.epoch >= 0 and not self._uncommitted:
            self.append([m.NoOpRecord()])

    def _encoded(self, records: list[Any]) -> list[bytes]:
        """The records as the present level writes them; those that it has no room for are made to fit, in place."""
        level = self._level_for(records)
        fitted = (features.fit_to_level(record, level) for record in records)
        return [encode_record(record, features.record_version(type(record).__name__, level)) for record in fitted]

    def append(
        self,
        records: list[Any],
        encoded: list[bytes] | None = None,
        answer: "asyncio.Future[Any] | None" = None,
        response: Any = None,
    ) -> None:
        """Append and replay; `encoded` are the same records, where they are encoded already."""
        shell, now_ms = self._shell, self._shell.clock.wall_ms()
        delta = MetadataDelta()
        values = self._encoded(records) if encoded is None else encoded
        entry = Uncommitted(shell.next_offset, 0, 0, now_ms, answer=answer, response=response)
        for start in range(0, len(records), MAX_BATCH_RECORDS):
            offset = shell.next_offset
            batch = build_batch(
                [NewRecord(None, v, timestamp=now_ms) for v in values[start : start + MAX_BATCH_RECORDS]]
            )
            shell.log.append_as_leader(batch, self.epoch, now_ms, origin=Origin.RAFT_LEADER)
            entry.size += len(batch)
            for at, record in enumerate(records[start : start + MAX_BATCH_RECORDS]):
                self.pending.apply(record, delta, offset + at)
                entry.records.append((record, offset + at))
        self._appended(entry)

    def append_control(self, messages: list[Any], answer: "asyncio.Future[Any] | None" = None) -> int:
        """Records of the quorum's own, which are no part of the image; returns the offset of the first."""
        shell, now_ms = self._shell, self._shell.clock.wall_ms()
        offset = shell.next_offset
        batch = raft_control_batch(messages, timestamp=now_ms)
        shell.log.append_as_leader(batch, self.epoch, now_ms, origin=Origin.RAFT_LEADER)
        self._appended(Uncommitted(offset, 0, len(batch), now_ms, control=messages, answer=answer))
        shell.control_appended(messages, offset)
        return offset

    def _appended(self, entry: Uncommitted) -> None:
        entry.end_offset = self._shell.next_offset
        self.pending.offset = entry.end_offset - 1
        self._uncommitted.append(entry)
        self._shell.appended()

    def _level_for(self, records: list[Any]) -> int:
        """The metadata.version that decides record versions: of the batch itself where it sets it first."""
        level = self.pending.features.get(features.METADATA_VERSION)
        if level is None:
            for record in records:
                if isinstance(record, m.FeatureLevelRecord) and record.name == features.METADATA_VERSION:
                    return record.feature_level
        return level or features.DEFAULT_RELEASE

    def has_from(self, offset: int) -> bool:
        """Whether what lies there was appended here, and need not be read."""
        return bool(self._uncommitted) and self._uncommitted[0].base_offset == offset

    def take_committed(self, end_offset: int) -> list[Uncommitted]:
        """What lies below an offset that is committed now, in order; each is to be finished or failed."""
        found = []
        while self._uncommitted and self._uncommitted[0].end_offset <= end_offset:
            found.append(self._uncommitted.popleft())
        return found

    # --- a new cluster

    def _bootstrap_records(self) -> list[Any]:
        """The first data batch of a cluster: the features and users that its directory was formatted with."""
        formatted = self._formatted_records()
        if not formatted:
            defaults = features.default_levels(features.DEFAULT_RELEASE)
            formatted = [m.FeatureLevelRecord(name, level) for name, level in defaults.items()]
        records: list[Any] = [m.BeginTransactionRecord("Bootstrap records"), *formatted]
        levels = {found.name: found.feature_level for found in formatted if isinstance(found, m.FeatureLevelRecord)}
        if levels.get(features.ELR_VERSION):
            records.append(m.ConfigRecord(4, "", "min.insync.replicas", str(self._min_insync)))
        records.append(m.EndTransactionRecord())
        return records

    def _formatted_records(self) -> list[Any]:
        path = f"{self._shell.root}/bootstrap.checkpoint"
        if not self._shell.files.exists(path):
            return []
        raw = self._shell.files.read(path)
        return [
            decode_record(record.value or b"")[0]
            for header in iter_headers(raw)
            if not header.is_control
            for record in iter_records(raw, header)
        ]
