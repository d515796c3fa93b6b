"""Random logs cleaned at random times, against what a compacted topic promises: a map from keys to last values."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.kafka.log.clean_kit import COMPACT, HOUR_MS, LIMITS, batches, clean, put_all, records, roll
from tests.kafka.log.kit import NOW_MS, TOPIC_ID, disk_with, end_transaction, manager_of, replace

from riverport.kafka.log import Isolation, Log
from riverport.kafka.records.builder import NewRecord
from riverport.kafka.records.codecs import Codec

KEYS = [b"a", b"b", b"c", b"d", b"e"]
TRANSACTIONAL = [11, 12]
IDEMPOTENT = 13

keys = st.sampled_from(KEYS)
values = st.one_of(st.none(), st.binary(max_size=30))
pairs = st.lists(st.tuples(keys, values), min_size=1, max_size=4)
writes = st.one_of(
    st.tuples(st.just("write"), pairs, st.sampled_from([Codec.NONE, Codec.LZ4])),
    st.tuples(st.just("write with a sequence"), pairs),
    st.tuples(st.just("write in a transaction"), st.sampled_from(TRANSACTIONAL), pairs),
    st.tuples(st.just("end a transaction"), st.sampled_from(TRANSACTIONAL), st.booleans()),
)
happenings = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 2 * HOUR_MS)),
    st.tuples(st.just("forget producers")),
    st.tuples(st.just("kill"), st.booleans()),
    st.tuples(st.just("roll")),
)
cleanings = st.tuples(st.just("clean"), st.integers(1, 6))
rounds = st.tuples(st.lists(writes, min_size=3, max_size=10), st.lists(happenings, max_size=2), cleanings)
stories = st.lists(rounds, min_size=2, max_size=6).map(
    lambda rounds: [action for wrote, happened, cleaned in rounds for action in (*wrote, *happened, cleaned)]
)


@dataclass
class Topic:
    """A compacted log and what it must hold."""

    disk: object = field(default_factory=disk_with)
    now_ms: int = NOW_MS
    written: dict[int, tuple[bytes, bytes | None]] = field(default_factory=dict)
    committed: dict[int, tuple[bytes, bytes | None]] = field(default_factory=dict)
    open: dict[int, list[int]] = field(default_factory=dict)  # producer -> offsets of its open transaction

    def __post_init__(self) -> None:
        self.config = replace(COMPACT, segment_bytes=400, max_message_bytes=10_000)
        self.manager = manager_of(self.disk, config=self.config)
        self.log: Log = self.manager.get_or_create("t", 0, TOPIC_ID, self.config, NOW_MS)
        self.log.flush()

    def write(self, pairs: list[tuple[bytes, bytes | None]], producer: int = -1, codec: Codec = Codec.NONE) -> None:
        state = self.log.producers.states.get(producer)
        sequence = 0 if state is None else state.last_sequence + 1
        identity = (producer, 0, sequence) if producer >= 0 else (-1, -1, -1)
        transactional = producer in TRANSACTIONAL
        made = [NewRecord(key, value, (), self.now_ms) for key, value in pairs]
        first = put_all(self.log, made, now_ms=self.now_ms, producer=identity, transactional=transactional, codec=codec)
        for offset, pair in enumerate(pairs, first):
            self.written[offset] = pair
            if transactional:
                self.open.setdefault(producer, []).append(offset)
            else:
                self.committed[offset] = pair

    def end(self, producer: int, commit: bool) -> None:
        end_transaction(self.log, producer, commit=commit)
        for offset in self.open.pop(producer, []):
            if commit:
                self.committed[offset] = self.written[offset]

    def clean(self, room: int) -> None:
        """What is behind the active segment, with memory for all keys, or for a few."""
        slots = 24 * 1000 if room > 2 else 24 * (room + 6)
        cleaner = clean(self.manager, self.now_ms, replace(LIMITS, dedupe_buffer_bytes=slots))
        assert self.log.failed is None
        assert not cleaner.uncleanable

    def kill(self, power: bool) -> None:
        if power:
            self.log.flush()
            self.disk.crash(Random(len(self.written)))  # type: ignore[attr-defined]
        else:
            self.disk.kill()  # type: ignore[attr-defined]
        cleaned_to, producers = self.log.cleaned_to, self.log.producers.states
        self.manager = manager_of(self.disk, config=self.config)
        found = self.manager.get("t", 0)
        assert found is not None
        self.log = found
        found.update_high_watermark(found.log_end_offset)
        found.cleaned_to = cleaned_to
        for producer, state in producers.items():
            # One that was forgotten may be known again, from batches that are still there.
            assert not state.batches or found.producers.states[producer].last_sequence == state.last_sequence

    def do(self, action: tuple[object, ...]) -> None:
        match action:
            case ("write", pairs, codec):
                self.write(pairs, codec=codec)  # type: ignore[arg-type]
            case ("write with a sequence", pairs):
                self.write(pairs, IDEMPOTENT)  # type: ignore[arg-type]
            case ("write in a transaction", producer, pairs):
                self.write(pairs, producer)  # type: ignore[arg-type]
            case ("end a transaction", producer, commit):
                self.end(producer, commit)  # type: ignore[arg-type]
            case ("roll",):
                if self.log.active.size:
                    roll(self.log, self.now_ms)
            case ("clean", room):
                self.clean(room)  # type: ignore[arg-type]
            case ("wait", ms):
                self.now_ms += ms  # type: ignore[operator]
            case ("forget producers",):
                self.log.producers.expire(self.now_ms)
            case ("kill", power):
                self.kill(power)  # type: ignore[arg-type]

    # --- what must hold

    def check(self) -> None:
        found = {record.offset: (bytes(record.key or b""), record.value) for record in records(self.log)}
        visible = self.committed_records()
        assert found.items() <= self.written.items()
        assert visible.items() <= self.committed.items()
        assert as_map(visible) == as_map(self.committed)
        assert self.log.log_end_offset >= max(self.written, default=-1) + 1
        for header, kept in batches(self.log):
            assert all(header.base_offset <= record.offset <= header.last_offset for record in kept)

    def check_clean_part(self) -> None:
        """Behind `cleaned_to` no key is left twice, and nothing of an aborted transaction."""
        start = self.log.cleaned_to
        behind = [record for record in records(self.log) if record.offset < start]
        names = [bytes(record.key or b"") for record in behind]
        assert len(names) == len(set(names))
        assert all(record.offset in self.committed for record in behind)

    def committed_records(self) -> dict[int, tuple[bytes, bytes | None]]:
        """What a consumer of committed records is given."""
        found, stable = {}, self.log.last_stable_offset
        aborted = self.log.aborted
        for header, kept in batches(self.log):
            if header.is_control or header.base_offset >= stable:
                continue
            hidden = {producer for producer, first in aborted.between(header.base_offset, header.last_offset + 1)}
            if not (header.is_transactional and header.producer_id in hidden):
                found.update({record.offset: (bytes(record.key or b""), record.value) for record in kept})
        # What lies behind an open transaction is not given out yet, but it is there.
        for header, kept in batches(self.log):
            if header.base_offset >= stable:
                for record in kept:
                    if record.offset in self.committed:
                        found[record.offset] = (bytes(record.key or b""), record.value)
        return found


def as_map(records: dict[int, tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    last: dict[bytes, bytes | None] = {}
    for _, (key, value) in sorted(records.items()):
        last[key] = value
    return {key: bytes(value) for key, value in last.items() if value is not None}


@settings(max_examples=40, deadline=None)
@given(stories)
@example([("write", [(b"a", b"1")], Codec.NONE), ("write", [(b"a", None)], Codec.NONE), ("roll",), ("clean", 6)])
def test_the_last_value_of_every_key_survives_any_cleanings(story: list[tuple[object, ...]]) -> None:
    topic = Topic()
    for action in story:
        topic.do(action)
        topic.check()
        if action[0] == "clean":
            topic.check_clean_part()


@settings(max_examples=20, deadline=None)
@given(stories)
def test_offsets_stay_where_they_are(story: list[tuple[object, ...]]) -> None:
    """A reader from any offset begins with the next record that is left, whatever was cleaned."""
    topic = Topic()
    for action in story:
        topic.do(action)
    log = topic.log
    ends = [header.last_offset for header, _ in batches(log)]
    for wanted in range(log.log_end_offset):
        read = log.read(wanted, 1, isolation=Isolation.LOG_END, min_one=True)
        following = [end for end in ends if end >= wanted]
        if following:
            header = next(header for header, _ in batches(log) if header.last_offset == following[0])
            assert int.from_bytes(bytes(read.records[:8]), "big") == header.base_offset
        else:
            assert len(read.records) == 0
