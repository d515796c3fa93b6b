"""Membership in a classic consumer group: join, sync, heartbeat, leave.

The broker decides who is in, the leader (one of the members) who gets what. A member gives up all it has before it
joins again (the eager protocol), so no partition has two owners at a time. Heartbeats run beside whatever the
application does; when they learn of a rebalance, `stale` says so and the next `join` takes part in it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from riverport.kafka.client.assignors import Assignment, TopicPartition, assign_ranges
from riverport.kafka.client.client import Client
from riverport.kafka.client.errors import ClientError, Disconnected, Refused, TimedOut, Unreachable
from riverport.kafka.wire import codec
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode, WireError

PROTOCOL = "range"
SUBSCRIPTION_VERSION = 1
"""Of the bytes inside JoinGroup: 1 has all that the eager protocol needs, and every client reads it."""
JOIN_MARGIN_MS = 5_000
"""How much longer than the rebalance timeout a JoinGroup answer is waited for."""

REJOIN = frozenset((ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION, ErrorCode.UNKNOWN_MEMBER_ID))


def encode_subscription(topics: Sequence[str]) -> bytes:
    body = codec.encode(m.ConsumerProtocolSubscription(topics=sorted(topics)), SUBSCRIPTION_VERSION)
    return SUBSCRIPTION_VERSION.to_bytes(2, "big") + body


def decode_subscription(data: bytes) -> Any:
    """Raises WireError. A version that is newer than ours is read as ours, which its writer allows for."""
    version = int.from_bytes(data[:2], "big", signed=True)
    if version < 0:
        raise WireError(f"a subscription of version {version}")
    return codec.decode(m.ConsumerProtocolSubscription, min(version, 3), data, 2)[0]


def encode_assignment(partitions: Sequence[TopicPartition]) -> bytes:
    topics: dict[str, list[int]] = defaultdict(list)
    for topic, partition in partitions:
        topics[topic].append(partition)
    assigned = [
        m.ConsumerProtocolAssignment.TopicPartition(topic=topic, partitions=indexes)
        for topic, indexes in sorted(topics.items())
    ]
    return bytes(2) + codec.encode(m.ConsumerProtocolAssignment(assigned_partitions=assigned), 0)


def decode_assignment(data: bytes) -> list[TopicPartition]:
    """Raises WireError. No bytes at all are an empty assignment."""
    if not data:
        return []
    version = max(0, min(int.from_bytes(data[:2], "big", signed=True), 3))
    answer, _ = codec.decode(m.ConsumerProtocolAssignment, version, data, 2)
    return [(topic.topic, partition) for topic in answer.assigned_partitions for partition in topic.partitions]


class GroupMember:
    """One member. `join` may be called again and again; `leave` once."""

    def __init__(
        self,
        client: Client,
        group: str,
        topics: Sequence[str],
        *,
        instance_id: str | None = None,
        session_timeout_ms: int = 45_000,
        rebalance_timeout_ms: int = 60_000,
        heartbeat_ms: int = 3_000,
    ) -> None:
        self.client = client
        self.group = group
        self.topics = list(topics)
        self.instance_id = instance_id
        self.member_id = ""
        self.generation = -1
        self.stale = True  # a join is needed
        self._lane = f"member-{id(self)}"
        self.assigned: list[TopicPartition] = []
        self._session_timeout_ms = session_timeout_ms
        self._rebalance_timeout_ms = rebalance_timeout_ms
        self._heartbeat_ms = heartbeat_ms
        self._heartbeats: asyncio.Task[None] | None = None

    async def join(self) -> list[TopicPartition]:
        """Take part in a rebalance and return the partitions of this generation. Raises ClientError."""
        await self._stop_heartbeats()
        self.assigned = []
        self.assigned = await self.client.retrying(self._join_and_sync, self._rebalance_timeout_ms * 2)
        self.stale = False
        self._heartbeats = asyncio.create_task(self._beat())
        return self.assigned

    async def leave(self) -> None:
        """Give the partitions to the others now, not after the session timeout. A static member stays a member."""
        await self._stop_heartbeats()
        await self.client.close_lane(self._lane)
        if not self.member_id or self.instance_id is not None:
            return
        request = m.LeaveGroupRequest(
            group_id=self.group, members=[m.LeaveGroupRequest.MemberIdentity(member_id=self.member_id)]
        )
        self.member_id, self.generation, self.stale = "", -1, True
        try:
            await self.client.ask_coordinator(self.group, request)
        except ClientError:
            return  # the session timeout does the same, later

    async def _stop_heartbeats(self) -> None:
        if self._heartbeats is not None:
            self._heartbeats.cancel()
            await asyncio.gather(self._heartbeats, return_exceptions=True)
            self._heartbeats = None

    # --- rebalance

    async def _join_and_sync(self) -> list[TopicPartition]:
        answer = await self._join()
        assignments: list[m.SyncGroupRequest.SyncGroupRequestAssignment] = []
        if answer.leader == answer.member_id and not answer.skip_assignment:
            for member_id, partitions in (await self._assign(answer)).items():
                encoded = encode_assignment(partitions)
                assignments.append(
                    m.SyncGroupRequest.SyncGroupRequestAssignment(member_id=member_id, assignment=encoded)
                )
        request = m.SyncGroupRequest(
            group_id=self.group,
            generation_id=self.generation,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            protocol_type="consumer",
            protocol_name=PROTOCOL,
            assignments=assignments,
        )
        timeout_ms = self._rebalance_timeout_ms + JOIN_MARGIN_MS
        synced = await self.client.ask_coordinator(self.group, request, lane=self._lane, timeout_ms=timeout_ms)
        self._check(synced.error_code, "sync")
        try:
            return decode_assignment(synced.assignment)
        except WireError as error:
            raise ClientError(
                f"group {self.group!r}: its leader sent an assignment that cannot be read: {error}"
            ) from error

    async def _join(self) -> Any:
        request = m.JoinGroupRequest(
            group_id=self.group,
            session_timeout_ms=self._session_timeout_ms,
            rebalance_timeout_ms=self._rebalance_timeout_ms,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            protocol_type="consumer",
            protocols=[
                m.JoinGroupRequest.JoinGroupRequestProtocol(name=PROTOCOL, metadata=encode_subscription(self.topics))
            ],
        )
        timeout_ms = self._rebalance_timeout_ms + JOIN_MARGIN_MS
        answer = await self.client.ask_coordinator(self.group, request, lane=self._lane, timeout_ms=timeout_ms)
        if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            # The broker makes the id and wants to see it used before it counts the member (KIP-394).
            request.member_id = self.member_id = answer.member_id
            answer = await self.client.ask_coordinator(self.group, request, lane=self._lane, timeout_ms=timeout_ms)
        self._check(answer.error_code, "join")
        self.member_id, self.generation = answer.member_id, answer.generation_id
        return answer

    async def _assign(self, joined: Any) -> Assignment:
        subscriptions = {}
        for member in joined.members:
            try:
                subscriptions[member.member_id] = decode_subscription(member.metadata).topics
            except WireError as error:
                what = f"group {self.group!r}: member {member.member_id} sent a subscription that cannot be read"
                raise ClientError(f"{what}: {error}") from error
        topics = dict.fromkeys(topic for wanted in subscriptions.values() for topic in wanted)
        view = await self.client.refresh(list(topics))
        return assign_ranges(
            subscriptions, {name: len(view.topics[name].partitions) for name in topics if name in view.topics}
        )

    def _check(self, code: int, what: str) -> None:
        """Errors of a rebalance: those that mean "again" are raised as one that `retrying` takes for passing."""
        self._forget(code)
        if code in REJOIN:
            raise Disconnected(f"group {self.group!r} is rebalancing")
        self.client.check_coordinator(self.group, code, f"{what} of group {self.group!r}")

    def _forget(self, code: int) -> None:
        """What an error says is over. A member that is still known joins under its id: it leaves no ghost behind."""
        if code in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION):
            self.generation = -1
        if code == ErrorCode.UNKNOWN_MEMBER_ID:
            self.member_id = ""

    # --- heartbeats

    async def _beat(self) -> None:
        """Tell the coordinator that we live, until it says that something has changed."""
        while not self.stale:
            await asyncio.sleep(self._heartbeat_ms / 1000)
            request = m.HeartbeatRequest(
                group_id=self.group,
                generation_id=self.generation,
                member_id=self.member_id,
                group_instance_id=self.instance_id,
            )
            try:
                answer = await self.client.ask_coordinator(
                    self.group, request, lane=self._lane, timeout_ms=self._session_timeout_ms
                )
                self.client.check_coordinator(self.group, answer.error_code, f"heartbeat of group {self.group!r}")
            except (Disconnected, TimedOut, Unreachable):
                continue
            except Refused as error:
                self._forget(error.code)
                if not error.retriable:
                    self.stale = True
