"""Clusters for the tests of the controller: images made by replaying records, and random ones."""

from typing import Any

from hypothesis import strategies as st

from riverport.kafka.controller import features
from riverport.kafka.controller.alter_partition import IsrChanges
from riverport.kafka.controller.broker_states import BrokerStates
from riverport.kafka.controller.cluster import Cluster
from riverport.kafka.controller.directories import Directories
from riverport.kafka.controller.elections import Elections
from riverport.kafka.controller.failover import Failover
from riverport.kafka.controller.heartbeats import Heartbeats
from riverport.kafka.controller.image import MetadataDelta, MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.controller.policies import Policies
from riverport.kafka.wire import messages as m

DIRECTORY = bytes(range(16))


def directory_of(broker: int) -> bytes:
    """Each broker has its own directory; that of broker 1 is DIRECTORY."""
    return DIRECTORY[:-1] + bytes([14 + broker])


def replayed(records: list[Any], image: MetadataImage | None = None) -> MetadataImage:
    found = image or MetadataImage()
    for offset, record in enumerate(records):
        found.apply(record, MetadataDelta(), offset)
    return found


def broker_record(id_: int = 1, *, fenced: bool = False, **fields: Any) -> m.RegisterBrokerRecord:
    of = m.RegisterBrokerRecord
    known = [of.BrokerFeature(name, low, high) for name, (low, high) in features.SUPPORTED.items()]
    end_points = [of.BrokerEndpoint("PLAINTEXT", "localhost", 9092, 0)]
    made = {"incarnation_id": DIRECTORY, "broker_epoch": id_ * 10, "log_dirs": [directory_of(id_)], **fields}
    return of(broker_id=id_, end_points=end_points, features=known, fenced=fenced, **made)


def topic_records(name: str, *partitions: m.PartitionRecord) -> list[Any]:
    id_ = topic_id(name)
    for index, partition in enumerate(partitions):
        partition.topic_id, partition.partition_id = id_, index
    return [m.TopicRecord(name, id_), *partitions]


def topic_id(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def partition(*replicas: int, **fields: Any) -> m.PartitionRecord:
    made = {"isr": list(replicas), "leader": replicas[0], "leader_epoch": 0, "partition_epoch": 0, **fields}
    made.setdefault("directories", [directory_of(id_) for id_ in replicas])
    return m.PartitionRecord(replicas=list(replicas), **made)


def cluster(*brokers: int, level: int = features.DEFAULT_RELEASE, **levels: int) -> MetadataImage:
    """Live brokers, at a metadata.version; other features as `group_version=1`."""
    records: list[Any] = [m.FeatureLevelRecord(features.METADATA_VERSION, level)]
    records += [m.FeatureLevelRecord(name.replace("_", "."), value) for name, value in levels.items()]
    return replayed([*records, *(broker_record(id_) for id_ in brokers)])


class Decisions:
    """Every part of the controller that decides on brokers and partitions, over one image."""

    def __init__(self, image: MetadataImage, session_timeout_ms: int = 9_000, **static: Any) -> None:
        self.image = image
        self.now_ms = 0.0
        self.next_offset = 1_000
        settings = {"min.insync.replicas": 1, "unclean.leader.election.enable": False, **static}
        self.policies = Policies(image, 99, settings.__getitem__)
        self.failover = Failover(image, self.policies)
        self.heartbeats = Heartbeats(session_timeout_ms)
        self.cluster = Cluster(image, "c", self.failover)
        self.brokers = BrokerStates(image, self.cluster, self.policies, self.failover, self.heartbeats)
        self.isr_changes = IsrChanges(image, self.policies)
        self.directories = Directories(image, self.cluster, self.policies)
        self.elections = Elections(image, self.policies)
        self.heartbeats.begin((b.id for b in image.brokers.values() if not b.fenced), 0.0)

    def heartbeat(self, request: m.BrokerHeartbeatRequest) -> Outcome:
        return self.brokers.heartbeat(request, self.now_ms, self.next_offset)

    def write(self, outcome: Outcome) -> Any:
        """Replay what was decided, as the metadata log does; returns the answer."""
        self.replay(outcome.records)
        return outcome.response

    def replay(self, records: list[Any]) -> None:
        for record in records:
            self.image.apply(record, MetadataDelta(), self.next_offset)
            self.next_offset += 1

    def beat(self, id_: int, **wants: Any) -> Any:
        """A heartbeat of a broker that has read everything."""
        epoch = self.image.brokers[id_].epoch
        return self.write(self.heartbeat(m.BrokerHeartbeatRequest(id_, epoch, self.next_offset - 1, **wants)))

    def fence(self, id_: int) -> None:
        self.write(self.brokers.fence_incarnation(id_, self.image.brokers[id_].epoch))


_names = st.text("abcdefghij.-_", min_size=1, max_size=6)
_ids = st.integers(0, 3)
_uuids = st.binary(min_size=16, max_size=16)
_some_ids = st.lists(_ids, min_size=1, max_size=3, unique=True)
_nullable_names = st.none() | _names


@st.composite
def _partitions(draw: Any) -> m.PartitionRecord:
    replicas = draw(_some_ids)
    return m.PartitionRecord(
        replicas=replicas,
        isr=draw(_some_ids),
        leader=draw(st.integers(-1, 3)),
        leader_epoch=draw(st.integers(0, 99)),
        partition_epoch=draw(st.integers(0, 99)),
        leader_recovery_state=draw(st.integers(0, 1)),
        adding_replicas=draw(st.just([]) | _some_ids),
        removing_replicas=draw(st.just([]) | _some_ids),
        directories=[draw(_uuids) for _ in replicas],
        eligible_leader_replicas=draw(st.none() | _some_ids),
        last_known_elr=draw(st.none() | _some_ids),
    )


@st.composite
def _topics(draw: Any) -> list[Any]:
    return topic_records(draw(_names), *draw(st.lists(_partitions(), min_size=1, max_size=3)))


@st.composite
def _quotas(draw: Any) -> list[Any]:
    part = m.ClientQuotaRecord.EntityData
    kinds = draw(st.sampled_from([("user",), ("client-id",), ("client-id", "user"), ("ip",)]))
    named = [part(kind, draw(_nullable_names)) for kind in kinds]
    return [m.ClientQuotaRecord(named, draw(_names), draw(st.floats(0.5, 1e9)), draw(st.booleans()))]


def _one(records: Any) -> Any:
    return st.builds(lambda record: [record], records)


def _registration(id_: int, fenced: bool, shutdown: bool, rack: str | None, dirs: list[bytes]) -> Any:
    return broker_record(id_, fenced=fenced, in_controlled_shutdown=shutdown, rack=rack, log_dirs=dirs)


_config = st.builds(
    m.ConfigRecord, st.sampled_from([2, 4, 16, 32]), st.just("") | _names, _names, st.none() | st.text(max_size=5)
)
_scram = st.builds(
    m.UserScramCredentialRecord, _names, st.sampled_from([1, 2]), _uuids, _uuids, _uuids, st.integers(4096, 16384)
)
_acl = st.builds(
    m.AccessControlEntryRecord, _uuids, st.just(2), _names, st.just(3), _names, _names, st.just(3), st.just(3)
)
_times = st.integers(0, 2**40)
_token = st.builds(
    m.DelegationTokenRecord, _names, _names, st.lists(_names, max_size=2), _times, _times, _times, _names
)
_controller = st.builds(
    lambda id_, port: m.RegisterControllerRecord(
        id_, DIRECTORY, False, [m.RegisterControllerRecord.ControllerEndpoint("C", "h", port, 0)]
    ),
    _ids,
    st.integers(1, 65535),
)
_level = st.builds(m.FeatureLevelRecord, st.sampled_from(["group.version", "share.version"]), st.integers(0, 1))
_producer_ids = st.builds(m.ProducerIdsRecord, _ids, st.integers(0, 9), st.integers(0, 2**62))

histories = st.lists(
    st.one_of(
        st.builds(
            lambda *parts: [_registration(*parts)],
            _ids,
            st.booleans(),
            st.booleans(),
            _nullable_names,
            st.lists(_uuids, max_size=2),
        ),
        _topics(),
        _quotas(),
        _one(_config),
        _one(_scram),
        _one(_acl),
        _one(_token),
        _one(_controller),
        _one(_level),
        _one(_producer_ids),
    ),
    max_size=25,
).map(lambda parts: [record for part in parts for record in part])
"""Records in an order in which they could have been written, at the newest level."""
