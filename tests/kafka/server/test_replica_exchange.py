"""A follower's answer is worked off, and the next request leaves, where the answer arrives."""

from typing import Any

import pytest

from riverport.kafka.client.errors import ClientError, Disconnected
from riverport.kafka.replica.fetcher import Asked
from riverport.kafka.server.replica_exchange import ReplicaExchange


class Clock:
    def mono_ms(self) -> float:
        return 0.0


class PaperBroker:
    clock = Clock()
    broker_epoch = 1


class PaperConnection:
    """Keeps who awaits the answers; the test gives them."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.closed = False

    def post_for(self, future: Any, body: Any) -> None:
        self.asked.append(future)

    def recycle(self) -> None: ...


class PaperCore:
    """One request at a time, for as long as it is wanted."""

    def __init__(self) -> None:
        self.in_flight = False
        self.answers: list[Any] = []

    def next_request(self, now_ms: float, replica_epoch: int) -> Asked | None:
        if self.in_flight:
            return None
        self.in_flight = True
        return Asked(1, "a fetch", {})

    def answered(self, asked: Asked, answer: Any, now_ms: float) -> list[Any]:
        self.in_flight = False
        self.answers.append(answer)
        return []

    def wake_ms(self) -> float | None:
        return None


def an_exchange() -> tuple[ReplicaExchange, PaperConnection, PaperCore, list[None]]:
    connection, core, rung = PaperConnection(), PaperCore(), []  # type: ignore[var-annotated]
    exchange = ReplicaExchange(PaperBroker(), core, connection, 1000, lambda _: None, lambda: rung.append(None))  # type: ignore[arg-type]
    exchange.run()
    return exchange, connection, core, rung


def test_the_next_request_leaves_with_the_answer_and_not_later() -> None:
    _, connection, core, rung = an_exchange()
    connection.asked[0].set_result("first")
    connection.asked[1].set_result("second")
    assert (core.answers, len(connection.asked), rung) == (["first", "second"], 3, [])


def test_a_lost_connection_wakes_the_task_which_raises_it() -> None:
    exchange, connection, _, rung = an_exchange()
    connection.asked[0].set_exception(Disconnected("gone"))
    assert len(rung) == 1
    with pytest.raises(ClientError, match="gone"):
        exchange.run()


def test_an_answer_after_the_end_changes_nothing() -> None:
    exchange, connection, core, rung = an_exchange()
    exchange.close()
    connection.asked[0].set_result("late")
    assert (core.answers, len(connection.asked), rung) == ([], 1, [])
