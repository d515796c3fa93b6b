"""A follower's side of a fetch session: epochs, what leaves it, which answers still count."""

from typing import Any

import pytest

from riverport.kafka.replica import session as session_module
from riverport.kafka.replica.session import Session
from riverport.kafka.wire import messages as m

TOPIC = b"t" * 16


def stamped(session: Session) -> tuple[int, int, list[Any]]:
    """(session id, epoch, forgotten indexes) of the next fetch."""
    request = m.FetchRequest()
    session.stamp(request)
    return (
        request.session_id,
        request.session_epoch,
        [index for topic in request.forgotten_topics_data for index in topic.partitions],
    )


def opened() -> Session:
    session = Session()
    session.begin_anew(1)
    assert stamped(session) == (0, 0, [])
    assert not session.answered(0, 99)
    return session


def test_epochs_count_the_fetches_of_a_session() -> None:
    session = opened()
    assert [stamped(session) for _ in range(3)] == [(99, 1, []), (99, 2, []), (99, 3, [])]


def test_after_the_last_epoch_comes_the_first_and_never_that_which_names_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "EPOCH_MAX", 2)
    session = opened()
    assert [stamped(session)[1] for _ in range(4)] == [1, 2, 1, 2]


def test_what_is_forgotten_is_said_once() -> None:
    session = opened()
    session.forgotten.update({(TOPIC, 3): None, (TOPIC, 5): None})
    assert stamped(session) == (99, 1, [3, 5])
    assert stamped(session) == (99, 2, [])


def test_a_session_that_begins_anew_has_nothing_to_forget_and_ends_the_old_one() -> None:
    session = opened()
    session.forgotten[TOPIC, 3] = None
    session.begin_anew(2)
    assert stamped(session) == (99, 0, [])
    assert (session.is_late(1), session.is_late(2)) == (True, False)


def test_over_another_connection_the_old_name_is_not_said() -> None:
    session = opened()
    session.disconnected(2)
    assert stamped(session) == (0, 0, [])


def test_a_leader_without_room_gives_no_session() -> None:
    session = Session()
    assert not session.answered(0, 0)
    assert (session.epoch, session.is_refused) == (0, True)
    assert not session.answered(0, 99)
    assert (session.epoch, session.is_refused) == (1, False)


def test_a_leader_ends_a_session_by_answering_without_it() -> None:
    session = opened()
    assert not session.answered(1, 99)
    assert session.answered(2, 0)
