"""Apache Kafka's own message definitions and classes, from its jars.

The definitions are JSON files with `//` comments inside the jars; the classes answer through `tests/java/wire`.
"""

import base64
import glob
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.jars import jars
from tests.kafka.wire.values import present

from riverport.base.ids import uuid_text
from riverport.kafka.wire.schema import Field, Message

HARNESS = Path(__file__).parents[2] / "java" / "wire" / "WireOracle.java"


def definitions() -> dict[str, dict[str, Any]]:
    """Every message definition by name; of two versions of a jar, the first on the class path counts."""
    found: dict[str, dict[str, Any]] = {}
    for entry in jars("protocol").split(os.pathsep):
        for jar in sorted(glob.glob(entry)) if entry.endswith("*") else [entry]:
            if re.search(r"/kafka-[a-z-]+-\d[^/]*\.jar$", jar):
                for name, definition in _definitions_in(jar).items():
                    found.setdefault(name, definition)
    return found


def _definitions_in(jar: str) -> dict[str, dict[str, Any]]:
    found = {}
    with zipfile.ZipFile(jar) as archive:
        for entry in archive.namelist():
            if re.fullmatch(r"(common/)?(message|metadata)/\w+\.json", entry):
                text = archive.read(entry).decode()
                definition = json.loads(re.sub(r'^\s*//.*$|(?<=[\s,\]}])//[^"\n]*$', "", text, flags=re.M))
                found[definition["name"]] = definition
    return found


def snake(name: str) -> str:
    """Our name of an official field: `ISRNodes` is `isr_nodes`, `topicId` is `topic_id`."""
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


class WireOracle:
    """One Java process that encodes and decodes with Apache Kafka's classes."""

    def __init__(self) -> None:
        if shutil.which("java") is None:
            pytest.skip("no Java runtime")
        self._process = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-cp", jars("protocol"), str(HARNESS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def write(self, name: str, version: int, fields: dict[str, Any]) -> bytes:
        """The bytes of the message with these fields (JSON form). Raises ValueError with what Java raised."""
        return bytes.fromhex(self._ask("write", name, version, json.dumps(fields)))

    def read(self, name: str, version: int, data: bytes) -> tuple[bytes, int, dict[str, Any]]:
        """What Java makes of the bytes: encoded again, how many are left over, and the fields."""
        again, left, fields = self._ask("read", name, version, data.hex()).split(" ", 2)
        return bytes.fromhex(again), int(left), json.loads(fields)

    def _ask(self, verb: str, name: str, version: int, argument: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{verb} {name} {version} {argument}\n")
        self._process.stdin.flush()
        verdict, _, rest = self._process.stdout.readline().rstrip("\n").partition(" ")
        if verdict != "ok":
            raise ValueError(rest)
        return rest

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def json_fields(value: Any, version: int | None, definition: dict[str, Any]) -> dict[str, Any]:
    """A value in the JSON form of Apache Kafka's converters; `definition` has the official spelling of its fields.

    Holds the fields of the version, or with None every field.
    """
    names = _spelling(definition)
    return _json_struct(value._message, value, version, names)


def _spelling(definition: dict[str, Any]) -> dict[str, str]:
    """The converters' name of every field by ours: the official name with its first letter in lower case."""
    found: dict[str, str] = {}

    def visit(fields: list[dict[str, Any]]) -> None:
        for field in fields:
            name = field["name"]
            found[snake(name)] = name[0].lower() + name[1:]
            visit(field.get("fields", []))

    visit(definition["fields"])
    for struct in definition.get("commonStructs", []):
        visit(struct["fields"])
    return found


def _json_struct(message: Message, value: Any, version: int | None, names: dict[str, str]) -> dict[str, Any]:
    found = {}
    for field in value._struct.fields:
        if version is None or present(message, field, version):
            inner = getattr(value, field.name)
            if field.array and inner is not None:
                found[names[field.name]] = [_json_value(message, field, e, version, names) for e in inner]
            else:
                found[names[field.name]] = _json_value(message, field, inner, version, names)
    return found


def _json_value(message: Message, field: Field, value: Any, version: int | None, names: dict[str, str]) -> Any:
    if value is None:
        return None
    if field.struct is not None:
        return _json_struct(message, value, version, names)
    match field.type:
        case "uuid":
            return uuid_text(value)
        case "bytes" | "records":
            return base64.b64encode(value).decode()
    return value
