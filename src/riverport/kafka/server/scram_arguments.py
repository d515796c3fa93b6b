"""`--add-scram` of `riverport kafka format`: users that are there from the first start (KIP-900).

SCRAM-SHA-256=[name=alice,password=alice-secret]
SCRAM-SHA-512=[name=alice,iterations=8192,salt="N3E=",saltedpassword="YCE="]
"""

import base64
import hashlib

from riverport.kafka.controller.scram import MAX_ITERATIONS, MECHANISMS, MIN_ITERATIONS, keys_of
from riverport.kafka.wire import messages as m

NUMBERS = {"SCRAM-SHA-256": 1, "SCRAM-SHA-512": 2}
KEYS = ("name", "password", "saltedpassword", "salt", "iterations")


def scram_record(argument: str, salt: bytes) -> m.UserScramCredentialRecord:
    """The record of one argument; `salt` is used where it names none. Raises ValueError that says what is wrong."""
    mechanism, equals, text = argument.partition("=")
    if not equals:
        raise ValueError(f"Failed to find equals sign in SCRAM argument '{argument}'")
    if mechanism not in NUMBERS:
        raise ValueError(f"The add-scram mechanism {mechanism} is not supported.")
    given = _entries(text)
    _check(given)
    iterations = _iterations(given.get("iterations"), mechanism)
    if "salt" in given:
        salt = _decoded(given["salt"], "salt")
    algorithm = MECHANISMS[NUMBERS[mechanism]]
    if "password" in given:
        salted = hashlib.pbkdf2_hmac(algorithm, given["password"].encode(), salt, iterations)
    else:
        salted = _decoded(given["saltedpassword"], "saltedpassword")
    stored, server = keys_of(algorithm, salted)
    return m.UserScramCredentialRecord(given["name"], NUMBERS[mechanism], salt, stored, server, iterations)


def _entries(text: str) -> dict[str, str]:
    """`[key=value,key="value"]`."""
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"Expected configuration string to be in brackets: {text}")
    found = {}
    for entry in text[1:-1].split(","):
        key, equals, value = entry.partition("=")
        if not equals:
            raise ValueError(f"Failed to find equals sign in SCRAM argument '{entry}'")
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        found[key.strip()] = value
    return found


def _check(given: dict[str, str]) -> None:
    if unknown := [key for key in given if key not in KEYS]:
        raise ValueError(f"Unknown SCRAM configurations: {', '.join(unknown)}")
    if not given.get("name"):
        raise ValueError("You must supply 'name' to add-scram")
    if ("password" in given) == ("saltedpassword" in given):
        only = "only supply" if "password" in given else "supply"
        raise ValueError(f"You must {only} one of 'password' or 'saltedpassword' to add-scram")
    if "saltedpassword" in given and "salt" not in given:
        raise ValueError("You must supply 'salt' with 'saltedpassword' to add-scram")


def _iterations(text: str | None, mechanism: str) -> int:
    if text is None:
        return MIN_ITERATIONS
    if not text.isdecimal():
        raise ValueError(f"The 'iterations' value is no number: {text}")
    name = mechanism.replace("-", "_")
    if int(text) < MIN_ITERATIONS:
        raise ValueError(f"The 'iterations' value must be >= {MIN_ITERATIONS} for add-scram using {name}")
    if int(text) > MAX_ITERATIONS:
        raise ValueError(f"The 'iterations' value must be <= {MAX_ITERATIONS} for add-scram using {name}")
    return int(text)


def _decoded(text: str, key: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"The '{key}' value is no base64: {text}") from error
