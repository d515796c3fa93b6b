"""DNS messages, byte by byte, and what the embedded server says to which question."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.networks import wire
from riverport.engine.networks.name_server import answer
from riverport.engine.networks.names import Asker, Directory, Entry

WEB = "w" * 64


def query(name: str, kind: int = wire.A, *, flags: int = 0x0100, edns: int = 0) -> bytes:
    head = struct.pack("!HHHHHH", 0x1234, flags, 1, 0, 0, 1 if edns else 0)
    body = head + wire.encode_name(name) + struct.pack("!HH", kind, wire.IN)
    return body + (b"\0" + struct.pack("!HHIH", wire.OPT, edns, 0, 0) if edns else b"")


def directory() -> Directory:
    made = Directory()
    v4, v6 = ipaddress.ip_address("172.18.0.2"), ipaddress.ip_address("fd00::2")
    made.add(WEB, "web", Entry("c1", ("db", "database"), (v4, v6)))
    made.add(WEB, "web", Entry("c2", ("cache", "database"), (ipaddress.ip_address("172.18.0.3"),)))
    return made


def asked(name: str, kind: int = wire.A) -> bytes | None:
    return answer(wire.read_question(query(name, kind)), directory(), Asker((WEB,), {}))


def records(reply: bytes) -> tuple[int, list[bytes]]:
    """(response code, data of each answer)."""
    _, flags, questions, answers, _, _ = struct.unpack_from("!HHHHHH", reply)
    assert flags & 0x8000
    assert questions == 1
    _, offset = wire._labels(reply, 12)
    offset += 4
    found = []
    for _ in range(answers):
        assert reply[offset : offset + 2] == b"\xc0\x0c"
        length = int.from_bytes(reply[offset + 10 : offset + 12], "big")
        found.append(reply[offset + 12 : offset + 12 + length])
        offset += 12 + length
    assert offset == len(reply)
    return flags & 0xF, found


def test_a_name_has_the_addresses_of_everyone_who_bears_it() -> None:
    reply = asked("database")
    assert reply is not None
    assert records(reply) == (0, [bytes([172, 18, 0, 2]), bytes([172, 18, 0, 3])])


def test_the_reply_repeats_id_question_and_wish_for_recursion() -> None:
    reply = asked("DB")
    assert reply is not None
    assert reply[:4] == bytes.fromhex("12348180")
    assert reply[12:20] == b"\x02DB\0\0\x01\0\x01"


def test_a_known_name_without_such_records_is_no_error() -> None:
    for kind in (wire.AAAA, 15, 65):
        reply = asked("cache", kind)
        assert reply is not None
        assert records(reply) == (0, [])


def test_ipv6_addresses_are_told() -> None:
    reply = asked("db", wire.AAAA)
    assert reply is not None
    assert records(reply) == (0, [ipaddress.ip_address("fd00::2").packed])


def test_a_name_narrowed_down_to_its_network_is_known() -> None:
    assert asked("db.web") is not None
    assert asked("db.other") is None
    assert asked("example.org") is None


def test_an_address_is_told_with_its_network() -> None:
    reply = asked("3.0.18.172.in-addr.arpa", wire.PTR)
    assert reply is not None
    assert records(reply) == (0, [b"\x05cache\x03web\0"])
    name = ipaddress.ip_address("fd00::2").reverse_pointer
    reply = asked(name, wire.PTR)
    assert reply is not None
    assert records(reply) == (0, [b"\x02db\x03web\0"])
    assert asked("9.9.9.9.in-addr.arpa", wire.PTR) is None


@pytest.mark.parametrize("name", ["in-addr.arpa", "1.2.3.in-addr.arpa", "1.2.3.999.in-addr.arpa", "x.ip6.arpa", "db"])
def test_what_is_no_address_has_no_reverse(name: str) -> None:
    assert wire.reverse_address(name) is None


def test_a_reply_that_does_not_fit_says_so() -> None:
    question = wire.read_question(query("database"))
    many = [ipaddress.ip_address(number) for number in range(1, 60)]
    cut = wire.truncated(question.reply(many), question.udp_bytes)
    assert len(cut) < 512
    _, flags, questions, answers, _, _ = struct.unpack_from("!HHHHHH", cut)
    assert (flags & 0x0200, questions, answers) == (0x0200, 1, 0)
    assert cut[12:] == question.question
    short = question.reply(many[:2])
    assert wire.truncated(short, question.udp_bytes) == short


def test_a_client_may_take_more_than_512_bytes() -> None:
    assert wire.read_question(query("db", edns=1232)).udp_bytes == 1232
    assert wire.read_question(query("db", edns=100)).udp_bytes == 512


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0" * 11,
        query("db")[:-1],
        query("db", flags=0x8100),  # an answer
        query("db", flags=0x2900),  # an update
        query("db")[:-2] + b"\0\x03",  # class CH
        query("db")[:12] + b"\xc0\x0c\0\x01\0\x01",  # a pointer into itself
    ],
)
def test_what_is_no_question_is_refused(message: bytes) -> None:
    with pytest.raises(wire.MalformedMessage):
        wire.read_question(message)


def test_names_that_are_too_long_are_refused() -> None:
    with pytest.raises(wire.MalformedMessage):
        wire.encode_name("a" * 64)
    with pytest.raises(wire.MalformedMessage):
        wire.encode_name(".".join(["a" * 60] * 5))


@given(st.binary(max_size=600))
def test_no_message_breaks_the_reader(message: bytes) -> None:
    try:
        question = wire.read_question(message)
    except wire.MalformedMessage:
        reply = wire.failure(message)
        assert reply[3] & 0xF == wire.SERVER_FAILURE
    else:
        assert question.question in message
        assert wire.failure(message)[:2] == message[:2]


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=30), min_size=1, max_size=6))
def test_a_name_is_read_as_it_was_written(labels: list[str]) -> None:
    assert wire.read_question(query(".".join(labels))).name == ".".join(labels)
