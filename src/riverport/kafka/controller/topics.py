"""CreateTopics, DeleteTopics, CreatePartitions: what they are refused for, and the records they write."""

import re
from collections.abc import Iterable
from typing import Any

from riverport.base.ids import ZERO_UUID, IdSource
from riverport.base.rng import Rng
from riverport.kafka.controller.image import TOPIC_RESOURCE, MetadataImage
from riverport.kafka.controller.outcome import Charge, ConfigCheck, Outcome, free_of_charge
from riverport.kafka.controller.placement import Candidate, default_directory, place
from riverport.kafka.controller.registrations import TopicImage
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

MAX_NAME = 249
MAX_PARTITIONS_PER_REQUEST = 10_000
"""Apache Kafka refuses more new partitions than this in one request: their records are one batch."""
UNKNOWN_PARTITION = "This server does not host this topic-partition."
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")
_Result = m.CreateTopicsResponse.CreatableTopicResult


def name_problem(name: str) -> str | None:
    """Why a topic cannot have this name, None where it can."""
    if not name:
        return "Topic name is invalid: the empty string is not allowed"
    if name in (".", ".."):
        return f"Topic name is invalid: '{name}' is not allowed"
    if len(name) > MAX_NAME:
        return f"Topic name is invalid: the length of '{name}' is longer than the max allowed length {MAX_NAME}"
    if not _LEGAL.fullmatch(name):
        return (
            f"Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' "
            "and '-'"
        )
    return None


class Topics:
    """Decisions on topics; the image is only read."""

    def __init__(self, image: MetadataImage, ids: IdSource, rng: Rng, check_config: ConfigCheck) -> None:
        self._image = image
        self._ids = ids
        self._rng = rng
        self._check_config = check_config

    # --- create

    def create(
        self,
        request: m.CreateTopicsRequest,
        default_partitions: int,
        default_replicas: int,
        charge: Charge = free_of_charge,
    ) -> Outcome:
        names = [topic.name for topic in request.topics]
        twice = {name for name in names if names.count(name) > 1} if len(set(names)) != len(names) else set()
        wanted = sum(max(t.num_partitions, len(t.assignments), 1) for t in request.topics)
        response = m.CreateTopicsResponse()
        records: list[Any] = []
        existing = {self._collision_key(name): name for name in self._image.topics}
        for topic in request.topics:
            if topic.name in twice:
                if not any(result.name == topic.name for result in response.topics):
                    response.topics.append(_refused(topic.name, ErrorCode.INVALID_REQUEST, "Duplicate topic name."))
                continue
            try:
                if wanted > MAX_PARTITIONS_PER_REQUEST:
                    raise ApiError(ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
                result, new = self._create_one(topic, existing, default_partitions, default_replicas)
                charge(result.num_partitions)
            except ApiError as error:
                response.topics.append(_refused(topic.name, error.code, error.message))
                continue
            response.topics.append(result)
            records += new
        return Outcome(response, [] if request.validate_only else records)

    @staticmethod
    def _collision_key(name: str) -> str:
        """Metric names turn both characters into one, so `a.b` and `a_b` would share their metrics."""
        return name.replace(".", "_")

    def _create_one(
        self, topic: Any, existing: dict[str, str], default_partitions: int, default_replicas: int
    ) -> tuple[_Result, list[Any]]:
        problem = name_problem(topic.name)
        if problem is not None:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
        if topic.name in self._image.topics:
            raise ApiError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{topic.name}' already exists.")
        other = existing.get(self._collision_key(topic.name))
        if other is not None:
            raise ApiError(
                ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{topic.name}' collides with existing topic: {other}"
            )
        configs = {config.name: config.value for config in topic.configs}
        if any(value is None for value in configs.values()):
            name = next(name for name, value in configs.items() if value is None)
            raise ApiError(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {name}")
        wrong = self._check_config(TOPIC_RESOURCE, topic.name, configs)
        if wrong is not None:
            raise ApiError(ErrorCode.INVALID_CONFIG, wrong)
        placed = self._replicas_of(topic, default_partitions, default_replicas)
        topic_id = self._ids.uuid()
        while topic_id in self._image.topic_names:
            topic_id = self._ids.uuid()
        records: list[Any] = [m.TopicRecord(topic.name, topic_id)]
        # Configurations go before partitions, so that a log is opened with its own.
        records += [m.ConfigRecord(TOPIC_RESOURCE, topic.name, key, value) for key, value in configs.items()]
        records += [self.partition_record(index, topic_id, replicas) for index, replicas in enumerate(placed)]
        result = _Result(topic.name, topic_id, 0, None, 0, len(placed), len(placed[0]), [])
        return result, records

    def _replicas_of(self, topic: Any, default_partitions: int, default_replicas: int) -> list[list[int]]:
        if topic.assignments:
            return self._assigned(topic)
        if topic.replication_factor < -1 or topic.replication_factor == 0:
            raise ApiError(
                ErrorCode.INVALID_REPLICATION_FACTOR,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            )
        if topic.num_partitions < -1 or topic.num_partitions == 0:
            raise ApiError(
                ErrorCode.INVALID_PARTITIONS,
                "Number of partitions was set to an invalid non-positive value.",
            )
        partitions = default_partitions if topic.num_partitions == -1 else topic.num_partitions
        factor = default_replicas if topic.replication_factor == -1 else topic.replication_factor
        return self.place(partitions, factor)

    def place(self, partitions: int, factor: int) -> list[list[int]]:
        brokers = self._image.brokers
        candidates = [
            Candidate(node.id, node.rack, node.fenced)
            for node in (brokers[id_] for id_ in sorted(brokers))
            if node.takes_partitions and (node.fenced or not node.in_controlled_shutdown)
        ]
        try:
            return place(candidates, partitions, factor, self._rng)
        except ApiError as error:
            raise ApiError(
                error.code, f"Unable to replicate the partition {factor} time(s): {error.message}"
            ) from error

    def _assigned(self, topic: Any) -> list[list[int]]:
        if topic.replication_factor != -1:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            )
        if topic.num_partitions != -1:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            )
        by_index: dict[int, list[int]] = {}
        factor = None
        for assignment in topic.assignments:
            if assignment.partition_index in by_index:
                raise ApiError(
                    ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                    f"Found multiple manual partition assignments for partition {assignment.partition_index}",
                )
            factor = self.check_assignment(assignment.broker_ids, factor)
            by_index[assignment.partition_index] = list(assignment.broker_ids)
        if sorted(by_index) != list(range(len(by_index))):
            raise ApiError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                "partitions should be a consecutive 0-based integer sequence",
            )
        return [by_index[index] for index in range(len(by_index))]

    def check_assignment(self, replicas: list[int], factor: int | None) -> int:
        """Raises ApiError INVALID_REPLICA_ASSIGNMENT; returns the number of replicas."""
        code = ErrorCode.INVALID_REPLICA_ASSIGNMENT
        if not replicas:
            raise ApiError(code, "The manual partition assignment includes an empty replica list.")
        for id_ in sorted(replicas):
            if id_ not in self._image.brokers:
                raise ApiError(
                    code, f"The manual partition assignment includes broker {id_}, but no such broker is registered."
                )
        if len(set(replicas)) != len(replicas):
            double = next(id_ for id_ in sorted(replicas) if replicas.count(id_) > 1)
            raise ApiError(code, f"The manual partition assignment includes the broker {double} more than once.")
        if factor is not None and len(replicas) != factor:
            raise ApiError(
                code,
                f"The manual partition assignment includes a partition with {len(replicas)} replica(s), but this is "
                f"not consistent with previous partitions, which have {factor} replica(s).",
            )
        return len(replicas)

    def partition_record(self, index: int, topic_id: bytes, replicas: Iterable[int]) -> m.PartitionRecord:
        """A new partition: every live replica is in sync, the first of them leads."""
        brokers, all_ = self._image.brokers, list(replicas)
        isr = [id_ for id_ in all_ if not brokers[id_].fenced and not brokers[id_].in_controlled_shutdown]
        if not isr:
            raise ApiError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                "All brokers specified in the manual partition assignment are fenced or in controlled shutdown.",
            )
        return m.PartitionRecord(
            partition_id=index,
            topic_id=topic_id,
            replicas=all_,
            isr=isr,
            leader=isr[0],
            leader_epoch=0,
            partition_epoch=0,
            directories=[default_directory(brokers[id_]) for id_ in all_],
        )

    # --- delete

    def delete(self, request: m.DeleteTopicsRequest, charge: Charge = free_of_charge) -> Outcome:
        """Topics may be given by name, in one of two lists, or by id; each may be given once only."""
        result = m.DeleteTopicsResponse.DeletableTopicResult
        answers: list[Any] = []
        names, ids = list(request.topic_names), []
        for topic in request.topics:
            problem = None
            if topic.name is None and topic.topic_id == ZERO_UUID:
                problem = "Neither topic name nor id were specified."
            elif topic.name is not None and topic.topic_id != ZERO_UUID:
                problem = "You may not specify both topic name and topic id."
            elif topic.name is None:
                ids.append(topic.topic_id)
            else:
                names.append(topic.name)
            if problem is not None:
                answers.append(result(topic.name, topic.topic_id, ErrorCode.INVALID_REQUEST, problem))
        by_id: dict[bytes, TopicImage] = {}
        for topic_id in dict.fromkeys(ids):
            known = self._image.topic_by_id(topic_id)
            if ids.count(topic_id) > 1:
                answers.append(result(None, topic_id, ErrorCode.INVALID_REQUEST, "Duplicate topic id."))
            elif known is None:
                answers.append(
                    result(None, topic_id, ErrorCode.UNKNOWN_TOPIC_ID, "This server does not host this topic ID.")
                )
            else:
                by_id[topic_id] = known
        for name in dict.fromkeys(names):
            try:
                if names.count(name) > 1:
                    raise ApiError(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
                known = self._named(name)
            except ApiError as refused:
                answers.append(result(name, ZERO_UUID, refused.code, refused.message))
                continue
            if known.id in ids:
                by_id.pop(known.id, None)
                problem = "The provided topic name maps to an ID that was already supplied."
                answers.append(result(name, known.id, ErrorCode.INVALID_REQUEST, problem))
            else:
                by_id[known.id] = known
        records: list[Any] = []
        for known in by_id.values():
            try:
                charge(len(known.partitions))
            except ApiError as refused:
                answers.append(result(known.name, known.id, refused.code, refused.message))
                continue
            answers.append(result(known.name, known.id))
            records.append(m.RemoveTopicRecord(known.id))
        return Outcome(m.DeleteTopicsResponse(responses=answers), records)

    def _named(self, name: str) -> TopicImage:
        """Raises ApiError UNKNOWN_TOPIC_OR_PARTITION."""
        known = self._image.topics.get(name)
        if known is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_PARTITION)
        return known

    # --- grow

    def create_partitions(self, request: m.CreatePartitionsRequest, charge: Charge = free_of_charge) -> Outcome:
        response = m.CreatePartitionsResponse()
        records: list[Any] = []
        names = [topic.name for topic in request.topics]
        for name in dict.fromkeys(names):
            result = m.CreatePartitionsResponse.CreatePartitionsTopicResult(name)
            response.results.append(result)
            try:
                if names.count(name) > 1:
                    raise ApiError(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
                topic = next(topic for topic in request.topics if topic.name == name)
                more = self._grow(topic)
                charge(len(more))
                records += more
            except ApiError as error:
                result.error_code, result.error_message = int(error.code), error.message
        return Outcome(response, [] if request.validate_only else records)

    def _grow(self, wanted: Any) -> list[Any]:
        topic = self._image.topics.get(wanted.name)
        if topic is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        have = len(topic.partitions)
        if wanted.count == have:
            raise ApiError(ErrorCode.INVALID_PARTITIONS, f"Topic already has {have} partition(s).")
        if wanted.count < have:
            raise ApiError(
                ErrorCode.INVALID_PARTITIONS,
                f"The topic {wanted.name} currently has {have} partition(s); {wanted.count} would not be an increase.",
            )
        additional = wanted.count - have
        if additional > MAX_PARTITIONS_PER_REQUEST:
            # Apache Kafka trips over its own limit here and has no better word for it.
            raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR)
        factor = len(topic.partitions[0].replicas)
        if wanted.assignments is not None:
            if len(wanted.assignments) != additional:
                raise ApiError(
                    ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                    f"Attempted to add {additional} additional partition(s), but only {len(wanted.assignments)} "
                    "assignment(s) were specified.",
                )
            placed = [list(assignment.broker_ids) for assignment in wanted.assignments]
            for replicas in placed:
                self.check_assignment(replicas, factor)
        else:
            placed = self.place(additional, factor)
        return [self.partition_record(have + at, topic.id, replicas) for at, replicas in enumerate(placed)]


def _refused(name: str, code: ErrorCode, message: str | None) -> _Result:
    return _Result(name, bytes(16), code, message, 0, -1, -1, [])
