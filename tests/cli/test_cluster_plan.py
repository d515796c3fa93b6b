"""The nodes of a cluster on one machine, as they are planned."""

from pathlib import Path

import pytest

from riverport.base import properties
from riverport.cli.cluster_plan import plan_cluster, write_plan
from riverport.cli.command import Problem
from riverport.cli.embedded import format_if_new
from riverport.kafka.server.settings import load


def test_brokers_have_ports_in_a_row(tmp_path: Path) -> None:
    plan = plan_cluster(str(tmp_path), 3, 9092, [], {})
    assert plan.bootstrap == "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094"
    assert [load(entries).node_id for entries in plan.nodes.values()] == [1, 2, 3]


def test_free_ports_are_different_ones(tmp_path: Path) -> None:
    plan = plan_cluster(str(tmp_path), 3, 0, [], {})
    configs = [load(entries) for entries in plan.nodes.values()]
    ports = [endpoint.port for config in configs for endpoint in config.listeners]
    assert len(set(ports)) == len(ports)


def test_every_node_knows_the_voters(tmp_path: Path) -> None:
    plan = plan_cluster(str(tmp_path), 4, 0, [], {})
    configs = {id_: load(entries) for id_, entries in plan.nodes.items()}
    voters = configs[1].voters
    assert set(voters) == {id_ for id_, config in configs.items() if config.is_controller}
    for config in configs.values():
        assert config.is_broker
        assert config.voters == voters


@pytest.mark.parametrize(("brokers", "replicas"), [(2, 2), (3, 3), (5, 3)])
def test_topics_have_three_replicas_where_brokers_suffice(tmp_path: Path, brokers: int, replicas: int) -> None:
    plan = plan_cluster(str(tmp_path), brokers, 0, [], {})
    config = load(plan.nodes[1])
    assert config["default.replication.factor"] == config["offsets.topic.replication.factor"] == replicas


def test_racks_are_given_in_turn_and_settings_to_all(tmp_path: Path) -> None:
    plan = plan_cluster(str(tmp_path), 3, 0, ["a", "b"], {"num.partitions": "7"})
    configs = [load(entries) for entries in plan.nodes.values()]
    assert [config.rack for config in configs] == ["a", "b", "a"]
    assert [config["num.partitions"] for config in configs] == [7, 7, 7]


def test_settings_lie_in_the_directory_for_who_wants_to_see_them(tmp_path: Path) -> None:
    plan = plan_cluster(str(tmp_path), 2, 0, [], {"broker.rack": "Zürich"})
    write_plan(str(tmp_path), plan)
    for id_, entries in plan.nodes.items():
        assert properties.load_bytes((tmp_path / f"node-{id_}.properties").read_bytes()) == entries


def begun(directory: Path, brokers: int) -> str:
    """A cluster that has been started before; its id."""
    plan = plan_cluster(str(directory), brokers, 0, [], {})
    write_plan(str(directory), plan)
    for entries in plan.nodes.values():
        format_if_new(entries, plan.cluster_id)
    return plan.cluster_id


def test_a_cluster_goes_on_with_more_brokers_and_the_same_voters(tmp_path: Path) -> None:
    cluster_id = begun(tmp_path, 2)
    before = load(plan_cluster(str(tmp_path), 2, 0, [], {}).nodes[1]).voters
    plan = plan_cluster(str(tmp_path), 5, 0, [], {})
    assert plan.cluster_id == cluster_id
    assert set(load(plan.nodes[5]).voters) == set(before)


def test_a_cluster_does_not_go_on_without_some_of_its_brokers(tmp_path: Path) -> None:
    begun(tmp_path, 3)
    with pytest.raises(Problem, match="holds a cluster of 3 brokers"):
        plan_cluster(str(tmp_path), 2, 0, [], {})


def test_a_single_brokers_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text("version=1\n")
    with pytest.raises(Problem, match="holds the data of a single broker"):
        plan_cluster(str(tmp_path), 3, 0, [], {})


def test_what_each_node_has_its_own_of_cannot_be_set_for_all(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"--override node\.id: with several brokers each has its own"):
        plan_cluster(str(tmp_path), 3, 0, [], {"node.id": "7"})
