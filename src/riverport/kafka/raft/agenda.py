"""What is due: requests to send, elections to begin, a lead to give up. Each role has its own answer."""

from collections.abc import Callable
from typing import Any, assert_never

from riverport.kafka.raft import requests as make
from riverport.kafka.raft.election import Election
from riverport.kafka.raft.follower import Following
from riverport.kafka.raft.leader import Leading
from riverport.kafka.raft.outbox import FOREVER
from riverport.kafka.raft.requests import LogEnd
from riverport.kafka.raft.roles import Replica, Resigned, Unattached
from riverport.kafka.raft.voters import Address, ReplicaKey
from riverport.kafka.wire import messages as m


class Agenda(Replica):
    """`_poll` is called at the end of every step, and sets `deadline_ms`."""

    def _poll(self) -> None:
        """Do what is due, and find out when something is due next."""
        while True:
            role = self._role
            self.deadline_ms = self._poll_role()
            if self._role is role:
                return

    def _poll_role(self) -> float:
        match self._role:
            case Unattached() as role:
                return self._poll_unattached(role)
            case Election() as role:
                return self._poll_election(role)
            case Following() as role:
                return self._poll_following(role)
            case Leading() as role:
                return self._poll_leading(role)
            case Resigned() as role:
                return self._poll_resigned(role)
            case _:
                assert_never(self._role)

    def _poll_unattached(self, role: Unattached) -> float:
        if self.can_stand and self._now_ms >= role.deadline_ms:
            self._become_prospective()
            return role.deadline_ms
        if self.is_voter:
            return role.deadline_ms
        due_ms = self._ask_around(role)
        return min(due_ms, role.deadline_ms) if self.can_stand else due_ms

    def _ask_around(self, role: Unattached) -> float:
        """Whoever may know the leader is asked in turn, by a fetch: the leader itself answers it."""
        own = {Address(endpoint.host, endpoint.port) for endpoint in self.endpoints}
        known = dict.fromkeys([*self._bootstrap, *(voter.address for voter in self.voters if voter.endpoints)])
        servers = [address for address in known if address not in own]
        if not servers or role.deadline_ms == FOREVER:
            return FOREVER
        return self._send_when_ready(servers[role.asked % len(servers)], lambda: self._fetch(None))

    def _fetch(self, role: Following | None) -> Any:
        args = (self.cluster_id, self.epoch, self.own, self.log.end, self.high_watermark, self._max_bytes)
        return make.fetch_request(*args) if role is None else role.request(*args)

    def _poll_election(self, role: Election) -> float:
        if role.pause_until_ms is None and self._now_ms >= role.deadline_ms:
            self._gone_leader = -1  # so long without an election: it may be there after all
            self._lose(role)
        if role.pause_until_ms is not None:
            if self._now_ms >= role.pause_until_ms:
                self._become_prospective(role.retries)
            return role.pause_until_ms
        due_ms = role.deadline_ms
        end = self.log.end
        for id_ in role.unanswered:
            voter = self.voters.get(id_)
            if voter is not None and voter.endpoints:
                make_vote = self._vote_maker(voter.key, end, is_pre_vote=role.is_pre_vote)
                due_ms = min(due_ms, self._send_when_ready(voter.address, make_vote))
        return due_ms

    def _vote_maker(self, voter: ReplicaKey, end: LogEnd, *, is_pre_vote: bool) -> "Callable[[], m.VoteRequest]":
        return lambda: make.vote_request(self.cluster_id, self.epoch, self.own, voter, end, is_pre_vote=is_pre_vote)

    def _poll_following(self, role: Following) -> float:
        deadline_ms = role.deadline_ms if self.can_stand else FOREVER
        if self._now_ms >= deadline_ms:
            self._become_prospective()
            return deadline_ms
        if role.is_storing:
            return deadline_ms
        errand = self._errand() if role.has_fetched and self._now_ms >= role.errand_due_ms else None
        if errand is not None and self._outbox.ready_ms(role.address) <= self._now_ms:
            role.errand_due_ms = self._now_ms + self._timing.fetch_timeout_ms
            return min(deadline_ms, self._send_when_ready(role.address, lambda: errand))
        return min(deadline_ms, self._send_when_ready(role.address, lambda: self._fetch(role)))

    def _errand(self) -> Any:
        """What this follower wants of its leader beside the log, None where its place among the voters is right."""
        if self.history.kraft_version == 0 or not self.endpoints:
            return None
        known = self.voters.get(self.own.id)
        if known is not None and known.key == self.own:
            if known == self.own_voter:
                return None
            return make.update_voter_request(
                self.cluster_id, self.epoch, self.own, self.endpoints, self._kraft_versions
            )
        if not self._auto_join:
            return None
        if known is not None:
            # The voter of this id had another directory, which is no more.
            return make.remove_voter_request(self.cluster_id, known.key)
        return make.add_voter_request(self.cluster_id, self.own, self.endpoints, self._timing.fetch_timeout_ms)

    def _poll_leading(self, role: Leading) -> float:
        due_ms = role.check_due_ms()
        if self._now_ms >= due_ms:
            self._resign(role)
            return due_ms
        for id_, begin_due_ms in role.begin_due_ms.items():
            voter = self.voters.get(id_)
            if voter is None or not voter.endpoints:
                continue
            if self._now_ms < begin_due_ms:
                due_ms = min(due_ms, begin_due_ms)
            else:
                due_ms = min(due_ms, self._send_when_ready(voter.address, self._begin_maker(voter.key)))
        return due_ms

    def _begin_maker(self, voter: ReplicaKey) -> "Callable[[], m.BeginQuorumEpochRequest]":
        return lambda: make.begin_request(self.cluster_id, self.epoch, self.own.id, voter, self.endpoints)

    def _poll_resigned(self, role: Resigned) -> float:
        if self._now_ms >= role.deadline_ms:
            # A new epoch, so that nobody takes this replica for the leader of its present one any longer.
            self._unattach(self.epoch + 1)
            return role.deadline_ms
        due_ms = role.deadline_ms
        for id_ in role.unaware:
            address = self.voters.address_of(id_)
            if address is not None:
                due_ms = min(due_ms, self._send_when_ready(address, lambda: self._end(role)))
        return due_ms

    def _end(self, role: Resigned) -> "m.EndQuorumEpochRequest":
        return make.end_request(self.cluster_id, self.epoch, self.own.id, role.successors, self.endpoints)

    def _send_when_ready(self, to: Address, request: Callable[[], Any]) -> float:
        """Send what `request()` makes unless one is on its way or has just failed; returns when to look again."""
        ready_ms = self._outbox.ready_ms(to)
        if ready_ms <= self._now_ms:
            self._effects.append(self._outbox.send(to, request()))
            return FOREVER
        return ready_ms
