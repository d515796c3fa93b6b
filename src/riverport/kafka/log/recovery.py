"""Opening a partition's directory: trusting it after a clean stop, checking it after any other.

After a clean stop sizes, the recovery point and the producers' snapshot at the log's end are enough; no data is read.
Otherwise every segment from the recovery point on is read batch by batch: the first one that is not whole, not in order
or has a wrong checksum ends the log, what lies behind it goes, and what is derived from the batches (indexes, producer
state, aborted transactions) is made again. Doing it twice gives the same log.

What was found in files is not yet on the disk: it may lie in the page cache of a machine whose process was killed. So
the recovery point stays where it was, and the next flush syncs all of it.
"""

import re
import zlib
from collections.abc import Iterator

from riverport.base.checksum import crc32c
from riverport.base.files import RESERVE_LEAST, Files
from riverport.base.logging import get_logger
from riverport.kafka.log.checkpoints import MAX_OFFSET
from riverport.kafka.log.config import LogConfig
from riverport.kafka.log.log import Log
from riverport.kafka.log.producers import CorruptSnapshot
from riverport.kafka.log.rolling import MAX_RELATIVE_OFFSET
from riverport.kafka.log.segment import Segment, file_name
from riverport.kafka.log.swap import finish_swaps
from riverport.kafka.records.batch import (
    ATTRIBUTES_AT,
    CURRENT_MAGIC,
    MAGIC_AT,
    BatchHeader,
    check_crc,
    iter_headers,
    read_header,
)
from riverport.kafka.records.errors import RecordError, corrupt

log = get_logger(__name__)

SCAN_BYTES = 4 * 1024 * 1024
"""Bytes read at a time: what a damaged length field can make recovery hold in memory at most."""
_SEGMENT = re.compile(r"([0-9]{20})\.log", re.ASCII)
_DERIVED = re.compile(r"([0-9]{20})\.(?:index|timeindex|txnindex)", re.ASCII)
_SNAPSHOT = re.compile(r"([0-9]{20})\.snapshot", re.ASCII)


def open_log(
    files: Files,
    dir: str,
    topic: str,
    partition: int,
    topic_id: bytes,
    config: LogConfig,
    now_ms: int,
    *,
    clean: bool,
    recovery_point: int | None = None,
    log_start: int = 0,
    high_watermark: int = 0,
) -> Log:
    """The log that lies in `dir`, or a new one in an empty directory. Raises StorageError.

    `recovery_point` and `log_start` are what the checkpoints say, None where they do not know the log. A log that ends
    below its start begins again there.
    """
    # A clean stop syncs each log, an empty one too, before it writes its line.
    was_synced, recovery_point = recovery_point is not None, recovery_point or 0
    opened = Log(files, dir, topic, partition, topic_id, config, now_ms)
    names = _tidy(files, dir, finish_swaps(files, dir))
    for base in _offsets(_SEGMENT, names):
        size = files.size(f"{dir}/{file_name(base, '.log')}")
        opened.add_segment(Segment(files, dir, base, now_ms, size, is_made=True))
    if not opened.segments:
        opened.add_segment(Segment(files, dir, log_start, now_ms))
        if log_start:
            opened.active.file  # noqa: B018  its name tells where the log is; who was never written needs none
    opened.log_start_offset = max(log_start, opened.segments[0].base_offset)
    is_trusted = clean and (not opened.active.is_made or _trust(opened, names, recovery_point))
    if is_trusted:
        opened.recovery_point = opened.log_end_offset
        opened.place_is_synced = was_synced
    else:
        is_cut = _recover(opened, names, recovery_point)
        # The next flush has to bring a cut to the disk, too.
        opened.recovery_point = min(recovery_point, opened.active.base_offset if is_cut else opened.log_end_offset)
    if opened.log_end_offset < log_start:
        log.warning("a log that ends below its start is begun anew", log=opened, end=opened.log_end_offset)
        opened.truncate_fully_and_start_at(log_start, now_ms)
    _remove_stray_snapshots(opened, names if is_trusted else files.listdir(dir))
    _settle_epochs(opened)
    opened.update_high_watermark(high_watermark)
    return opened


def _offsets(pattern: "re.Pattern[str]", names: list[str]) -> list[int]:
    """The offsets in the names of one kind, ascending."""
    found = [match for match in map(pattern.fullmatch, names) if match]
    return sorted(offset for match in found if (offset := int(match[1])) <= MAX_OFFSET)


def _tidy(files: Files, dir: str, names: list[str]) -> list[str]:
    """Remove index files without their segment: a later segment of that name must not find them."""
    bases = set(_offsets(_SEGMENT, names))
    orphans = {name for name in names if (match := _DERIVED.fullmatch(name)) and int(match[1]) not in bases}
    for name in sorted(orphans):
        files.remove(f"{dir}/{name}")
    return [name for name in names if name not in orphans]


# --- after a clean stop


def _trust(opened: Log, names: list[str], recovery_point: int) -> bool:
    """Take the directory as a clean stop left it. False where it cannot be so, and must be checked."""
    active = opened.active
    try:
        # A clean stop syncs the log, writes a snapshot at its end and a recovery point that says the same.
        if recovery_point in _offsets(_SNAPSHOT, names):
            opened.snapshot_offset = recovery_point
        if not active.size:
            opened.log_end_offset = active.base_offset
        elif opened.snapshot_offset > active.base_offset:
            opened.log_end_offset = opened.snapshot_offset
        else:
            opened.log_end_offset = _end_of(active)
        if _load_aborted(opened, opened.segments):
            _replay_producers(opened, opened.log_end_offset, names)
        else:
            _rebuild_aborted(opened, 0)
    except RecordError as error:
        log.warning("a log is damaged though it was closed cleanly", log=opened, error=error)
        opened.producers.clear()
        opened.aborted.clear()
        return False
    return True


def _end_of(segment: Segment) -> int:
    """Where a segment's offsets end, from its last index entry on. Raises RecordError where that cannot be right."""
    next_offset = segment.base_offset
    end = position = segment.offset_index.position_of(MAX_RELATIVE_OFFSET)
    for header in segment.headers(position):
        _check_order(header, next_offset, segment.base_offset + MAX_RELATIVE_OFFSET + 1)
        end, next_offset = header.end, header.next_offset
    if end != segment.size:
        raise corrupt("the last batch is not whole")
    return next_offset


# --- after any other


def _recover(opened: Log, names: list[str], recovery_point: int) -> bool:
    """Check the segments that may hold unsynced batches: from the one of the recovery point on. True if one was cut."""
    is_cut, epoch = False, -1
    bases = [segment.base_offset for segment in opened.segments]
    first = max((at for at, base in enumerate(bases) if base <= recovery_point), default=0)
    for at in range(first, len(bases)):
        segment = opened.segments[at]
        following = bases[at + 1] if at + 1 < len(bases) else None
        end, epoch, reason = _check_segment(opened, segment, following, epoch)
        if reason:
            log.warning("a log is cut at its first bad batch", log=opened, position=end, of=segment.size, reason=reason)
            _cut(opened, segment, end)
            is_cut = True
            break
        if following is not None:
            segment.write_indexes()
        elif segment.size >= RESERVE_LEAST:
            segment.file.truncate(segment.size)  # what a killed process had reserved behind the end
    for offset in _offsets(_SNAPSHOT, names):
        if offset > opened.log_end_offset:
            opened.files.remove(f"{opened.dir}/{file_name(offset, '.snapshot')}")
    sound = _load_aborted(opened, opened.segments[:first])
    _rebuild_aborted(opened, first if sound else 0)
    return is_cut


def _check_segment(opened: Log, segment: Segment, following: int | None, epoch: int) -> tuple[int, int, str]:
    """Read a segment to its end or to its first bad batch, build its indexes as far. `epoch` is the newest before it.

    Returns the position where its good batches end, their newest leader epoch, and what is wrong with the batch there,
    "" where nothing is.
    """
    end, next_offset, reason = 0, segment.base_offset, ""
    segment.clear_indexes()
    if segment.is_made:
        segment.remove_indexes()
    try:
        for header in _sound_batches(segment, following):
            if 0 <= header.leader_epoch < epoch:
                # Cut off before a newer leader's batches were written, and brought back by a power cut.
                raise corrupt(f"epoch {header.leader_epoch} at offset {header.base_offset} follows epoch {epoch}")
            epoch = max(epoch, header.leader_epoch)
            segment.note(header, header.position, opened.config.index_interval_bytes)
            _note_epoch(opened, header)
            end, next_offset = header.end, header.next_offset
    except RecordError as error:
        reason = error.message or repr(error)
    opened.log_end_offset = next_offset
    return end, epoch, reason


def _cut(opened: Log, segment: Segment, end: int) -> None:
    """Drop what lies behind a position of a segment, from the log's end on: dying on the way leaves no hole."""
    doomed = opened.segments[opened.segments.index(segment) + 1 :]
    if doomed:
        log.warning("segments behind a damaged one are dropped", log=opened, first=doomed[0].base_offset)
        opened.drop_segments(doomed[::-1])
    segment.file.truncate(end)
    segment.size = end


def _note_epoch(opened: Log, header: BatchHeader) -> None:
    epochs, epoch, last = opened.leader_epochs, header.leader_epoch, header.last_offset
    if epoch > epochs.latest:
        epochs.assign(epoch, header.base_offset)
    elif epoch >= 0 and last >= opened.log_start_offset and epochs.epoch_of(last) != epoch:
        # Epochs are on the disk at once, batches are not: a truncation that a power cut has undone brings old ones.
        epochs.is_damaged = True


def _sound_batches(segment: Segment, following: int | None) -> Iterator[BatchHeader]:
    """The headers of a segment's batches, each found whole, in order and with its checksum right.

    Raises RecordError at the first that is not. `following` is where the next segment starts: no batch reaches it.
    """
    position, next_offset = 0, segment.base_offset
    limit = segment.base_offset + MAX_RELATIVE_OFFSET + 1 if following is None else following
    while position < segment.size:
        chunk = segment.file.pread(min(SCAN_BYTES, segment.size - position), position)
        end = 0
        for header in iter_headers(chunk):
            _check_order(header, next_offset, limit)
            if not check_crc(chunk, header):
                raise corrupt(f"wrong checksum of the batch at offset {header.base_offset}")
            end, next_offset = header.end, header.next_offset
            header.position += position
            yield header
        if end == 0:
            header = read_header(chunk)
            header.position = position
            if header.end > segment.size:
                raise corrupt("the last batch is not whole")
            _check_order(header, next_offset, limit)
            if not _crc_holds(segment, header):
                raise corrupt(f"wrong checksum of the batch at offset {header.base_offset}")
            end, next_offset = header.size, header.next_offset
            yield header
        position += end


def _check_order(header: BatchHeader, next_offset: int, limit: int) -> None:
    if header.last_offset_delta < 0 or header.base_offset < next_offset or header.last_offset >= limit:
        raise corrupt(
            f"offsets {header.base_offset} to {header.last_offset} do not lie between {next_offset} and {limit}"
        )


def _crc_holds(segment: Segment, header: BatchHeader) -> bool:
    """The checksum of a batch that is larger than one read: taken piece by piece."""
    current = header.magic == CURRENT_MAGIC
    position, value = header.position + (ATTRIBUTES_AT if current else MAGIC_AT), 0
    while position < header.end:
        piece = segment.file.pread(min(SCAN_BYTES, header.end - position), position)
        value = crc32c(piece, value) if current else zlib.crc32(piece, value)
        position += len(piece)
    return value == header.crc


# --- what is derived from the batches


def _load_aborted(opened: Log, segments: list[Segment]) -> bool:
    """Take the `.txnindex` files of some segments. False where one of them cannot be right."""
    for segment in segments:
        path = segment.path_of(".txnindex")
        if opened.files.exists(path) and not opened.aborted.load(opened.files.read(path)):
            log.warning("an index of aborted transactions is damaged", path=path)
            opened.aborted.clear()
            return False
    return True


def _rebuild_aborted(opened: Log, first: int) -> None:
    """The aborted transactions of the segments from `first` on anew, and with them the producers' state."""
    rebuilt = opened.segments[first:]
    _replay_producers(opened, rebuilt[0].base_offset)
    ends = [segment.base_offset for segment in rebuilt[1:]] + [opened.log_end_offset]
    for segment, end in zip(rebuilt, ends, strict=True):
        path, content = segment.path_of(".txnindex"), opened.aborted.encode(segment.base_offset, end)
        if content:
            opened.files.write(path, content, sync=False)
        else:
            opened.files.remove(path)


def _replay_producers(opened: Log, newest: int, names: list[str] | None = None) -> None:
    """Producer state at the log's end: the newest usable snapshot at or below `newest`, and the batches behind it.

    `names` are the directory's, where they are known.
    """
    snapshots = _offsets(_SNAPSHOT, opened.files.listdir(opened.dir) if names is None else names)
    start = opened.segments[0].base_offset
    for offset in [offset for offset in reversed(snapshots) if start <= offset <= newest]:
        if _load_snapshot(opened, offset):
            start = offset
            break
        snapshots.remove(offset)
    ends = [segment.base_offset for segment in opened.segments[1:]] + [opened.log_end_offset]
    for segment, end in zip(opened.segments, ends, strict=True):
        if end <= start:
            continue  # its batches are in the snapshot already
        if segment.base_offset > start and (segment.base_offset > newest or segment.base_offset not in snapshots):
            # The next recovery need not come this far back. A snapshot above `newest` may be older than the batches.
            opened.files.write(segment.path_of(".snapshot"), opened.producers.encode(), sync=False)
        try:
            opened.replay_segment(segment, start)
        except RecordError as error:
            # A segment below the recovery point, whole when it was synced: its readers will meet the damage.
            log.error("a segment is damaged, producer state is built without it", path=segment.path, error=error)


def _load_snapshot(opened: Log, offset: int) -> bool:
    path = f"{opened.dir}/{file_name(offset, '.snapshot')}"
    try:
        opened.producers.load(opened.files.read(path))
    except CorruptSnapshot as error:
        log.warning("a producer snapshot is not usable", path=path, error=error)
        opened.files.remove(path)
        return False
    return True


def _remove_stray_snapshots(opened: Log, names: list[str]) -> None:
    """Keep the snapshots at the segments' base offsets and the newest one, as Kafka does."""
    bases = {segment.base_offset for segment in opened.segments}
    snapshots = _offsets(_SNAPSHOT, names)
    for offset in snapshots:
        if offset not in bases and (offset != snapshots[-1] or offset < opened.active.base_offset):
            opened.files.remove(f"{opened.dir}/{file_name(offset, '.snapshot')}")


def _settle_epochs(opened: Log) -> None:
    """Bring the leader epochs to what the log has; from its batches where their file was damaged."""
    epochs = opened.leader_epochs
    if epochs.is_damaged:
        log.warning("a leader epoch checkpoint does not fit its log, it is made anew", log=opened)
        epochs.begin_anew()
        for segment in opened.segments:
            try:
                for header in segment.headers():
                    if header.leader_epoch > epochs.latest:
                        epochs.assign(header.leader_epoch, header.base_offset)
            except RecordError as error:
                log.error("a segment is damaged, its leader epochs are not known", path=segment.path, error=error)
    epochs.truncate_from_end(opened.log_end_offset, at_once=False)
    epochs.truncate_from_start(opened.log_start_offset)
