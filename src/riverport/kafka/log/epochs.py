"""Leader epochs and where each starts in this log (KIP-101, KIP-279)."""

from bisect import bisect_right

from riverport.base.files import Files, StorageError
from riverport.kafka.log import checkpoints


class LeaderEpochs:
    """Ascending (epoch, start offset) pairs, kept in `leader-epoch-checkpoint`.

    `is_damaged` while the file could not be read, or does not fit the log: the log has to be asked then (`begin_anew`,
    `assign`). Of all `changes` the first `written` are in the file, and no power cut takes back the first `synced`: the
    log writes the others before its next batch, and syncs them with its next flush.
    """

    __slots__ = ("_files", "changes", "entries", "is_damaged", "path", "synced", "written")

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self.path = path
        self.entries: list[tuple[int, int]] = []
        self.is_damaged = False
        self.changes = self.written = self.synced = 0
        try:
            self.entries = checkpoints.read_epochs(files, path)
        except StorageError as error:
            if error.operation != checkpoints.PARSE:
                raise
            self.is_damaged = True

    @property
    def latest(self) -> int:
        """The newest epoch, -1 where there is none."""
        return self.entries[-1][0] if self.entries else -1

    def begin_anew(self) -> None:
        """Forget everything, in the file too."""
        self.entries, self.is_damaged = [], False
        self._changed()

    def assign(self, epoch: int, start: int, *, at_once: bool = True) -> None:
        """An epoch starts at an offset. Later epochs, and earlier ones that start behind it, go.

        One without a batch need not be written at once: nothing is lost with it, and a leader assigns it again.
        """
        if self.entries and self.entries[-1][0] == epoch:
            return
        kept = [entry for entry in self.entries if entry[0] < epoch and entry[1] < start]
        kept.append((epoch, start))
        self.entries = kept
        self._changed(at_once)

    def end_offset_of(self, epoch: int, log_end: int) -> tuple[int, int]:
        """(the greatest epoch not above `epoch`, where it ends), (-1, -1) where that is not known."""
        if epoch < 0 or not self.entries:
            return -1, -1
        if epoch == self.latest:
            return epoch, log_end
        at = bisect_right(self.entries, (epoch, 2**63))
        if at == len(self.entries):
            return -1, -1
        if at == 0:
            return epoch, self.entries[0][1]
        return self.entries[at - 1][0], self.entries[at][1]

    def epoch_of(self, offset: int) -> int:
        """The epoch in which the record at an offset was written, -1 where that is not known."""
        for epoch, start in reversed(self.entries):
            if start <= offset:
                return epoch
        return -1

    def truncate_from_end(self, end: int, *, at_once: bool = True) -> None:
        """Forget the epochs that begin at `end` or behind it."""
        kept = [entry for entry in self.entries if entry[1] < end]
        if kept != self.entries:
            self.entries = kept
            self._changed(at_once)

    def truncate_from_start(self, start: int) -> None:
        """Forget what lies below the log start; the epoch that holds it now begins there."""
        below = [entry for entry in self.entries if entry[1] <= start]
        if not below or (len(below) == 1 and below[0][1] == start):
            return
        self.entries = [(below[-1][0], start), *self.entries[len(below) :]]
        self._changed()

    def _changed(self, at_once: bool = True) -> None:
        self.changes += 1
        if at_once:
            self.write()

    def write(self, *, sync: bool = True) -> None:
        """Bring all changes into the file."""
        checkpoints.write_epochs(self._files, self.path, self.entries, sync=sync)
        self.written = self.changes
        if sync:
            self.synced = self.changes
