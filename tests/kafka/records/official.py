"""Apache Kafka's own record classes and log validator, one Java process for a test run (`tests/java/records`)."""

import subprocess
from pathlib import Path

from tests.jars import jars

from riverport.kafka.records.validation import ValidationPolicy

HARNESS = Path(__file__).parents[2] / "java" / "records" / "RecordsOracle.java"

Row = tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]


class Refused(Exception):
    """Kafka's answer to bad bytes: the error code, the indexes of the records at fault, and what Java said."""

    def __init__(self, code: int, indexes: list[int], said: str) -> None:
        super().__init__(f"{code} {indexes} {said}")
        self.code = code
        self.indexes = indexes


class RecordsOracle:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-cp", jars("broker"), str(HARNESS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )

    def judge(self, payload: bytes, policy: ValidationPolicy, now_ms: int) -> tuple[int, bytes]:
        """(greatest timestamp, the batch as it would be appended). Raises Refused."""
        codec = "producer" if policy.codec is None else policy.codec.name.lower()
        compacted, append_time = str(policy.compacted).lower(), str(policy.log_append_time).lower()
        answer = self._ask(
            f"judge {compacted} {codec} {append_time} {policy.before_max_ms} {policy.after_max_ms}"
            f" {policy.max_message_bytes} {now_ms} {payload.hex()}"
        )
        timestamp, _, batch = answer.partition(" ")
        return int(timestamp), bytes.fromhex(batch)

    def read(self, batch: bytes) -> list[Row]:
        """The records in a batch. Raises Refused for one that Java cannot open."""
        answer = self._ask(f"read {batch.hex()}")
        return [_row(text) for text in answer.split(";")] if answer else []

    def rewrite(self, magic: int, codec: str, batch: bytes) -> bytes:
        """The same records as Java writes them."""
        return bytes.fromhex(self._ask(f"rewrite {magic} {codec} {batch.hex()}"))

    def retain(self, offsets: set[int], empty_transaction: bool, horizon_ms: int, batch: bytes) -> bytes:
        """What compaction leaves of a batch if these offsets are kept."""
        kept = ",".join(str(offset) for offset in sorted(offsets)) or "-"
        return bytes.fromhex(self._ask(f"retain {kept} {str(empty_transaction).lower()} {horizon_ms} {batch.hex()}"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, question: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        verdict, _, rest = self._process.stdout.readline().rstrip("\n").partition(" ")
        if verdict == "ok":
            return rest
        assert verdict == "no", f"the oracle ended: {verdict} {rest}"
        code, indexes, said = rest.split(" ", 2)
        raise Refused(int(code), [] if indexes == "-" else [int(index) for index in indexes.split(",")], said)


def _row(text: str) -> Row:
    offset, timestamp, key, value, *headers = text.split(",")
    pairs = [header.split("=") for header in headers]
    return (
        int(offset),
        int(timestamp),
        _bytes(key),
        _bytes(value),
        [(bytes.fromhex(name).decode(), _bytes(content)) for name, content in pairs],
    )


def _bytes(text: str) -> bytes | None:
    return None if text == "null" else bytes.fromhex(text)
