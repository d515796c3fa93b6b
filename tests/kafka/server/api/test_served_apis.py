"""Which APIs a node lists, beside Apache Kafka 4.3.1's list and the page that accounts for every difference."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conversation import ANSWERS

from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.wire.api import apis
from riverport.testing import Broker

PAGE = Path(__file__).parents[4] / "docs" / "guides" / "apis.md"
ROW = re.compile(r"\| (\d+) \| (\w+) \| (\S+) \| (\S+) \| (.*?) ?\|")


def theirs() -> dict[int, str]:
    """Versions by key, as Apache Kafka told them in the conversation."""
    answers: list[Any] = json.loads(ANSWERS.read_text())["cluster"]
    (listed,) = (answer["api_keys"] for answer in answers if answer.get("api_keys"))
    return {api["api_key"]: f"{api['min_version']}-{api['max_version']}" for api in listed}


@pytest.fixture(scope="module")
def ours() -> dict[int, str]:
    async def served(node: Node) -> dict[int, tuple[int, int]]:
        (listener,) = (listener for listener in node.server.listeners if listener.dispatch.kind == "broker")
        return listener.dispatch.served()

    with Broker() as broker:
        found = broker.run(served)
    # Produce v0-2 are told to clients and refused (KAFKA-18659).
    return {key: f"{0 if key == 0 else low}-{high}" for key, (low, high) in found.items()}


@pytest.fixture(scope="module")
def page() -> dict[int, tuple[str, str, str, str]]:
    return {int(row[0]): (row[1], row[2], row[3], row[4]) for row in ROW.findall(PAGE.read_text())}


def test_the_page_has_every_api_that_either_lists(ours: dict[int, str], page: dict[int, Any]) -> None:
    assert set(page) == set(theirs()) | set(ours)


def test_the_page_has_the_versions_that_are_served(ours: dict[int, str], page: dict[int, Any]) -> None:
    assert {key: row[:3] for key, row in page.items()} == {
        key: (apis()[key].name, theirs().get(key, "-"), ours.get(key, "-")) for key in page
    }


def test_the_page_has_a_reason_for_every_api_that_is_missing(ours: dict[int, str], page: dict[int, Any]) -> None:
    assert [key for key, row in page.items() if key not in ours and not row[3]] == []


def test_no_version_of_4_3_1_is_missing_from_an_api_that_is_served(ours: dict[int, str]) -> None:
    def ends(text: str) -> tuple[int, int]:
        low, high = text.split("-")
        return int(low), int(high)

    both = {key: (ends(ours[key]), ends(text)) for key, text in theirs().items() if key in ours}
    assert [key for key, (own, other) in both.items() if own[0] > other[0] or own[1] < other[1]] == []
