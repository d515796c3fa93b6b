"""Seeds that once broke a promise, by what they broke it with."""

import pytest

from riverport.sim.plan import plan_of
from riverport.sim.run import run


@pytest.mark.parametrize("seed", [1001858, 1003309, 1003585, 1003610])
def test_a_consumer_is_not_sent_back_by_a_replica_that_leads_no_more(seed: int) -> None:
    """It had lost its log to a power cut, and answered OFFSET_OUT_OF_RANGE to who took it for the leader."""
    assert run(plan_of(seed)).violation is None
