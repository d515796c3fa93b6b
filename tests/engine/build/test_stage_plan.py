"""Stages: which are needed, what they wait for, and names that mean nothing."""

import pytest

from riverport.engine.build.dockerfile import Stage, parse
from riverport.engine.build.stages import Plan, find_stage, plan_stages
from riverport.engine.errors import InvalidParameter

DIAMOND = """
FROM base AS one
FROM base AS left
COPY --from=one /a /a
FROM base AS unused
RUN never
FROM one AS right
FROM scratch AS last
COPY --from=left / /
RUN --mount=type=bind,from=right,target=/r x
COPY --from=some/image / /
FROM base AS beyond
"""


def stages(text: str) -> list[Stage]:
    return parse(text.encode()).stages


def plan(text: str, target: str = "") -> Plan:
    found = stages(text)
    return plan_stages(found, target, [stage.origin.image for stage in found])


def test_only_needed_stages_run_and_each_after_its_own() -> None:
    found = plan(DIAMOND, "last")
    assert found.order == (0, 1, 3, 4)
    assert found.waits_for == {0: frozenset(), 1: {0}, 3: {0}, 4: {1, 3}}


def test_the_last_stage_is_the_target_unless_one_is_named() -> None:
    assert plan(DIAMOND).order == (5,)
    assert plan(DIAMOND, "LEFT").order == (0, 1)
    assert plan(DIAMOND, "1").order == (0, 1)


def test_a_stage_may_be_meant_by_number_but_not_in_from() -> None:
    assert plan("FROM a\nFROM b\nCOPY --from=0 / /").waits_for == {0: frozenset(), 1: {0}}
    assert plan("FROM a\nFROM 0").order == (1,)


def test_a_name_of_a_later_stage_is_an_image() -> None:
    assert find_stage(stages("FROM a\nFROM b AS late"), "late", 0) is None


@pytest.mark.parametrize(
    ("text", "target", "fault"),
    [
        ("FROM a AS x\nFROM b AS x", "", "x stage name already used"),
        ("FROM a\nCOPY --from=0 / /", "", "invalid from flag value 0: refers to current build stage"),
        ("FROM a\nCOPY --from=3 / /", "", "invalid from flag value 3: index out of bounds"),
        ("FROM a", "nope", 'target stage "nope" could not be found'),
        ("FROM a", "1", 'target stage "1" could not be found'),
        ("ARG a", "", "No image was generated. Is your Dockerfile empty?"),
    ],
)
def test_faults(text: str, target: str, fault: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        plan(text, target)
    assert str(raised.value) == fault
