"""One member of a classic group, as the coordinator knows it."""

from collections.abc import Container
from math import inf
from typing import Any

from riverport.kafka.groups.turn import Waiter
from riverport.kafka.wire import messages as m

Protocols = tuple[tuple[str, bytes], ...]
"""What a member can do, in its order of preference: (assignor's name, the member's metadata for it)."""


class Member:
    """Its identity, what it asked for, its assignment, and which of its requests is parked."""

    __slots__ = (
        "assignment",
        "client_host",
        "client_id",
        "deadline_ms",
        "instance_id",
        "is_new",
        "join_waiter",
        "member_id",
        "protocols",
        "rebalance_timeout_ms",
        "session_timeout_ms",
        "sync_waiter",
        "timer_ms",
    )

    def __init__(
        self,
        member_id: str,
        instance_id: str | None,
        client_id: str,
        client_host: str,
        rebalance_timeout_ms: int,
        session_timeout_ms: int,
        protocols: Protocols,
        assignment: bytes = b"",
    ) -> None:
        self.member_id = member_id
        self.instance_id = instance_id
        self.client_id = client_id
        self.client_host = client_host
        self.rebalance_timeout_ms = rebalance_timeout_ms
        self.session_timeout_ms = session_timeout_ms
        self.protocols = protocols
        self.assignment = assignment
        self.join_waiter: Waiter | None = None
        self.sync_waiter: Waiter | None = None
        self.is_new = False  # it joined and has not been told its first generation yet
        # A heartbeat only moves the deadline; the timer is set again when it fires too early. timer_ms <= deadline_ms
        # while it runs, and is infinite while it does not.
        self.deadline_ms = inf
        self.timer_ms = inf

    @property
    def satisfies_heartbeat(self) -> bool:
        """Whether a request of it is parked: the coordinator keeps it waiting, so it cannot send heartbeats.

        New members can be given up even so: one that lost its connection would otherwise stay for ever.
        """
        return not self.is_new and (self.join_waiter is not None or self.sync_waiter is not None)

    def metadata(self, protocol: str | None) -> bytes:
        for name, metadata in self.protocols:
            if name == protocol:
                return metadata
        raise AssertionError(f"member {self.member_id} has no protocol {protocol}: {[n for n, _ in self.protocols]}")

    def vote(self, candidates: Container[str]) -> str:
        """The first of its protocols that everybody can do."""
        return next(name for name, _ in self.protocols if name in candidates)

    def as_record(self, protocol: str | None, assignment: bytes) -> m.GroupMetadataValue.MemberMetadata:
        return m.GroupMetadataValue.MemberMetadata(
            self.member_id,
            self.instance_id,
            self.client_id,
            self.client_host,
            self.rebalance_timeout_ms,
            self.session_timeout_ms,
            self.metadata(protocol),
            assignment,
        )

    @classmethod
    def of_record(cls, record: Any, protocol: str | None) -> "Member":
        rebalance_timeout_ms = record.rebalance_timeout
        return cls(
            record.member_id,
            record.group_instance_id,
            record.client_id,
            record.client_host,
            record.session_timeout if rebalance_timeout_ms == -1 else rebalance_timeout_ms,
            record.session_timeout,
            ((protocol or "", bytes(record.subscription)),),
            bytes(record.assignment),
        )
