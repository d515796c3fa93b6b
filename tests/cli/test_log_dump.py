"""`riverport log dump`: what files hold, and what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.kit import Cli
from tests.cli.log_files import write_partition

from riverport.cli.main import main
from riverport.testing import Broker

SECOND = "00000000000000000015"


@pytest.fixture
def partition(tmp_path: Path) -> Path:
    return write_partition(tmp_path / "orders-0")


Capture = pytest.CaptureFixture[str]


def items(capsys: Capture, *words: str, code: int = 0) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["log", "dump", "--json", *words]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def damages(capsys: Capture, path: Path) -> list[str]:
    found = items(capsys, "--check", str(path), code=1)
    assert {item["kind"] for item in found} == {"damage"}
    return [item["what"] for item in found]


def change(file: Path, at: int, to: bytes) -> None:
    raw = bytearray(file.read_bytes())
    raw[at : at + len(to)] = to
    file.write_bytes(raw)


def test_a_directory_is_shown_whole(partition: Path, capsys: Capture) -> None:
    found = items(capsys, "--records", str(partition))
    assert [item["offset"] for item in found if item["kind"] in ("record", "control")] == list(range(23))
    batches = [item for item in found if item["kind"] == "batch"]
    assert [batch["compression"] for batch in batches[:5]] == ["none", "gzip", "snappy", "lz4", "zstd"]
    assert [item["type"] for item in found if item["kind"] == "control"] == ["COMMIT", "ABORT"]
    (aborted,) = [item for item in found if item["kind"] == "aborted"]
    assert (aborted["producer_id"], aborted["first_offset"], aborted["last_offset"]) == (7, 19, 20)
    open_transactions = [item for item in found if item.get("open_transaction_offset") == 22]
    assert len(open_transactions) == 1
    assert not [item for item in found if item["kind"] == "damage"]


def test_records_are_shown_only_when_asked_for_but_always_opened(partition: Path, capsys: Capture) -> None:
    found = items(capsys, str(partition / f"{0:020d}.log"))
    assert not [item for item in found if item["kind"] == "record"]
    (total,) = [item for item in found if item["kind"] == "total"]
    assert (total["batches"], total["records"], total["next_offset"]) == (8, 15, 15)


def test_the_text_is_a_line_for_each_thing(partition: Path, capsys: Capture) -> None:
    assert main(["log", "dump", "--records", str(partition / f"{SECOND}.log")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{partition / SECOND}.log  730 B"
    assert lines[1].startswith("  batch  base_offset=15 last_offset=16 count=2 position=0 size=112 magic=2 ")
    assert "    control  offset=18 timestamp=1700000000000 type=COMMIT coordinator_epoch=0" in lines
    assert lines[-1] == "1 file, nothing damaged"


def test_a_flipped_bit_is_found_and_the_rest_is_shown(partition: Path, capsys: Capture) -> None:
    change(partition / f"{SECOND}.log", 100, b"!")
    assert damages(capsys, partition) == ["the checksum is not that of the bytes"]
    assert main(["log", "dump", str(partition)]) == 1
    out, err = capsys.readouterr()
    assert "DAMAGED position=0: the checksum is not that of the bytes" in out
    assert "base_offset=22" in out
    assert err == "riverport: 1 file of 18 damaged\n"


@pytest.mark.parametrize(
    ("name", "at", "to", "what"),
    [
        (f"{0:020d}.index", 4, b"\0\0\0\1", "no batch at position 1 holds offset 3"),
        (f"{0:020d}.timeindex", 0, b"\x7f", "the entry does not ascend"),
        (f"{SECOND}.txnindex", 0, b"\0\7", "the entry cannot be right"),
        (f"{SECOND}.snapshot", 20, b"\7", "checksum"),
        ("leader-epoch-checkpoint", 0, b"9", "version 9, known is 0"),
        ("leader-epoch-checkpoint", 2, b"5", "4 entries where 5 are announced"),
    ],
)
def test_damage_in_the_files_beside_a_segment(
    partition: Path, name: str, at: int, to: bytes, what: str, capsys: Capture
) -> None:
    change(partition / name, at, to)
    assert what in damages(capsys, partition / name)[0]


def test_a_write_that_was_cut_short(partition: Path, capsys: Capture) -> None:
    segment = partition / f"{SECOND}.log"
    segment.write_bytes(segment.read_bytes()[:-10])
    assert damages(capsys, segment) == ["68 bytes that are no whole batch"]
    index = partition / f"{SECOND}.index"
    index.write_bytes(index.read_bytes() + b"\1\2\3")
    assert "3 bytes behind the last whole entry of 8" in damages(capsys, index)


def test_preallocated_room_is_no_damage(partition: Path, capsys: Capture) -> None:
    for name in (f"{SECOND}.log", f"{SECOND}.index", f"{SECOND}.timeindex"):
        (partition / name).write_bytes((partition / name).read_bytes() + bytes(200_000 // 24 * 24))
        assert "preallocated" in [item["kind"] for item in items(capsys, str(partition / name))]


def test_files_of_other_names_are_refused_but_passed_over_in_a_directory(partition: Path, capsys: Capture) -> None:
    (partition / "notes.txt").write_text("x")
    assert items(capsys, str(partition))
    assert main(["log", "dump", str(partition / "notes.txt")]) == 1
    assert "no file of a log directory by its name" in capsys.readouterr().err
    assert main(["log", "dump", str(partition / "missing")]) == 1
    assert "there is no such file or directory" in capsys.readouterr().err


def test_the_topics_that_a_broker_keeps_for_itself_are_decoded(tmp_path: Path, capsys: Capture) -> None:
    with Broker(dir=str(tmp_path / "data")) as broker:
        cli = Cli(broker.bootstrap)
        broker.create_topic("orders", config={"retention.ms": 5})
        cli.ok("groups", "reset-offsets", "billing", "--topic", "orders", "--to-earliest", "--execute")
    found = items(capsys, str(tmp_path / "data"))
    records = [item for item in found if item["kind"] == "record"]
    (topic,) = [
        record["data"] for record in records if record["type"] == "TopicRecord" and record["data"]["name"] == "orders"
    ]
    (config,) = [
        record["data"]
        for record in records
        if record["type"] == "ConfigRecord" and record["data"]["resource_name"] == "orders"
    ]
    assert (len(topic["topic_id"]), config["name"], config["value"]) == (22, "retention.ms", "5")
    (commit,) = [record for record in records if record["type"] == "OffsetCommit"]
    assert commit["key"] == {"group": "billing", "topic": "orders", "partition": 0}
    assert commit["data"]["offset"] == 0
    assert not [item for item in found if item["kind"] == "damage"]
