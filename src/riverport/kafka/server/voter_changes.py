"""AddRaftVoter, RemoveRaftVoter and UpdateRaftVoter on the leader: asked, decided, written, committed (KIP-853)."""

import asyncio
from typing import TYPE_CHECKING, Any

from riverport.base.ids import ZERO_UUID
from riverport.base.tasks import Tasks
from riverport.kafka.client.connection import Connection
from riverport.kafka.client.errors import ClientError
from riverport.kafka.controller import features
from riverport.kafka.raft import changes
from riverport.kafka.raft.voters import Endpoint, ReplicaKey, Voter, VoterSet
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


class VoterChanges:
    """One change at a time: `_is_busy` from a request until its set of voters is committed."""

    def __init__(self, node: "Broker") -> None:
        self._node = node
        self._is_busy = False
        self._tasks = Tasks(node.loop)

    def add(self, request: m.AddRaftVoterRequest) -> "asyncio.Future[Any]":
        return self._do(self._add(request))

    def remove(self, request: m.RemoveRaftVoterRequest) -> "asyncio.Future[Any]":
        return self._do(self._remove(request))

    def update(self, request: m.UpdateRaftVoterRequest) -> m.UpdateRaftVoterResponse:
        try:
            self._update(request)
            code = ErrorCode.NONE
        except ApiError as refused:
            code = refused.code
        of = m.UpdateRaftVoterResponse
        return of(0, code, of.CurrentLeader(*self._leader()))

    async def close(self) -> None:
        await self._tasks.cancel()

    def _do(self, work: Any) -> "asyncio.Future[Any]":
        return self._tasks.start(work)

    async def _add(self, request: m.AddRaftVoterRequest) -> m.AddRaftVoterResponse:
        self._begin(request.cluster_id)
        metadata, key = self._node.metadata, ReplicaKey(request.voter_id, bytes(request.voter_directory_id))
        if key.id < 0 or key.directory == ZERO_UUID:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Add voter request didn't include a valid voter")
        endpoints = self._endpoints(request.listeners)
        changes.ensure_new(metadata.quorum, key)
        self._is_busy = True
        try:
            known = await self._kraft_versions_of(endpoints[0])
            self._node.active_controller()  # the lead may have been lost while the voter was asked
            voters = changes.with_new(metadata.quorum, Voter(key, endpoints, known), self._node.clock.wall_ms())
            await self._written(voters, request.timeout_ms, wait=request.ack_when_committed)
        finally:
            self._is_busy = False
        return m.AddRaftVoterResponse(0, 0, None)

    async def _remove(self, request: m.RemoveRaftVoterRequest) -> m.RemoveRaftVoterResponse:
        self._begin(request.cluster_id)
        key = ReplicaKey(request.voter_id, bytes(request.voter_directory_id))
        if key.id < 0 or key.directory == ZERO_UUID:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Remove voter request didn't include a valid voter")
        voters = changes.without(self._node.metadata.quorum, key)
        self._is_busy = True
        try:
            await self._written(voters, self._node.config["controller.quorum.request.timeout.ms"], wait=True)
        finally:
            self._is_busy = False
        return m.RemoveRaftVoterResponse(0, 0, None)

    def _update(self, request: m.UpdateRaftVoterRequest) -> None:
        metadata = self._node.metadata
        if request.current_leader_epoch >= 0 and request.current_leader_epoch != metadata.epoch:
            is_older = request.current_leader_epoch < metadata.epoch
            raise ApiError(ErrorCode.FENCED_LEADER_EPOCH if is_older else ErrorCode.UNKNOWN_LEADER_EPOCH)
        self._begin(request.cluster_id)
        key, known = ReplicaKey(request.voter_id, bytes(request.voter_directory_id)), request.k_raft_version_feature
        low, high = known.min_supported_version, known.max_supported_version
        if key.id < 0 or key.directory == ZERO_UUID or not 0 <= low <= high:
            raise ApiError(ErrorCode.INVALID_REQUEST)
        voter = Voter(key, self._endpoints(request.listeners), (low, high))
        voters = changes.with_newer(metadata.quorum, voter)
        if voters != metadata.quorum.voters:
            # Nobody waits for the commit: the voter sees it in its log.
            metadata.change_voters(voters).add_done_callback(lambda done: done.cancelled() or done.exception())

    def _begin(self, cluster_id: str | None) -> None:
        """Raises ApiError for another cluster, where this node does not lead, and while a change is being made."""
        node = self._node
        if cluster_id is not None and cluster_id != node.cluster_id:
            raise ApiError(
                ErrorCode.INCONSISTENT_CLUSTER_ID,
                f'The given id "{cluster_id}" doesn\'t match the cluster id "{node.cluster_id}"',
            )
        if not node.metadata.is_active:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if self._is_busy:
            raise ApiError(
                ErrorCode.REQUEST_TIMED_OUT,
                "Request timed out waiting for leader to handle previous voter change request",
            )

    def _endpoints(self, listeners: list[Any]) -> tuple[Endpoint, ...]:
        """Those of a voter, the one that controllers use among themselves first. Raises ApiError where it has none."""
        found = tuple(Endpoint(listener.name, listener.host, listener.port) for listener in listeners)
        wanted = self._node.config.values.items_of("controller.listener.names")[0].upper()
        first = [endpoint for endpoint in found if endpoint.name.upper() == wanted]
        if not first:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"Add voter request didn't include the endpoint ({', '.join(e.name for e in found)}) for the default "
                f"listener ListenerName({wanted})",
            )
        return (*first, *(endpoint for endpoint in found if endpoint not in first))

    async def _kraft_versions_of(self, endpoint: Endpoint) -> tuple[int, int]:
        """What a replica supports of kraft.version. Raises ApiError where it does not answer."""
        timeout_ms: int = self._node.config["controller.quorum.request.timeout.ms"]
        try:
            connection = await Connection.open(endpoint.host, endpoint.port, timeout_ms=timeout_ms)
        except ClientError as error:
            raise ApiError(
                ErrorCode.REQUEST_TIMED_OUT,
                "Aborted add voter operation for since API_VERSIONS returned an error "
                f"{ErrorCode.REQUEST_TIMED_OUT.name}",
            ) from error
        connection.abort()
        supported = {key.name: (key.min_version, key.max_version) for key in connection.features.supported_features}
        return supported.get(features.KRAFT_VERSION, (0, 0))

    async def _written(self, voters: VoterSet, timeout_ms: int, *, wait: bool) -> None:
        """Raises ApiError REQUEST_TIMED_OUT where they are not committed in time; they may be later."""
        done = self._node.metadata.change_voters(voters)
        if not wait:
            done.add_done_callback(lambda done: done.cancelled() or done.exception())
            return
        try:
            async with asyncio.timeout(max(timeout_ms, 1) / 1000):
                await asyncio.shield(done)
        except TimeoutError as error:
            done.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise ApiError(ErrorCode.REQUEST_TIMED_OUT) from error

    def _leader(self) -> tuple[int, int, str, int]:
        metadata = self._node.metadata
        listed = self._node.leader_endpoints()
        host, port = listed[0][1:] if listed else ("", 0)
        return metadata.leader_id, metadata.epoch, host, port
