"""A conversation about topics, partitions, elections, features, quotas, ... and what Apache Kafka 4.3.1 answered.

    python tests/kafka/server/api/conversation.py 127.0.0.1:9092 127.0.0.1:9192

has it with a running broker of one node, started afresh with `GIVEN` (its second address is the controller's), and
writes the answers to `answers-4.3.1.json` beside this file; a third argument writes them elsewhere, with the error
messages in full. `test_conversation.py` has the same conversation with ours.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from speaker import BROKER, CONTROLLER, NO_ID, STRANGE_ID, Speaker, Step, Talk

from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.wire import messages as m

ANSWERS = Path(__file__).with_name("answers-4.3.1.json")

GIVEN = {
    "num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}
"""Beside these the broker has two directories in `log.dirs`, and is node 1 with both roles."""


def creating(
    name: str, partitions: int = -1, replicas: int = -1, assigned: dict[int, list[int]] | None = None, **configs: str
) -> m.CreateTopicsRequest.CreatableTopic:
    made = m.CreateTopicsRequest
    return made.CreatableTopic(
        name,
        partitions,
        replicas,
        [made.CreatableReplicaAssignment(index, brokers) for index, brokers in (assigned or {}).items()],
        [made.CreatableTopicConfig(key.replace("_", "."), value) for key, value in configs.items()],
    )


def create(*topics: m.CreateTopicsRequest.CreatableTopic, validate_only: bool = False) -> m.CreateTopicsRequest:
    return m.CreateTopicsRequest(list(topics), 10_000, validate_only)


def topics_steps() -> Iterator[Step]:
    yield Step(create(creating("t", 3, 1), creating("compacted", 1, 1, cleanup_policy="compact"), creating("defaults")))
    yield Step(create(creating("t", 1, 1)))
    yield Step(create(creating("t.u", 1, 1), creating("t_u", 1, 1), creating("v.w", 1, 1)))
    yield Step(create(creating("v_w", 1, 1)))
    yield Step(create(creating("twice", 1, 1), creating("twice", 2, 1), creating("once", 1, 1)))
    for name in ("", ".", "..", "a b", "x" * 250, "ä"):
        yield Step(create(creating(name, 1, 1)))
    yield Step(create(creating("n", 0, 1)))
    yield Step(create(creating("n", -2, 1)))
    yield Step(create(creating("n", 1, 0)))
    yield Step(create(creating("n", 1, -2)))
    yield Step(create(creating("n", 1, 2)))
    yield Step(create(creating("n", 10_001, 1), validate_only=True))
    for assigned in (
        {0: [1], 1: [1]},
        {0: [2]},
        {0: [1, 1]},
        {0: []},
        {1: [1]},
        {0: [1], 2: [1]},
        {0: [1], 1: [1, 2]},
        {0: [-1]},
    ):
        yield Step(create(creating("assigned", -1, -1, assigned), validate_only=True))
    yield Step(create(creating("assigned", 2, -1, {0: [1], 1: [1]})))
    yield Step(create(creating("assigned", -1, 1, {0: [1], 1: [1]})))
    yield Step(create(creating("assigned", -1, -1, {0: [1], 1: [1]})))
    yield Step(create(creating("valid", 1, 1, retention_ms="5"), validate_only=True))
    yield Step(create(creating("valid", 1, 1, retention_ms="5")), 4)
    yield Step(create(creating("defaults-before-4")), 3)
    yield Step(create())


def more_partitions(name: str, count: int, assigned: list[list[int]] | None = None) -> Any:
    made = m.CreatePartitionsRequest
    return made.CreatePartitionsTopic(
        name, count, None if assigned is None else [made.CreatePartitionsAssignment(brokers) for brokers in assigned]
    )


def partitions_steps() -> Iterator[Step]:
    made = m.CreatePartitionsRequest
    for topic in (
        more_partitions("absent", 2),
        more_partitions("t", 3),
        more_partitions("t", 2),
        more_partitions("t", 0),
        more_partitions("t", -1),
        more_partitions("t", 4, []),
        more_partitions("t", 4, [[1], [1]]),
        more_partitions("t", 4, [[2]]),
        more_partitions("t", 4, [[1, 1]]),
        more_partitions("t", 4, [[1, 2]]),
        more_partitions("t", 4, [[]]),
        more_partitions("", 4),
    ):
        yield Step(made([topic], 10_000, False))
    yield Step(made([more_partitions("t", 20_000)], 10_000, True))
    yield Step(made([more_partitions("t", 5)], 10_000, True))
    yield Step(made([more_partitions("t", 5), more_partitions("t", 6), more_partitions("v.w", 2)], 10_000, False))
    yield Step(made([more_partitions("t", 4, [[1]])], 10_000, False))
    yield Step(made([], 10_000, False))


def metadata(*names: str | None, create: bool = False, **flags: bool) -> m.MetadataRequest:
    wanted = None if names == (None,) else [m.MetadataRequest.MetadataRequestTopic(NO_ID, name) for name in names]
    return m.MetadataRequest(wanted, create, **flags)


def describe_topics(*names: str, limit: int = 2000, cursor: tuple[str, int] | None = None) -> Any:
    made = m.DescribeTopicPartitionsRequest
    return made([made.TopicRequest(name) for name in names], limit, made.Cursor(*cursor) if cursor else None)


def metadata_steps() -> Iterator[Step]:
    wanted = m.MetadataRequest.MetadataRequestTopic
    yield Step(metadata(None, include_cluster_authorized_operations=True, include_topic_authorized_operations=True), 10)
    yield Step(metadata(None, include_topic_authorized_operations=True))
    yield Step(metadata("t", "absent", "a b", "__consumer_offsets", "", "t"))
    yield Step(metadata())
    yield Step(metadata(create=True), 1)
    yield Step(lambda talk: m.MetadataRequest([wanted(talk.ids["t"], None)]))
    yield Step(m.MetadataRequest([wanted(STRANGE_ID, None)]))
    yield Step(m.MetadataRequest([wanted(STRANGE_ID, "t")]))
    yield Step(m.MetadataRequest([wanted(NO_ID, None)]))
    yield Step(metadata("made-by-asking", create=True))
    yield Step(metadata("made by asking", create=True))
    yield Step(describe_topics("t", "absent", "a b", "v.w"))
    yield Step(describe_topics("t", "absent", "a b", "v.w", limit=3))
    yield Step(describe_topics("t", "v.w", limit=2, cursor=("t", 1)))
    yield Step(describe_topics("t", "v.w", limit=2, cursor=("t", 9)))
    yield Step(describe_topics("t", "v.w", limit=2, cursor=("u", 0)))
    yield Step(describe_topics("t", "v.w", limit=2, cursor=("v.w", 0)))
    yield Step(describe_topics("t", limit=2, cursor=("t", -1)))
    yield Step(describe_topics("t", limit=0))
    yield Step(describe_topics("t", limit=-5))
    yield Step(describe_topics())
    yield Step(describe_topics(limit=2, cursor=("t", 2)))


def producing(topic: str, index: int, *timestamps: int, **batch: Any) -> Callable[[Talk], m.ProduceRequest]:
    def make(talk: Talk) -> m.ProduceRequest:
        records = [NewRecord(b"k", b"v", timestamp=timestamp) for timestamp in timestamps]
        data = m.ProduceRequest.PartitionProduceData(index, bytes(build_batch(records, **batch)))
        return m.ProduceRequest(None, -1, 10_000, [m.ProduceRequest.TopicProduceData("", talk.ids[topic], [data])])

    return make


def delete_records(*wanted: tuple[str, int, int]) -> m.DeleteRecordsRequest:
    made = m.DeleteRecordsRequest
    return made([made.DeleteRecordsTopic(t, [made.DeleteRecordsPartition(i, o)]) for t, i, o in wanted], 10_000)


def list_offsets(topic: str, *timestamps: int, isolation: int = 0, epoch: int = -1, partition: int = 0) -> Any:
    made = m.ListOffsetsRequest
    partitions = [made.ListOffsetsPartition(partition, epoch, timestamp) for timestamp in timestamps]
    return made(-1, isolation, [made.ListOffsetsTopic(topic, partitions)], 5000)


def epoch_ends(topic: str, *wanted: tuple[int, int, int], replica: int = -1) -> m.OffsetForLeaderEpochRequest:
    made = m.OffsetForLeaderEpochRequest
    return made(replica, [made.OffsetForLeaderTopic(topic, [made.OffsetForLeaderPartition(*one) for one in wanted])])


def records_steps() -> Iterator[Step]:
    yield Step(producing("t", 0, 1000, 3000, 2000))
    yield Step(producing("t", 0, 2500, 3000))
    yield Step(producing("compacted", 0, 1000))
    for version in (11, 10, 8, 7, 6, 1):
        for timestamp in (-1, -2, -3, -4, -5, -6, -7, 0, 1000, 1500, 2600, 3001):
            yield Step(list_offsets("t", timestamp), version)
    yield Step(list_offsets("t", -1, isolation=1))
    yield Step(list_offsets("t", -1, isolation=2))
    yield Step(list_offsets("t", -1, -2, 5))
    yield Step(list_offsets("t", -1, epoch=77))
    yield Step(list_offsets("t", -1, epoch=0))
    yield Step(list_offsets("t", -1, -3, 5, partition=1))
    yield Step(list_offsets("t", -1, partition=9))
    yield Step(list_offsets("absent", -1))
    yield Step(list_offsets("", -1))
    yield Step(epoch_ends("t", (0, -1, 0), (0, 0, 0), (0, 5, 0), (0, -1, 5), (0, -1, -1), (9, -1, 0), (1, -1, 0)))
    yield Step(epoch_ends("absent", (0, -1, 0)))
    producers = m.DescribeProducersRequest
    yield Step(producers([producers.TopicRequest("t", [0, 9]), producers.TopicRequest("absent", [0])]))
    yield Step(producers([producers.TopicRequest("a b", [0])]))
    yield Step(producing("t", 1, 1000, producer_id=4711, producer_epoch=3, base_sequence=0))
    yield Step(producers([producers.TopicRequest("t", [1])]))
    yield Step(delete_records(("absent", 0, 0), ("t", 9, 0), ("a b", 0, 0)))
    yield Step(delete_records(("t", 0, 6)))
    yield Step(delete_records(("t", 0, -2)))
    yield Step(delete_records(("compacted", 0, 1)))
    yield Step(delete_records(("__consumer_offsets", 0, 0)))
    yield Step(delete_records(("t", 0, 2)))
    yield Step(delete_records(("t", 0, 1)))
    yield Step(list_offsets("t", -1, -2, -3, -4, 0))
    yield Step(delete_records(("t", 0, -1)))
    yield Step(list_offsets("t", -1))
    yield Step(list_offsets("t", -2))
    yield Step(list_offsets("t", 0))
    yield Step(delete_records())


def delete(*topics: tuple[str | None, str | bytes | None]) -> Callable[[Talk], m.DeleteTopicsRequest]:
    """Topics by (name, id), where an id given as a name is that topic's."""

    def make(talk: Talk) -> m.DeleteTopicsRequest:
        state = m.DeleteTopicsRequest.DeleteTopicState
        ids = [(name, talk.ids[id_] if isinstance(id_, str) else id_ or NO_ID) for name, id_ in topics]
        return m.DeleteTopicsRequest([state(name, id_) for name, id_ in ids], [], 10_000)

    return make


def delete_steps() -> Iterator[Step]:
    yield Step(delete(("absent", None), (None, STRANGE_ID), (None, None), ("t", "t")))
    yield Step(delete(("once", None), ("once", None)))
    yield Step(delete(("once", None), (None, "once")))
    yield Step(delete((None, "v.w")))
    yield Step(delete(("once", None)))
    yield Step(m.DeleteTopicsRequest([], ["valid", "absent", "valid"], 10_000), 5)
    yield Step(m.DeleteTopicsRequest([], ["assigned", "absent"], 10_000), 1)
    yield Step(m.DeleteTopicsRequest([], [], 10_000))
    yield Step(delete(("a b", None)))
    yield Step(metadata("once", "valid", "assigned", "v.w"))


def cluster_steps() -> Iterator[Step]:
    quorum = m.DescribeQuorumRequest

    def asked(*wanted: tuple[str, int]) -> m.DescribeQuorumRequest:
        return quorum([quorum.TopicData(name, [quorum.PartitionData(index)]) for name, index in wanted])

    for listener in (BROKER, CONTROLLER):
        for kind in (1, 2, 3):
            yield Step(m.DescribeClusterRequest(True, kind, True), 2, listener)
        yield Step(m.DescribeClusterRequest(False, 1, False), 0, listener)
        yield Step(asked(("__cluster_metadata", 0)), 2, listener)
        yield Step(asked(("__cluster_metadata", 0)), 0, listener)
        yield Step(asked(("t", 0)), 2, listener)
        yield Step(asked(("__cluster_metadata", 1)), 2, listener)
        yield Step(asked(), 2, listener)
        yield Step(m.UnregisterBrokerRequest(77), 0, listener)
        yield Step(m.UnregisterBrokerRequest(-1), 0, listener)
    for software in (("", ""), ("a b", "1"), ("a", "1-2"), ("-a", "1")):
        yield Step(m.ApiVersionsRequest(*software), 3)
    for resources in ([], [2], [4], [8], [16], [32], [2, 4], [99], [2, 99], [2, 2]):
        yield Step(m.ListConfigResourcesRequest(resources), 1)
    yield Step(m.ListConfigResourcesRequest([]), 0)


def elect(kind: int, *wanted: tuple[str, list[int]]) -> m.ElectLeadersRequest:
    made = m.ElectLeadersRequest
    return made(kind, [made.TopicPartitions(*one) for one in wanted] if wanted else None, 10_000)


def reassign(*wanted: tuple[str, int, list[int] | None], same_factor: bool = False) -> Any:
    made = m.AlterPartitionReassignmentsRequest
    topics = [made.ReassignableTopic(name, [made.ReassignablePartition(i, r)]) for name, i, r in wanted]
    return made(10_000, not same_factor, topics)


def reassigning(*wanted: tuple[str, list[int]] | None) -> m.ListPartitionReassignmentsRequest:
    made = m.ListPartitionReassignmentsRequest
    topics = [made.ListPartitionReassignmentsTopics(*one) for one in wanted if one is not None]
    return made(10_000, None if wanted == (None,) else topics)


def leaders_steps() -> Iterator[Step]:
    for kind in (0, 1, 2, -1):
        yield Step(elect(kind, ("t", [0, 9]), ("absent", [0])))
    yield Step(elect(0))
    yield Step(elect(1))
    yield Step(elect(0, ("t", [0])), 0)
    yield Step(reassign(("t", 0, [1]), ("t", 9, [1]), ("absent", 0, [1])))
    for replicas in ([2], [1, 2], [1, 1], [], [-1], None):
        yield Step(reassign(("t", 0, replicas)))
        yield Step(reassign(("t", 0, replicas), same_factor=True))
    yield Step(reassign(("t", 0, [1]), ("t", 0, [1])))
    yield Step(reassign(("absent", 0, None)), 0)
    yield Step(reassign())
    yield Step(reassigning(None))
    yield Step(reassigning(("t", [0, 9]), ("absent", [0])))
    yield Step(reassigning())


def update(*wanted: tuple[str, int, int], validate_only: bool = False) -> m.UpdateFeaturesRequest:
    made = m.UpdateFeaturesRequest
    updates = [made.FeatureUpdateKey(name, level, upgrade_type=kind) for name, level, kind in wanted]
    return made(10_000, updates, validate_only)


UPGRADE, SAFE, UNSAFE = 1, 2, 3


def features_steps() -> Iterator[Step]:
    for wanted in (
        ("metadata.version", 30, UPGRADE),
        ("metadata.version", 29, UPGRADE),
        ("metadata.version", 29, SAFE),
        ("metadata.version", 29, UNSAFE),
        ("metadata.version", 200, UPGRADE),
        ("metadata.version", 6, SAFE),
        ("metadata.version", 0, SAFE),
        ("metadata.version", -1, SAFE),
        ("metadata.version", 30, SAFE),
        ("metadata.version", 22, SAFE),
        ("metadata.version", 22, UNSAFE),
        ("group.version", 1, UPGRADE),
        ("group.version", 0, UPGRADE),
        ("group.version", 0, SAFE),
        ("group.version", 2, UPGRADE),
        ("group.version", 1, SAFE),
        ("group.version", 0, 0),
        ("group.version", 0, 9),
        ("transaction.version", 1, SAFE),
        ("transaction.version", 5, UPGRADE),
        ("kraft.version", 1, UPGRADE),
        ("kraft.version", 0, UPGRADE),
        ("kraft.version", 5, UPGRADE),
        ("no.such.feature", 1, UPGRADE),
        ("no.such.feature", 0, SAFE),
        ("", 1, UPGRADE),
        ("eligible.leader.replicas.version", 0, SAFE),
    ):
        yield Step(update(wanted, validate_only=True))
    yield Step(update(("group.version", 1, UPGRADE), ("share.version", 9, UPGRADE), validate_only=True))
    yield Step(update(("group.version", 1, UPGRADE), ("group.version", 0, SAFE), validate_only=True))
    yield Step(update())
    made = m.UpdateFeaturesRequest
    for allow in (False, True):
        yield Step(made(10_000, [made.FeatureUpdateKey("share.version", 0, allow_downgrade=allow)]), 0)
    yield Step(update(("share.version", 1, UPGRADE), ("streams.version", 0, SAFE)), 1)
    yield Step(update(("streams.version", 1, UPGRADE)), 2)


def entity(**names: str | None) -> list[Any]:
    kinds = {"user": "user", "client": "client-id", "ip": "ip", "odd": "odd"}
    return [m.AlterClientQuotasRequest.EntityData(kinds[kind], name) for kind, name in names.items()]


def quota(entity: list[Any], *ops: tuple[str, float | None], validate_only: bool = False) -> Any:
    made = m.AlterClientQuotasRequest
    listed = [made.OpData(key, 0.0 if value is None else value, value is None) for key, value in ops]
    return made([made.EntryData(entity, listed)], validate_only)


def quotas(*components: tuple[str, int, str | None], strict: bool = False) -> m.DescribeClientQuotasRequest:
    made = m.DescribeClientQuotasRequest
    return made([made.ComponentData(*component) for component in components], strict)


def quotas_steps() -> Iterator[Step]:
    rate = ("producer_byte_rate", 1000.0)
    yield Step(quota(entity(user="u"), rate, ("consumer_byte_rate", 2000.0)))
    yield Step(quota(entity(user="u", client="c"), ("request_percentage", 12.5)))
    yield Step(quota(entity(client="c"), ("controller_mutation_rate", 1.5)))
    yield Step(quota(entity(user=None), rate))
    yield Step(quota(entity(ip="127.0.0.1"), ("connection_creation_rate", 7.0)))
    yield Step(quota(entity(ip=None), ("connection_creation_rate", 8.0)))
    yield Step(quota(entity(user="v"), rate, validate_only=True))
    for who in (entity(user=""), entity(odd="x"), [], entity(user="u", ip="127.0.0.1"), entity(ip="no such host")):
        yield Step(quota(who, rate))
    yield Step(quota(entity(user="a") + entity(user="b"), rate))
    for op in (
        ("no_such_key", 1.0),
        ("connection_creation_rate", 1.0),
        ("producer_byte_rate", 0.0),
        ("producer_byte_rate", -1.0),
        ("producer_byte_rate", 1.5),
        ("producer_byte_rate", 1e30),
        ("request_percentage", 1e30),
        ("no_such_key", None),
        ("consumer_byte_rate", None),
        ("consumer_byte_rate", None),
    ):
        yield Step(quota(entity(user="u"), op))
    yield Step(quota(entity(ip="127.0.0.1"), rate))
    yield Step(quota(entity(ip="127.0.0.1"), ("connection_creation_rate", 1.5)))
    yield Step(quota(entity(ip="127.0.0.1"), ("connection_creation_rate", 3e9)))
    yield Step(quota(entity(user="u"), rate, rate))
    both = quota(entity(user="u"), rate)
    both.entries.append(quota(entity(user="u"), ("producer_byte_rate", 5.0)).entries[0])
    yield Step(both)
    yield Step(m.AlterClientQuotasRequest([], False))
    for components in (
        (),
        (("user", 0, "u"),),
        (("user", 1, None),),
        (("user", 2, None),),
        (("client-id", 0, "c"),),
        (("user", 0, "u"), ("client-id", 0, "c")),
        (("ip", 2, None),),
        (("user", 0, None),),
        (("user", 1, "u"),),
        (("user", 2, "u"),),
        (("user", 3, None),),
        (("", 2, None),),
        (("odd", 2, None),),
        (("user", 2, None), ("user", 2, None)),
        (("user", 2, None), ("ip", 2, None)),
    ):
        for strict in (False, True):
            yield Step(quotas(*components, strict=strict))


def credentials(*users: str) -> m.DescribeUserScramCredentialsRequest:
    made = m.DescribeUserScramCredentialsRequest
    return made([made.UserName(user) for user in users] if users else None)


def scram_steps() -> Iterator[Step]:
    made = m.AlterUserScramCredentialsRequest

    def add(name: str, mechanism: int = 1, iterations: int = 4096) -> Any:
        return made.ScramCredentialUpsertion(name, mechanism, iterations, b"salt", b"salted password")

    yield Step(credentials())
    yield Step(made([], [add("u"), add("v", 2, 8192)]))
    yield Step(made([], [add("u", 2)]))
    for wrong in (add(""), add("w", 0), add("w", 3), add("w", 1, 4095), add("w", 1, 16385), add("w", 2, 16384)):
        yield Step(made([], [wrong]))
    yield Step(made([], [add("x"), add("x", 2)]))
    yield Step(made([made.ScramCredentialDeletion("u", 1)], [add("u", 1)]))
    yield Step(made([made.ScramCredentialDeletion("u", 1), made.ScramCredentialDeletion("u", 2)], []))
    yield Step(made([made.ScramCredentialDeletion("absent", 1), made.ScramCredentialDeletion("v", 1)], []))
    yield Step(made([made.ScramCredentialDeletion("v", 9)], []))
    yield Step(made([made.ScramCredentialDeletion("v", 2)], [add("y")]))
    yield Step(made([], []))
    yield Step(credentials())
    yield Step(credentials("u", "absent", "y", "y"))


def security_steps() -> Iterator[Step]:
    acl, creation, removal = m.DescribeAclsRequest, m.CreateAclsRequest, m.DeleteAclsRequest
    for listener in (BROKER, CONTROLLER):
        yield Step(acl(2, "t", 3, None, None, 1, 1), None, listener)
        yield Step(creation([creation.AclCreation(2, "t", 3, "User:a", "*", 3, 3)] * 2), None, listener)
        yield Step(creation([]), None, listener)
        yield Step(removal([removal.DeleteAclsFilter(2, "t", 3, None, None, 1, 1)] * 2), None, listener)
        yield Step(m.CreateDelegationTokenRequest("", "", [], 1000), None, listener)
        yield Step(m.RenewDelegationTokenRequest(b"x", 1000), None, listener)
        yield Step(m.ExpireDelegationTokenRequest(b"x", 1000), None, listener)
        yield Step(m.DescribeDelegationTokenRequest([]), None, listener)
        yield Step(m.SaslHandshakeRequest("PLAIN"), None, listener)
        yield Step(m.SaslHandshakeRequest("PLAIN"), 0, listener)
        yield Step(m.SaslAuthenticateRequest(b"x"), None, listener)
    yield Step(m.CreateDelegationTokenRequest("User", "u", [], 1000))


def log_dirs_steps() -> Iterator[Step]:
    asked, moved = m.DescribeLogDirsRequest, m.AlterReplicaLogDirsRequest
    yield Step(asked([asked.DescribableLogDirTopic("t.u", [0])]))
    for version in (1, 2, 3, 4, 5):
        yield Step(asked([asked.DescribableLogDirTopic("compacted", [0, 9])]), version)
    yield Step(asked([]))
    yield Step(asked([asked.DescribableLogDirTopic("absent", [0])]))

    def move(path: Callable[[Talk], str], *wanted: tuple[str, int]) -> Callable[[Talk], Any]:
        topics = [moved.AlterReplicaLogDirTopic(name, [index]) for name, index in wanted]
        return lambda talk: moved([moved.AlterReplicaLogDir(path(talk), topics)])

    yield Step(move(lambda talk: talk.log_dirs[0], ("absent", 0), ("t", 9), ("a b", 0)))
    yield Step(move(lambda talk: "/no/such/dir", ("t", 0), ("absent", 0)))
    yield Step(move(lambda talk: "relative", ("t", 0)))
    yield Step(move(lambda talk: talk.log_dirs[1], ("moving", 0)))
    yield Step(moved([]))


STEPS: dict[str, Callable[[], Iterator[Step]]] = {
    "topics": topics_steps,
    "partitions": partitions_steps,
    "metadata": metadata_steps,
    "log dirs": log_dirs_steps,
    "records": records_steps,
    "delete": delete_steps,
    "cluster": cluster_steps,
    "leaders": leaders_steps,
    "features": features_steps,
    "quotas": quotas_steps,
    "scram": scram_steps,
    "security": security_steps,
}
"""The chapters of the conversation, in their order."""


def main() -> None:
    broker, controller = (tuple(address.split(":")) for address in sys.argv[1:3])
    addresses = {BROKER: (broker[0], int(broker[1])), CONTROLLER: (controller[0], int(controller[1]))}
    # The broker needs a moment to hear of what its controller wrote.
    speaker = Speaker(addresses, pause_seconds=0.15)
    chapters = speaker.answers(STEPS, digest=len(sys.argv) < 4)
    lines = [
        f"{json.dumps(chapter)}: [\n" + ",\n".join(json.dumps(answer, sort_keys=True) for answer in answers) + "\n]"
        for chapter, answers in chapters.items()
    ]
    target = ANSWERS if len(sys.argv) < 4 else Path(sys.argv[3])
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
