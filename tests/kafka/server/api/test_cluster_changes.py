"""Changes of the cluster as a whole that outlive a restart: levels, credentials, quotas, registrations."""

from pathlib import Path
from typing import Any

import pytest

from riverport.kafka.controller import features
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server.broker import Broker as Node
from riverport.kafka.server.storage_format import format_storage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode
from riverport.testing import Broker, ConfigError

METADATA_LOG = "__cluster_metadata-0"
OFTEN = {"metadata.log.max.record.bytes.between.snapshots": 2_000, "metadata.max.retention.bytes": 5_000}


def send(broker: Broker, request: Any) -> Any:
    return broker.run(lambda node: node.channel.send(request))


def update(broker: Broker, **levels: int) -> Any:
    of = m.UpdateFeaturesRequest
    keys = [of.FeatureUpdateKey(name.replace("_", "."), level) for name, level in levels.items()]
    answer = send(broker, of(1000, keys, False))
    assert answer.error_code == 0, answer.error_message
    return answer


async def finalized(node: Node) -> dict[str, int]:
    return dict(node.finalized_features())


async def snapshots(node: Node) -> list[Any]:
    return list(node.metadata.snapshots)


def formatted_at(path: Path, release: str, **config: str) -> Broker:
    broker = Broker({**OFTEN, **config}, dir=path)
    host = broker._host
    format_storage(host._files, _Ids(), host._config, "AAAAAAAAAAAAAAAAAAAAAQ", now_ms=1, release_version=release)
    return broker


class _Ids:
    def uuid(self) -> bytes:
        return bytes(range(1, 17))


def test_a_cluster_of_an_old_release_goes_up_level_by_level_with_topics_on_the_way(tmp_path: Path) -> None:
    with formatted_at(tmp_path, "3.3") as broker:
        for level in (*range(8, features.DEFAULT_RELEASE + 1), 31, 33):
            update(broker, metadata_version=level)
            broker.create_topic(f"at-{level}")
            if level in (10, 17, 23):
                broker.restart(clean=level != 17)
            assert broker.run(finalized)["metadata.version"] == level
        broker.restart()

        async def topics(node: Node) -> tuple[int, dict[int, Any]]:
            return len(node.metadata.image.topics), dict(node.metadata.image.controllers)

        count, controllers = broker.run(topics)
        assert count == features.DEFAULT_RELEASE - 8 + 1 + 2
        assert list(controllers) == [1]
        assert broker.run(snapshots)


def test_a_controller_registers_itself_when_an_upgrade_brings_the_record_for_it(tmp_path: Path) -> None:
    async def controllers(node: Node) -> list[int]:
        return list(node.metadata.image.controllers)

    with formatted_at(tmp_path, "3.6") as broker:
        assert broker.run(controllers) == []
        update(broker, metadata_version=15)
        broker.create_topic("after")
        assert broker.run(controllers) == [1]


def test_a_broker_tells_its_directories_when_an_upgrade_brings_room_for_them(tmp_path: Path) -> None:
    async def told(node: Node) -> tuple[bool, bool]:
        await node.metadata.until(lambda image: bool(image.brokers[1].log_dirs))
        own = node.metadata.image.brokers[1]
        return own.fenced, own.log_dirs == (node.directories.id_of(node.config.log_dirs[0]),)

    with formatted_at(tmp_path, "3.6") as broker:
        update(broker, metadata_version=17)
        assert broker.run(told) == (False, True)


def test_a_quorum_becomes_dynamic_and_stays_so(tmp_path: Path) -> None:
    async def quorum(node: Node) -> Any:
        request = m.DescribeQuorumRequest.TopicData
        partition = m.DescribeQuorumRequest.PartitionData
        asked = m.DescribeQuorumRequest([request("__cluster_metadata", [partition(0)])])
        answer = await node.channel.send(asked)
        (voter,) = answer.topics[0].partitions[0].current_voters
        return voter.replica_directory_id, node.directories.id_of(node.config.metadata_log_dir)

    with Broker(OFTEN, dir=tmp_path) as broker:
        assert broker.run(quorum)[0] == bytes(16)
        update(broker, kraft_version=1)
        for turn, clean in enumerate((True, False, True)):
            assert broker.run(finalized)["kraft.version"] == 1
            shown, own = broker.run(quorum)
            assert shown == own
            broker.create_topic(f"t-{turn}")
            broker.restart(clean=clean)
        state = (tmp_path / METADATA_LOG / "quorum-state").read_text()
        assert '"data_version":1' in state


def test_an_unregistered_broker_is_a_stranger_until_it_is_started_again(tmp_path: Path) -> None:
    with Broker(dir=tmp_path) as broker:
        broker.create_topic("t")
        assert send(broker, m.UnregisterBrokerRequest(1)).error_code == 0

        async def view(node: Node) -> tuple[list[int], int]:
            return list(node.metadata.image.brokers), node.view.shown_controller()

        assert broker.run(view) == ([], -1)
        broker.restart()
        assert broker.run(view) == ([1], 1)
        assert [record.value for record in broker.records("t")] == []


def test_credentials_and_quotas_outlive_a_crash_and_a_snapshot(tmp_path: Path) -> None:
    with Broker(OFTEN, dir=tmp_path) as broker:
        scram = m.AlterUserScramCredentialsRequest
        credential = scram.ScramCredentialUpsertion("u", 1, 4096, b"salt", b"x" * 32)
        assert send(broker, scram([], [credential])).results[0].error_code == 0
        quotas = m.AlterClientQuotasRequest
        entry = quotas.EntryData([quotas.EntityData("user", None)], [quotas.OpData("producer_byte_rate", 5.0, False)])
        assert send(broker, quotas([entry], False)).entries[0].error_code == 0
        for n in range(30):
            broker.create_topic(f"t{n}")
        assert broker.run(snapshots)
        broker.restart(clean=False)
        (user,) = send(broker, m.DescribeUserScramCredentialsRequest(None)).results
        assert (user.user, [info.iterations for info in user.credential_infos]) == ("u", [4096])
        (entry,) = send(broker, m.DescribeClientQuotasRequest([], False)).entries
        assert [(value.key, value.value) for value in entry.values] == [("producer_byte_rate", 5.0)]


# --- starts that fail


def test_a_metadata_log_that_cannot_be_opened_is_what_the_start_fails_for(tmp_path: Path) -> None:
    with Broker(OFTEN, dir=tmp_path) as broker:
        for n in range(30):
            broker.create_topic(f"t{n}")
    path = max((tmp_path / METADATA_LOG).glob("*.checkpoint"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Exception, match="not whole"):
        Broker(OFTEN, dir=tmp_path).start()


@pytest.mark.parametrize("protocol", ["SSL", "SASL_PLAINTEXT", "SASL_SSL"])
def test_a_listener_that_nobody_could_be_let_in_at_is_refused(protocol: str) -> None:
    config = {
        "listeners": "PLAINTEXT://127.0.0.1:0,SECURE://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
        "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,SECURE:{protocol},CONTROLLER:PLAINTEXT",
    }
    with pytest.raises(ConfigError, match=f"SECURE has the security protocol {protocol}.*allowed here: PLAINTEXT"):
        Broker(config).start()


def test_an_authorizer_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"authorizer\.class\.name: there is no com\.example\.Strict here"):
        Broker({"authorizer.class.name": "com.example.Strict"}).start()


def test_a_broker_that_is_stopped_without_leaving_leads_again(tmp_path: Path) -> None:
    async def leader(node: Node) -> tuple[int, int]:
        partition = node.metadata.image.topics["t"].partitions[0]
        return partition.leader, partition.leader_epoch

    with Broker({"controlled.shutdown.enable": False}, dir=tmp_path) as broker:
        broker.create_topic("t")
        assert broker.run(leader) == (1, 0)
        broker.restart()
        # Its new incarnation ends the old one's leadership, and then begins its own.
        assert broker.run(leader) == (1, 2)


# --- cordoned directories


def cordon(broker: Broker, *dirs: Path) -> None:
    record = m.ConfigRecord(4, "1", "cordoned.log.dirs", ",".join(map(str, dirs)))
    broker.run(lambda node: node.metadata.submit(lambda: Outcome(None, [record])))

    async def told(node: Node) -> None:
        ids = tuple(node.directories.id_of(str(dir)) for dir in dirs)
        await node.metadata.until(lambda image: image.brokers[1].cordoned_log_dirs == ids)

    broker.run(told)


def creation(broker: Broker, name: str, partitions: int = 1) -> int:
    wanted = m.CreateTopicsRequest.CreatableTopic(name, partitions, 1)
    code: int = send(broker, m.CreateTopicsRequest([wanted])).topics[0].error_code
    return code


def test_new_partitions_keep_out_of_cordoned_directories(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    with Broker({"log.dirs": [first, second]}) as broker:
        cordon(broker, first)
        assert creation(broker, "t", 6) == 0
        assert len(list(second.glob("t-*"))) == 6
        cordon(broker, first, second)
        assert creation(broker, "u") == ErrorCode.INVALID_REPLICATION_FACTOR
        broker.restart()
        assert creation(broker, "u") == ErrorCode.INVALID_REPLICATION_FACTOR
        cordon(broker)
        assert creation(broker, "u", 6) == 0
        assert len(list(first.glob("u-*"))) == 6


def test_directories_that_the_file_cordons_count_from_the_level_that_knows_of_them(tmp_path: Path) -> None:
    config = {"cordoned.log.dirs": "*"}
    with formatted_at(tmp_path, "4.2", **config) as broker:
        assert creation(broker, "t") == 0
        update(broker, metadata_version=30)

        async def told(node: Node) -> None:
            await node.metadata.until(lambda image: not image.brokers[1].takes_partitions)

        broker.run(told)
        assert creation(broker, "u") == ErrorCode.INVALID_REPLICATION_FACTOR
