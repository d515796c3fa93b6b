"""The quorum under many schedules: crashes, cuts, loss and delay, and progress once they are over."""

import pytest
from quorum_simulation import Node, World

from riverport.kafka.raft.leader import Leading
from riverport.kafka.raft.quorum import Quorum

FAULTY_MS = 10_000
HEALED_MS = 8_000


def run(seed: int, *, is_dynamic: bool = False) -> World:
    """One run; raises AssertionError for a broken promise."""
    observers = 3 if is_dynamic else seed % 2
    world = World(seed, voters=3 if seed % 3 else 5, observers=observers, is_dynamic=is_dynamic)
    world.start()
    world.run(FAULTY_MS)
    world.heal()
    world.run(HEALED_MS)
    return world


def demand_progress(world: World) -> None:
    leaders = [node for node in world.nodes.values() if node.quorum is not None and node.quorum.is_leader]
    assert len(leaders) == 1, [node.quorum.describe() for node in world.nodes.values() if node.quorum]
    before = len(world.checker.committed)
    world.run(2_000)
    assert len(world.checker.committed) > before
    for node in world.nodes.values():
        assert node.high_watermark >= before, (node.id, node.high_watermark, before)


@pytest.mark.parametrize("seed", range(15))
def test_whatever_happens_what_is_committed_stays_and_the_quorum_goes_on(seed: int) -> None:
    demand_progress(run(seed))


@pytest.mark.parametrize("seed", range(10))
def test_voters_come_and_go_amid_all_that(seed: int) -> None:
    demand_progress(run(seed, is_dynamic=True))


@pytest.mark.slow
@pytest.mark.parametrize("is_dynamic", [False, True])
def test_many_more_schedules(is_dynamic: bool) -> None:
    for seed in range(1_000, 1_080):
        demand_progress(run(seed, is_dynamic=is_dynamic))


def is_noticed(runs: int = 300) -> bool:
    """Whether a planted defect breaks a promise within some runs."""
    for seed in range(runs):
        try:
            run(seed)
        except AssertionError:
            return True
    return False


def test_a_voter_that_votes_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quorum, "_may_vote_for", lambda self, candidate: True)
    assert is_noticed()


@pytest.mark.slow
def test_a_voter_that_forgets_its_vote_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Node) -> None:
        self.state = None
        started(self)

    started = Node.start
    monkeypatch.setattr(Node, "start", start)
    assert is_noticed()


def test_a_leader_that_commits_what_it_alone_has_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(self: Leading) -> int:
        return self.voters[self.own.id].log_end

    monkeypatch.setattr(Leading, "high_watermark", alone)
    assert is_noticed()
