"""What the leader of the metadata quorum tells of it: voters, observers, and how far each is (DescribeQuorum)."""

from typing import TYPE_CHECKING, Any

from riverport.kafka.raft.leader import Leading, Progress
from riverport.kafka.raft.requests import TOPIC
from riverport.kafka.server.quorum_member import quorum_endpoints
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

_Of = m.DescribeQuorumResponse
_UNKNOWN_PARTITION = "This server does not host this topic-partition."
_NOT_LEADER = (
    "For requests intended only for the leader, this error indicates that the broker is not the current leader. "
    "For requests intended for any replica, this error indicates that the broker is not a replica of the topic "
    "partition."
)


def describe_quorum(node: "Broker", request: m.DescribeQuorumRequest, version: int) -> m.DescribeQuorumResponse:
    leading = node.metadata.quorum.leading
    topics, is_told = [], False
    for topic in request.topics:
        answers = []
        for asked in topic.partitions:
            index = asked.partition_index
            if topic.topic_name != TOPIC or index != 0:
                answers.append(
                    _Of.PartitionData(index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, error_message=_UNKNOWN_PARTITION)
                )
            elif leading is None:
                answers.append(_Of.PartitionData(index, ErrorCode.NOT_LEADER_OR_FOLLOWER, error_message=_NOT_LEADER))
            else:
                is_told = True
                answers.append(_partition(node, leading))
        topics.append(_Of.TopicData(topic.topic_name, answers))
    return _Of(topics=topics, nodes=_nodes(node) if is_told and version >= 2 else [])


def _partition(node: "Broker", leading: Leading) -> Any:
    metadata, now_ms = node.metadata, node.clock.wall_ms()

    def told(progress: Progress) -> Any:
        if progress.key.id == node.node_id:
            return _Of.ReplicaState(node.node_id, progress.key.directory, metadata.next_offset, now_ms, now_ms)
        return _Of.ReplicaState(
            progress.key.id,
            progress.key.directory,
            progress.log_end,
            progress.last_fetch_ms,
            progress.last_caught_up_ms,
        )

    return _Of.PartitionData(
        0,
        leader_id=node.node_id,
        leader_epoch=metadata.epoch,
        high_watermark=metadata.quorum.told_high_watermark,
        current_voters=[told(leading.voters[id_]) for id_ in sorted(leading.voters)],
        observers=[told(leading.observers[key]) for key in sorted(leading.observers)],
    )


def _nodes(node: "Broker") -> list[Any]:
    """Where the voters listen."""
    found = []
    for voter in node.metadata.quorum.voters:
        endpoints = quorum_endpoints(node) if voter.key.id == node.node_id else voter.endpoints
        found.append(_Of.Node(voter.key.id, [_Of.Listener(*endpoint) for endpoint in endpoints]))
    return found
