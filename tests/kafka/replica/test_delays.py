"""Partitions that are left out for a time come back when it is over, whatever else comes and goes meanwhile."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st
from tests.kafka.replica.pair import replica

from riverport.kafka.replica.delays import Delays
from riverport.kafka.replica.followed import Followed, State

PARTITIONS = [replica(2, index) for index in range(4)]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.integers(0, 20)),
        st.tuples(st.just("drop"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(0, 20)),
        st.tuples(st.just("end")),
    )
)


@given(steps)
def test_nobody_is_taken_early_and_nobody_is_left_when_his_time_has_come(history: list[tuple[str, int, int]]) -> None:
    delays, followed = Delays(), [Followed(partition) for partition in PARTITIONS]
    until: dict[int, int] = {}
    for kind, *arguments in history:
        match kind:
            case "add":
                until.pop(arguments[0], None)  # a fetcher takes it out first
                delays.drop(followed[arguments[0]])
                delays.add(followed[arguments[0]], float(arguments[1]))
                until[arguments[0]] = arguments[1]
            case "drop":
                delays.drop(followed[arguments[0]])
                until.pop(arguments[0], None)
            case "end":
                delays.end()
                until = dict.fromkeys(until, 0)
            case "take":
                due = [index for index, time in until.items() if time <= arguments[0]]
                assert delays.take_due(float(arguments[0])) == [followed[index] for index in due]
                until = {index: time for index, time in until.items() if index not in due}
        assert delays.earliest_ms <= min(until.values(), default=inf)
        assert (delays.earliest_ms == inf) == (not until)
        assert all(followed[index].state is State.DELAYED for index in until)
