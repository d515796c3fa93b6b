"""Limits of users, client ids and addresses; the words of refusals are in the conversation (server/api)."""

from typing import Any

from images import cluster, replayed

from riverport.kafka.controller.client_quotas import ClientQuotas, describe
from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.wire import messages as m

RATE = "producer_byte_rate"
_Of = m.AlterClientQuotasRequest


def alter(image: MetadataImage, entity: dict[str, str | None], *ops: tuple[str, float | None]) -> list[Any]:
    """The records of an accepted change, replayed."""
    parts = [_Of.EntityData(kind, name) for kind, name in entity.items()]
    listed = [_Of.OpData(key, value or 0.0, value is None) for key, value in ops]
    outcome = ClientQuotas(image, lambda host: host == "known").alter(_Of([_Of.EntryData(parts, listed)]))
    assert [entry.error_code for entry in outcome.response.entries] == [0]
    replayed(outcome.records, image)
    return outcome.records


def found(image: MetadataImage, *components: tuple[str, int, str | None], strict: bool = False) -> list[Any]:
    of = m.DescribeClientQuotasRequest
    answer = describe(image, of([of.ComponentData(*component) for component in components], strict))
    assert answer.entries is not None
    return [({e.entity_type: e.entity_name for e in entry.entity}, [(v.key, v.value) for v in entry.values])
            for entry in answer.entries]  # fmt: skip


def test_a_quota_is_set_changed_and_removed() -> None:
    image = cluster(1)
    alter(image, {"user": "u"}, (RATE, 1000.0))
    assert found(image) == [({"user": "u"}, [(RATE, 1000.0)])]
    alter(image, {"user": "u"}, (RATE, 5.0), ("request_percentage", 12.5))
    assert found(image) == [({"user": "u"}, [(RATE, 5.0), ("request_percentage", 12.5)])]
    alter(image, {"user": "u"}, (RATE, None), ("request_percentage", None))
    assert (found(image), image.quotas) == ([], {})


def test_what_changes_nothing_writes_nothing() -> None:
    image = cluster(1)
    assert len(alter(image, {"user": "u"}, (RATE, 1000.0))) == 1
    assert alter(image, {"user": "u"}, (RATE, 1000.0)) == []
    assert alter(image, {"user": "other"}, (RATE, None)) == []


def test_the_order_of_an_entity_s_parts_does_not_matter() -> None:
    image = cluster(1)
    alter(image, {"user": "u", "client-id": "c"}, (RATE, 1000.0))
    alter(image, {"client-id": "c", "user": "u"}, (RATE, 7.0))
    assert found(image) == [({"client-id": "c", "user": "u"}, [(RATE, 7.0)])]


def test_filters_tell_named_default_and_any_apart() -> None:
    image = cluster(1)
    alter(image, {"user": "u"}, (RATE, 1.0))
    alter(image, {"user": None}, (RATE, 2.0))
    alter(image, {"user": "u", "client-id": "c"}, (RATE, 3.0))

    def rates(*components: tuple[str, int, str | None], strict: bool = False) -> list[float]:
        return sorted(values[0][1] for _, values in found(image, *components, strict=strict))

    assert rates(("user", 0, "u")) == [1.0, 3.0]
    assert rates(("user", 0, "u"), strict=True) == [1.0]
    assert rates(("user", 1, None)) == [2.0]
    assert rates(("user", 2, None)) == [1.0, 2.0, 3.0]
    assert rates(("user", 2, None), ("client-id", 0, "c")) == [3.0]
    assert rates(strict=True) == []


def test_a_host_s_name_is_as_good_as_its_address() -> None:
    image = cluster(1)
    for host in ("127.0.0.1", "::1", "known", None):
        alter(image, {"ip": host}, ("connection_creation_rate", 3.0))
    assert len(found(image)) == 4
