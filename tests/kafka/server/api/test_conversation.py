"""Our answers beside those that Apache Kafka 4.3.1 gave in the same conversation."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conversation import ANSWERS, GIVEN, STEPS
from speaker import BROKER, CONTROLLER, Speaker

from riverport.kafka.controller import features
from riverport.kafka.server.broker import Broker as Node
from riverport.testing import Broker

THEIRS: dict[str, list[Any]] = json.loads(ANSWERS.read_text())
NEWEST_OF_4_3 = 30


async def ports_of(node: Node) -> dict[str, int]:
    return node.ports


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Any]]]:
    """All our answers, of a broker that knows of no later metadata.version than the one that was asked."""
    root: Path = tmp_path_factory.mktemp("conversation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(features.SUPPORTED, features.METADATA_VERSION, (7, NEWEST_OF_4_3))
        with Broker({**GIVEN, "log.dirs": [root / "a", root / "b"]}) as broker:
            ports = broker.run(ports_of)
            addresses = {BROKER: ("127.0.0.1", ports["PLAINTEXT"]), CONTROLLER: ("127.0.0.1", ports["CONTROLLER"])}
            speaker = Speaker(addresses)
            try:
                answers = speaker.answers(STEPS)
            finally:
                speaker.close()
            yield json.loads(json.dumps(answers))


def test_the_whole_conversation_was_had(ours: dict[str, list[Any]]) -> None:
    assert {chapter: len(answers) for chapter, answers in ours.items()} == {
        chapter: len(answers) for chapter, answers in THEIRS.items()
    }


@pytest.mark.parametrize(
    ("chapter", "index"), [(chapter, index) for chapter in THEIRS for index in range(len(THEIRS[chapter]))]
)
def test_the_answer_is_that_of_kafka(ours: dict[str, list[Any]], chapter: str, index: int) -> None:
    assert without_apis(ours[chapter][index]) == without_apis(THEIRS[chapter][index])


def without_apis(answer: Any) -> Any:
    """Which APIs there are, and in which versions, is a matter of `test_served_apis.py`."""
    return {name: value for name, value in answer.items() if name != "api_keys"} if "api_keys" in answer else answer
