"""A few hundred hostile connections; `fuzz/fuzz_http.py` makes them for as long as it is told to."""

import asyncio
import random

import pytest
import uvloop
from tests.base.http.hostile import cases


@pytest.mark.parametrize("seed", range(4))
def test_hostile_clients_are_answered_or_let_go_and_hurt_nobody(seed: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(cases(random.Random(seed), 40)) > 40
