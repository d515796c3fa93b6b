"""Who answers to a name."""

import ipaddress

from riverport.engine.networks.names import Asker, Directory, Entry, parse_links

A, B = "a" * 64, "b" * 64


def entry(container: str, *names: str, address: str) -> Entry:
    return Entry(container, names, (ipaddress.ip_address(address),))


def found(directory: Directory, asker: Asker, name: str) -> list[str] | None:
    addresses = directory.find(asker, name)
    return None if addresses is None else [str(address) for address in addresses]


def both() -> Directory:
    directory = Directory()
    directory.add(A, "front", entry("c1", "web", address="10.0.0.2"))
    directory.add(B, "back", entry("c1", "web", "app", address="10.1.0.2"))
    directory.add(B, "back", entry("c2", "db", address="10.1.0.3"))
    return directory


def test_a_name_is_looked_for_in_the_asker_s_networks_only() -> None:
    assert found(both(), Asker((A,), {}), "db") is None
    assert found(both(), Asker((B,), {}), "db") == ["10.1.0.3"]


def test_the_first_network_that_knows_a_name_answers() -> None:
    assert found(both(), Asker((A, B), {}), "web") == ["10.0.0.2"]
    assert found(both(), Asker((B, A), {}), "web") == ["10.1.0.2"]
    assert found(both(), Asker((A, B), {}), "web.back") == ["10.1.0.2"]


def test_case_and_the_last_dot_do_not_matter() -> None:
    assert found(both(), Asker((B,), {}), "DB.") == ["10.1.0.3"]


def test_who_leaves_is_forgotten_and_the_others_stay() -> None:
    directory = both()
    directory.add(B, "back", entry("c3", "db", address="10.1.0.4"))
    assert found(directory, Asker((B,), {}), "db") == ["10.1.0.3", "10.1.0.4"]
    directory.remove(B, "c2")
    assert found(directory, Asker((B,), {}), "db") == ["10.1.0.4"]
    directory.remove(B, "c3")
    directory.remove(B, "c3")
    assert found(directory, Asker((B,), {}), "db") is None
    assert directory.reverse(Asker((B,), {}), ipaddress.ip_address("10.1.0.3")) is None


def test_a_new_name_replaces_the_old_one() -> None:
    directory = both()
    directory.add(B, "back", entry("c2", "postgres", address="10.1.0.3"))
    assert found(directory, Asker((B,), {}), "db") is None
    assert found(directory, Asker((B,), {}), "postgres") == ["10.1.0.3"]


def test_links_are_the_asker_s_own() -> None:
    links = {B: parse_links(["db:Database", "gone:nobody"])}
    assert found(both(), Asker((B,), links), "database") == ["10.1.0.3"]
    assert found(both(), Asker((B,), {}), "database") is None
    assert found(both(), Asker((B,), links), "nobody") is None


def test_links_in_every_form() -> None:
    assert parse_links(["db", "c1:alias", "/c1:/web/inner"]) == {"db": "db", "alias": "c1", "inner": "c1"}
    assert parse_links(None) == {}
