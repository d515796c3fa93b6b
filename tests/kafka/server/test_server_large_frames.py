"""Requests larger than the receive buffer: each has a buffer that others have had before."""

from tests.kafka.server.wire import Wire, asked, batch, fetch, fetched, make_topic, produce, produced, values_of


def values_at(wire: Wire, topic: tuple[str, bytes], offset: int) -> list[bytes | None]:
    return values_of(fetched(wire.ask(fetch([(topic, [asked(0, offset)])]))).records)


def test_large_frames_one_after_another_are_each_their_own(address: tuple[str, int]) -> None:
    """Their buffers are used again: a smaller frame must not end in what is left of a larger one."""
    topic = make_topic(address)
    values = [bytes([n]) * size for n, size in enumerate((900_000, 200_000, 700_000, 70_000, 800_000))]
    with Wire(address) as one, Wire(address) as other:
        for at, value in enumerate(values):
            assert produced((one, other)[at % 2].ask(produce(topic, batch(value)))).error_code == 0
        found = [value for offset in range(5) for value in values_at(one, topic, offset)]
    assert [value for value in values if value not in found] == []
