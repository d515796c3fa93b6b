"""What a broker tells of where its replicas lie: batched, one request at a time, again after failures."""

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.registrations import PartitionRegistration, TopicImage
from riverport.kafka.replica.assignments import GATHER_MS, MAX_PER_REQUEST, Assignments
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ErrorCode

TOPIC = bytes(range(16))
ONE, TWO, NONE = b"1" * 16, b"2" * 16, bytes(15) + b"\x01"
EPOCH = 42


def image(partitions: int, directory: bytes = NONE) -> MetadataImage:
    made = MetadataImage()
    registration = PartitionRegistration((7, 3), (7, 3), 7, 0, 0, (ONE, directory))
    made.topics["t"] = TopicImage("t", TOPIC, dict.fromkeys(range(partitions), registration))
    made.topic_names[TOPIC] = "t"
    return made


def told(request: m.AssignReplicasToDirsRequest | None) -> dict[bytes, list[int]]:
    assert request is not None
    assert (request.broker_id, request.broker_epoch) == (3, EPOCH)
    return {
        directory.id: [partition.partition_index for topic in directory.topics for partition in topic.partitions]
        for directory in request.directories
    }


def answer(
    request: m.AssignReplicasToDirsRequest | None, failed: tuple[int, ...] = ()
) -> m.AssignReplicasToDirsResponse:
    assert request is not None
    of = m.AssignReplicasToDirsResponse
    return of(
        directories=[
            of.DirectoryData(
                directory.id,
                [
                    of.TopicData(
                        topic.topic_id,
                        [
                            of.PartitionData(
                                p.partition_index, ErrorCode.UNKNOWN_SERVER_ERROR if p.partition_index in failed else 0
                            )
                            for p in topic.partitions
                        ],
                    )
                    for topic in directory.topics
                ],
            )
            for directory in request.directories
        ]
    )


def test_what_comes_together_is_told_together() -> None:
    assignments = Assignments(3)
    assert assignments.due_ms() is None
    for index, directory in ((0, ONE), (1, TWO), (2, ONE)):
        assignments.assign(TOPIC, index, directory, 100 + index)
    assert assignments.due_ms() == 100 + GATHER_MS
    request = assignments.request(EPOCH, image(3))
    assert told(request) == {ONE: [0, 2], TWO: [1]}
    assert assignments.due_ms() is None, "one at a time"
    assert assignments.answered(answer(request), 200) == 0
    assert len(assignments) == 0


def test_a_request_has_a_limit() -> None:
    assignments = Assignments(3)
    for index in range(MAX_PER_REQUEST + 1):
        assignments.assign(TOPIC, index, ONE, 0)
    first = assignments.request(EPOCH, image(MAX_PER_REQUEST + 1))
    assert len(told(first)[ONE]) == MAX_PER_REQUEST
    assignments.answered(answer(first), 10)
    assert assignments.due_ms() == 10
    assert told(assignments.request(EPOCH, image(MAX_PER_REQUEST + 1))) == {ONE: [MAX_PER_REQUEST]}


def test_what_does_not_matter_any_more_is_not_told() -> None:
    assignments = Assignments(3)
    assignments.assign(TOPIC, 0, ONE, 0)  # the metadata says so by now
    assignments.assign(TOPIC, 5, ONE, 0)  # there is no such partition
    assignments.assign(b"?" * 16, 0, ONE, 0)  # nor such a topic
    assert assignments.request(EPOCH, image(1, ONE)) is None
    assert len(assignments) == 0


def test_failures_are_told_again_later_each_time() -> None:
    assignments = Assignments(3)
    assignments.assign(TOPIC, 0, ONE, 0)
    for failures, wait_ms in enumerate((100, 200, 400), 1):
        now_ms = failures * 1000
        assert told(assignments.request(EPOCH, image(1))) == {ONE: [0]}
        refused = m.AssignReplicasToDirsResponse(error_code=ErrorCode.STALE_BROKER_EPOCH)
        assert assignments.answered(refused if failures == 2 else None, now_ms) == 1
        assert assignments.due_ms() == now_ms + wait_ms


def test_one_failed_partition_holds_back_no_other() -> None:
    assignments = Assignments(3)
    for index in range(3):
        assignments.assign(TOPIC, index, ONE, 0)
    assert assignments.answered(answer(assignments.request(EPOCH, image(3)), failed=(1,)), 50) == 1
    assert assignments.due_ms() == 150
    assert told(assignments.request(EPOCH, image(3))) == {ONE: [1]}


def test_a_replica_that_moves_while_it_is_told_is_told_again() -> None:
    assignments = Assignments(3)
    assignments.assign(TOPIC, 0, ONE, 0)
    first = assignments.request(EPOCH, image(1))
    assignments.assign(TOPIC, 0, ONE, 1)
    assignments.assign(TOPIC, 0, TWO, 2)
    assignments.answered(answer(first), 10)
    assert told(assignments.request(EPOCH, image(1, ONE))) == {TWO: [0]}
