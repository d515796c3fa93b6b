"""Opening a partition's directory: trusting it after a clean stop, checking it after any other.

After a clean stop sizes and the newest producer snapshot are enough; no data is read. Otherwise every segment from the
recovery point on is read batch by batch: the first one that is not whole, not in order or has a wrong checksum ends the
log, what lies behind it goes, indexes and producer state are built again. Doing it twice gives the same log.
"""

from riverport.base.files import Files
from riverport.base.logging import get_logger
from riverport.kafka.log.config import LogConfig
from riverport.kafka.log.log import Log
from riverport.kafka.log.producers import CorruptSnapshot
from riverport.kafka.log.segment import Segment, file_name
from riverport.kafka.records.batch import check_crc, iter_headers, read_header
from riverport.kafka.records.errors import RecordError

log = get_logger(__name__)

SCAN_BYTES = 4 * 1024 * 1024


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
    recovery_point: int = 0,
    log_start: int = 0,
    high_watermark: int = 0,
) -> Log:
    """The log that lies in `dir`, or a new one in an empty directory. Raises StorageError."""
    opened = Log(files, dir, topic, partition, topic_id, config, now_ms)
    names = files.listdir(dir)
    names = _finish_swaps(files, dir, names)
    bases = sorted(int(name[:20]) for name in names if name.endswith(".log") and len(name) == 24)
    for base in bases:
        opened.add_segment(Segment(files, dir, base, now_ms, files.size(f"{dir}/{file_name(base, '.log')}")))
    if not bases:
        opened.add_segment(Segment(files, dir, log_start, now_ms))
        opened.active.file  # noqa: B018  the empty file is there as soon as the log is
        opened.log_end_offset = log_start
    opened.log_start_offset = max(log_start, opened.segments[0].base_offset)
    if clean:
        _trust(opened, names)
    else:
        _recover(opened, names, recovery_point)
    opened.log_start_offset = min(opened.log_start_offset, opened.log_end_offset)
    opened.recovery_point = opened.log_end_offset
    opened.leader_epochs.truncate_from_end(opened.log_end_offset + 1)
    opened.update_high_watermark(high_watermark)
    return opened


def _finish_swaps(files: Files, dir: str, names: list[str]) -> list[str]:
    """What an interrupted deletion or compaction left: `.swap` files are complete, all others of its kind are not."""
    swaps = [name for name in names if name.endswith(".swap")]
    for name in names:
        if name.endswith((".deleted", ".cleaned", ".tmp")):
            files.remove(f"{dir}/{name}")
    for name in swaps:
        _replace_by_swap(files, dir, name, names)
    return files.listdir(dir) if len(swaps) else [n for n in names if not n.endswith((".deleted", ".cleaned", ".tmp"))]


def _replace_by_swap(files: Files, dir: str, name: str, names: list[str]) -> None:
    """A compacted segment stands for all old ones whose records it covers; they go before it takes its name."""
    if name.endswith(".log.swap"):
        base = int(name[:20])
        end = base
        raw_size = files.size(f"{dir}/{name}")
        file = files.open(f"{dir}/{name}")
        try:
            position = 0
            while position < raw_size:
                header = read_header(file.pread(61, position))
                end = header.next_offset
                position += header.size
        finally:
            file.close()
        for other in names:
            if other.endswith(".log") and len(other) == 24 and base < int(other[:20]) < end:
                for suffix in (".log", ".index", ".timeindex", ".txnindex"):
                    files.remove(f"{dir}/{other[:20]}{suffix}")
    files.rename(f"{dir}/{name}", f"{dir}/{name.removesuffix('.swap')}")


def _trust(opened: Log, names: list[str]) -> None:
    snapshots = _snapshots(names)
    newest = snapshots[-1] if snapshots else -1
    active = opened.active
    if newest >= active.base_offset and _load_snapshot(opened, newest):
        # A clean stop wrote the snapshot at the log's end.
        opened.log_end_offset = newest
        _load_aborted(opened, names)
        if active.size == 0 or newest > active.base_offset:
            return
    last = None
    for header in active.headers(active.offset_index.position_of(2**31)):
        last = header
    opened.log_end_offset = active.base_offset if last is None else last.next_offset
    _load_aborted(opened, names)
    _replay_producers(opened, names)


def _load_aborted(opened: Log, names: list[str]) -> None:
    for name in names:
        if name.endswith(".txnindex"):
            opened.aborted.load(opened.files.read(f"{opened.dir}/{name}"))


def _snapshots(names: list[str]) -> list[int]:
    return sorted(int(name[:20]) for name in names if name.endswith(".snapshot") and len(name) == 29)


def _load_snapshot(opened: Log, offset: int) -> bool:
    path = f"{opened.dir}/{file_name(offset, '.snapshot')}"
    try:
        opened.producers.load(opened.files.read(path))
    except CorruptSnapshot as error:
        log.warning("a producer snapshot is not usable", path=path, error=error)
        opened.files.remove(path)
        return False
    return True


def _recover(opened: Log, names: list[str], recovery_point: int) -> None:
    for position, segment in enumerate(list(opened.segments)):
        following = opened.segments[position + 1].base_offset if position + 1 < len(opened.segments) else None
        if following is not None and following <= recovery_point:
            opened.log_end_offset = following
            continue
        whole = _check_segment(opened, segment)
        if not whole:
            doomed = opened.segments[position + 1 :]
            if doomed:
                log.warning("segments behind a damaged one are dropped", log=opened, first=doomed[0].base_offset)
                opened.drop_segments(list(doomed))
            break
    for offset in _snapshots(names):
        if offset > opened.log_end_offset:
            opened.files.remove(f"{opened.dir}/{file_name(offset, '.snapshot')}")
    _load_aborted(opened, names)
    opened.aborted.truncate_from_end(opened.log_end_offset)
    _replay_producers(opened, opened.files.listdir(opened.dir))


def _check_segment(opened: Log, segment: Segment) -> bool:
    """Read a segment to its end or to its first bad batch, cut it there, build its indexes. True if it was whole."""
    position, next_offset = 0, segment.base_offset
    size = segment.size
    reason = ""
    while position < size and not reason:
        chunk = segment.file.pread(min(SCAN_BYTES, size - position), position)
        end = 0
        try:
            for header in iter_headers(chunk):
                if header.base_offset < next_offset or header.last_offset_delta < 0 or not check_crc(chunk, header):
                    reason = "a batch is damaged or out of order"
                    break
                if header.leader_epoch > opened.leader_epochs.latest:
                    opened.leader_epochs.assign(header.leader_epoch, header.base_offset)
                end = header.position + header.size
                next_offset = header.next_offset
        except RecordError as error:
            reason = str(error)
        if end == 0 and not reason:
            needed = read_header(chunk).size if len(chunk) >= 61 else 61
            if position + needed > size or needed > (1 << 31):
                reason = "the last batch is not whole"
            else:
                chunk = segment.file.pread(needed, position)
                header = read_header(chunk)
                if header.base_offset < next_offset or not check_crc(chunk, header):
                    reason = "a batch is damaged or out of order"
                else:
                    end, next_offset = needed, header.next_offset
        position += end
    if reason:
        log.warning("a log is cut at its first bad batch", log=opened, position=position, of=size, reason=reason)
        segment.file.truncate(position)
        segment.size = position
    segment.rebuild_indexes(opened.config.index_interval_bytes)
    opened.log_end_offset = next_offset
    return not reason


def _replay_producers(opened: Log, names: list[str]) -> None:
    """Producer state from the newest usable snapshot, and the batches behind it."""
    start = opened.log_start_offset
    for offset in reversed(_snapshots(names)):
        if offset <= opened.log_end_offset and _load_snapshot(opened, offset):
            start = offset
            break
    opened.replay_producers(start)
