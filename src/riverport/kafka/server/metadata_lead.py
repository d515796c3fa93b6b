"""This node's part as the leader of the metadata quorum: elected, then the active controller, then neither.

    begin      the quorum has elected it; a record in the log says so, the first one of its epoch (KIP-595)
    reached    so much is in the image: once that record is, everything of earlier epochs is, and decisions can begin
    end        it does not lead any more

Voters are told where this node is reached now by the same record, or by one of their own (KIP-853).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.kafka.log import Origin
from riverport.kafka.records.control import raft_control_batch
from riverport.kafka.server.metadata_writer import MetadataWriter
from riverport.kafka.wire import messages as m

if TYPE_CHECKING:
    from riverport.kafka.server.metadata_shell import MetadataShell

log = get_logger(__name__)


class MetadataLead:
    """Active from the time that the `writer` writes."""

    def __init__(self, shell: "MetadataShell", writer: MetadataWriter, node_id: int) -> None:
        self._shell = shell
        self._writer = writer
        self._node_id = node_id
        self._start = -1  # the offset of the record that says so, -1 while it does not lead
        self._listeners: list[Callable[[int], None]] = []

    @property
    def is_active(self) -> bool:
        """Whether everything of earlier epochs is committed and in both images, and this node leads still."""
        return self._writer.epoch >= 0

    def on_active(self, callback: Callable[[int], None]) -> None:
        """`callback(epoch)` whenever this node becomes active; at once where it is."""
        self._listeners.append(callback)
        if self.is_active:
            callback(self._writer.epoch)

    def begin(self, epoch: int, voters: tuple[int, ...], granting: tuple[int, ...]) -> None:
        """Raises StorageError."""
        shell, now_ms = self._shell, self._shell.clock.wall_ms()
        self._start = offset = shell.log.log_end_offset
        messages = [self._leader_change(voters, granting), *self._quorum_records(is_first=offset == 0)]
        batch = raft_control_batch(messages, timestamp=now_ms)
        shell.log.append_as_leader(batch, epoch, now_ms, origin=Origin.RAFT_LEADER)
        if len(messages) > 1:
            shell.control_appended(messages, offset)
        log.info("this node leads the metadata quorum", epoch=epoch, node=self._node_id, voters=voters)
        shell.appended()

    def _leader_change(self, voters: tuple[int, ...], granting: tuple[int, ...]) -> m.LeaderChangeMessage:
        voter = m.LeaderChangeMessage.Voter
        return m.LeaderChangeMessage(0, self._node_id, [voter(id_) for id_ in voters], [voter(id_) for id_ in granting])

    def _quorum_records(self, *, is_first: bool) -> list[Any]:
        """The log of a dynamic quorum begins with what its directory was formatted with (KIP-853)."""
        history, is_misplaced = self._shell.history, self._is_misplaced()
        if history.kraft_version == 0 or not (is_first or is_misplaced):
            return []
        voters = history.voters.with_voter(self._shell.quorum.own_voter) if is_misplaced else history.voters
        return [m.KRaftVersionRecord(0, history.kraft_version), voters.record()]

    def _is_misplaced(self) -> bool:
        """Whether the voters in the log name other addresses of this one than it has now."""
        history, quorum = self._shell.history, self._shell.quorum
        known = history.voters.get(self._node_id)
        has_place = history.kraft_version > 0 and known is not None and bool(quorum.endpoints)
        return has_place and known != quorum.own_voter

    def maybe_tell_place(self) -> None:
        """This node has led before it knew its addresses: have the voters name them."""
        if self._is_misplaced():
            voters = self._shell.history.voters.with_voter(self._shell.quorum.own_voter)
            self._writer.append_control([voters.record()])

    def reached(self, offset: int) -> None:
        """The image has everything below an offset."""
        if not 0 <= self._start < offset or self.is_active:
            return
        shell = self._shell
        epoch = shell.quorum.epoch
        self._writer.begin(epoch, shell.image, in_transaction=shell.replayer.transaction_offset >= 0)
        for listener in self._listeners:
            shell.tell(listener, epoch)

    def end(self) -> None:
        self._start = -1
        epoch = self._shell.quorum.epoch
        log.info("this node does not lead the metadata quorum any more", epoch=epoch, node=self._node_id)
        self._writer.end()
