"""How a cleaned segment takes the place of those it was made from: after a crash anywhere, one or the other is there.

    X.log.cleaned   being written; synced at the end            a crash here: thrown away
    X.log.swap      complete, and so are its indexes            a crash here: the swap is completed
    Y.log.deleted   what was replaced; removed later            a crash here: thrown away

The files of a swap are valid if and only if none of the same or a lower base offset is still called `.cleaned`. The
steps are Kafka's, so that either broker completes what the other began. Between them the directory is synced, since a
file system may bring renames to the disk in any order:

    1. thread   write and sync `.cleaned`
    2. loop     rename to `.swap`
    3. thread   sync the directory
    4. loop     rename the replaced to `.deleted`; the log reads the `.swap` files from now on
    5. thread   sync the directory
    6. loop     drop `.swap` from the names
"""

from dataclasses import dataclass

from riverport.base.files import Files
from riverport.base.logging import get_logger
from riverport.kafka.log.segment import DELETED, SUFFIXES, Segment
from riverport.kafka.records.errors import RecordError

log = get_logger(__name__)

CLEANED = ".cleaned"
SWAP = ".swap"
_DIGITS = 20


@dataclass(slots=True)
class Swap:
    """A cleaned segment and those it stands for, which are neighbours; pending from step 2 to step 4."""

    files: Files
    new: Segment
    old: list[Segment]

    def announce(self) -> None:
        """Step 2."""
        self.new.rename(SWAP)

    def finish(self) -> None:
        """Step 6. A segment that was dropped meanwhile keeps the name it has got."""
        if not self.new.is_dropped:
            self.new.rename("")

    def undo(self) -> None:
        """Before step 4: as if nothing had been cleaned.

        The log goes last: indexes that were left alone would be taken for those of the segment of their name.
        """
        self.new.release()
        for kind in SUFFIXES[1:]:
            self.files.remove(self.new.path_of(kind))
        self.files.sync_dir(self.new.dir)
        self.files.remove(self.new.path)


def finish_swaps(files: Files, dir: str) -> list[str]:
    """Clear up what an interrupted deletion or compaction left in a log's directory; returns the names that remain."""
    names = files.listdir(dir)
    if not any(name.endswith((SWAP, CLEANED, DELETED, ".tmp")) for name in names):
        return names
    cleaned = [_base(name) for name in names if _is_of(name, CLEANED)]
    least = min(cleaned, default=None)
    swaps = []
    # `.cleaned` files go last: while one is there, the `.swap` files beside it are not valid.
    for name in names:
        if _is_of(name, SWAP):
            if least is not None and _base(name) >= least:
                files.remove(f"{dir}/{name}")
            else:
                swaps.append(name)
        elif name.endswith((DELETED, ".tmp")):
            files.remove(f"{dir}/{name}")
    for name in names:
        if _is_of(name, CLEANED):
            files.remove(f"{dir}/{name}")
    for name in swaps:
        if name.endswith(".log" + SWAP):
            log.info("an interrupted compaction is completed", path=f"{dir}/{name}")
            _remove_replaced(files, dir, name, names)
    if swaps:
        files.sync_dir(dir)
    # The log first: while it is called `.swap`, the next start takes other files of its name for the replaced ones. If
    # the disk has it otherwise, no harm is done: indexes are built again, and the aborted records that a cleaned
    # segment's transaction index names are not in it any more.
    for name in sorted(swaps, key=lambda name: not name.endswith(".log" + SWAP)):
        files.rename(f"{dir}/{name}", f"{dir}/{name.removesuffix(SWAP)}")
    if swaps:
        files.sync_dir(dir)
    return files.listdir(dir)


def _remove_replaced(files: Files, dir: str, swap: str, names: list[str]) -> None:
    """Remove the segments whose first offset the cleaned one covers, and what belongs to its own name."""
    base = _base(swap)
    end = _next_offset(files, dir, base)
    for name in names:
        if not name[:_DIGITS].isdigit() or not base <= _base(name) < max(end, base + 1):
            continue
        is_snapshot = name.endswith(".snapshot") and _base(name) > base
        if name[_DIGITS:] in SUFFIXES or is_snapshot:
            files.remove(f"{dir}/{name}")


def _next_offset(files: Files, dir: str, base: int) -> int:
    segment = Segment(files, dir, base, 0)
    segment.suffix = SWAP
    segment.size = files.size(segment.path)
    end = base
    try:
        for header in segment.headers():
            end = header.next_offset
    except RecordError as error:
        log.warning("a cleaned segment is damaged", path=segment.path, error=error)
    segment.release()
    return end


def _is_of(name: str, suffix: str) -> bool:
    return name.endswith(suffix) and name[:_DIGITS].isdigit()


def _base(name: str) -> int:
    return int(name[:_DIGITS])
