"""What must hold of the records of a run, from what its producers and consumers have said."""

from collections.abc import Iterable

from tests.system.workload import Consumer, Place, Producer


def check_delivery(producer: Producer, *consumers: Consumer) -> None:
    """Every acknowledged record is read, where the acknowledgement said, and lies nowhere else.

    A consumer that lost a commit reads a record again: that is one record still, in one place.
    """
    first: dict[int, int] = {}  # what lies before is another producer's
    for place in producer.acked.values():
        first[place.partition] = min(place.offset, first.get(place.partition, place.offset))
    read = (record for consumer in consumers for record in consumer.read)
    places = _places((p, value) for p, value in read if p.offset >= first.get(p.partition, 0))
    lost = [f"{value} at {place}" for value, place in producer.acked.items() if value not in places]
    assert not lost, f"{len(lost)} of {len(producer.acked)} acknowledged records are lost: {lost[:5]}"
    moved = [f"{v}: {place}, read at {places[v]}" for v, place in producer.acked.items() if place not in places[v]]
    assert not moved, f"{len(moved)} records are elsewhere than acknowledged: {moved[:5]}"
    doubled = [f"{value} at {found}" for value, found in places.items() if len(found) > 1]
    assert not doubled, f"{len(doubled)} records are there twice: {doubled[:5]}"
    _check_order(places)


def wait_and_check_delivery(producer: Producer, *consumers: Consumer) -> None:
    """Ends the producer, lets the consumers read to the end, ends them, and checks."""
    producer.stop()
    ends: dict[int, int] = {}
    for place in producer.acked.values():
        ends[place.partition] = max(ends.get(place.partition, -1), place.offset)

    def read_all() -> bool:
        read: dict[int, int] = {}
        for consumer in consumers:
            for partition, position in list(consumer.last_positions.items()):
                read[partition] = max(read.get(partition, 0), position)
        return all(read.get(partition, 0) > end for partition, end in ends.items())

    consumers[0].wait_until(read_all, f"everything to be read, up to {ends}")
    for consumer in consumers:
        if consumer.is_alive:
            consumer.stop()
    check_delivery(producer, *consumers)


def _places(records: Iterable[tuple[Place, str]]) -> dict[str, set[Place]]:
    """By value; no place may hold two."""
    places: dict[str, set[Place]] = {}
    values: dict[Place, str] = {}
    for place, value in records:
        assert values.setdefault(place, value) == value, f"{place} held {values[place]}, then {value}"
        places.setdefault(value, set()).add(place)
    return places


def _check_order(places: dict[str, set[Place]]) -> None:
    """In each partition the numbers lie in the order in which they were sent."""
    last: dict[int, tuple[int, str]] = {}
    for value in sorted(places, key=int):
        (place,) = places[value]
        offset, before = last.get(place.partition, (-1, ""))
        assert offset < place.offset, f"{value} lies before {before} in partition {place.partition}"
        last[place.partition] = place.offset, value
