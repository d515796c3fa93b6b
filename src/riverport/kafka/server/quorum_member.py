"""A node's place in the metadata quorum, from its configuration and its directory's identity."""

from typing import TYPE_CHECKING, NamedTuple

from riverport.kafka.controller import features
from riverport.kafka.raft.roles import Timing
from riverport.kafka.raft.voters import Address, Endpoint, ReplicaKey, VoterSet, static_voters
from riverport.kafka.server.endpoints import reachable

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker


class Member(NamedTuple):
    """This node's place in the quorum."""

    key: ReplicaKey
    cluster_id: str
    voters: VoterSet = VoterSet()  # of a static quorum
    bootstrap: tuple[Address, ...] = ()
    may_lead: bool = True  # it has the controller role: what it fetches goes to the disk before it is acknowledged
    timing: Timing = Timing()
    request_timeout_ms: int = 2000
    max_bytes: int = 1024 * 1024
    kraft_versions: tuple[int, int] = (0, 1)
    auto_join: bool = False


def member_of(node: "Broker") -> Member:
    """Of a node whose directories are known; where it listens comes later (`quorum_endpoints`)."""
    config = node.config
    voters = [(id_, Address(address.host, address.port)) for id_, address in config.voters.items()]
    listener = config.values.items_of("controller.listener.names")[0].upper()
    return Member(
        ReplicaKey(node.node_id, node.directories.id_of(config.metadata_log_dir)),
        node.cluster_id,
        static_voters(voters, listener),
        tuple(Address(address.host, address.port) for address in config.bootstrap_servers),
        may_lead=node.is_controller,
        timing=Timing(
            election_timeout_ms=config["controller.quorum.election.timeout.ms"],
            election_backoff_max_ms=config["controller.quorum.election.backoff.max.ms"],
            fetch_timeout_ms=config["controller.quorum.fetch.timeout.ms"],
            retry_backoff_ms=config["controller.quorum.retry.backoff.ms"],
        ),
        request_timeout_ms=config["controller.quorum.request.timeout.ms"],
        max_bytes=config["controller.quorum.fetch.max.bytes"],
        kraft_versions=features.SUPPORTED[features.KRAFT_VERSION],
        auto_join=node.is_controller and config["controller.quorum.auto.join.enable"],
    )


def quorum_endpoints(node: "Broker") -> tuple[Endpoint, ...]:
    """Where the other replicas of the metadata log reach this node, once its ports are bound."""
    if not node.is_controller:
        return ()
    listed = node.config.advertised_controller_listeners
    return tuple(Endpoint(e.listener, *reachable(e, node.ports)) for e in listed)
