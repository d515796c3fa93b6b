"""Where this broker's replicas lie, as far as the controller has not been told (KIP-858).

What is true is known here, what the controller believes stands in the metadata; the difference is told in requests, one
at a time, each with as many partitions as it may have. What fails is told again, later each time.
"""

from dataclasses import dataclass
from typing import Any

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.wire import messages as m

MAX_PER_REQUEST = 2_250
FIRST_BACKOFF_MS, LAST_BACKOFF_MS = 100, 10_000
GATHER_MS = 5
"""How long the first one waits for others: a topic's partitions are made one after the other."""

Key = tuple[bytes, int]  # topic id, index


@dataclass(slots=True)
class _Assignment:
    """A replica lies in `directory`. One that has been replaced meanwhile is not what an answer is about."""

    directory: bytes


class Assignments:
    """What is to be told, and the request that is under way. Times are milliseconds of a steady clock."""

    def __init__(self, broker_id: int) -> None:
        self._broker_id = broker_id
        self._ready: dict[Key, _Assignment] = {}
        self._sent: dict[Key, _Assignment] = {}
        self._failures = 0  # of requests as a whole, in a row
        self._due_ms = 0.0

    def __len__(self) -> int:
        return len(self._ready) + len(self._sent)

    def assign(self, topic_id: bytes, index: int, directory: bytes, now_ms: float) -> None:
        """The replica lies in `directory`, and the metadata says something else."""
        key = (topic_id, index)
        known = self._ready.get(key) or self._sent.get(key)
        if known is not None and known.directory == directory:
            return
        if not self._ready and not self._sent:
            self._due_ms = now_ms + GATHER_MS
        self._ready[key] = _Assignment(directory)

    def due_ms(self) -> float | None:
        """When to ask for the next request; None while there is nothing to tell, or one is under way."""
        return self._due_ms if self._ready and not self._sent else None

    def request(self, broker_epoch: int, image: MetadataImage) -> m.AssignReplicasToDirsRequest | None:
        """What to tell now; None where nothing of it matters any more."""
        assert not self._sent, "one request at a time"
        for key in list(self._ready)[:MAX_PER_REQUEST]:
            assignment = self._ready.pop(key)
            if self._is_open(key, assignment, image):
                self._sent[key] = assignment
        if not self._sent:
            return None
        directories: dict[bytes, dict[bytes, list[Any]]] = {}
        for (topic_id, index), assignment in self._sent.items():
            directories.setdefault(assignment.directory, {}).setdefault(topic_id, []).append(index)
        of = m.AssignReplicasToDirsRequest
        return of(
            self._broker_id,
            broker_epoch,
            [
                of.DirectoryData(
                    directory,
                    [
                        of.TopicData(topic_id, [of.PartitionData(index) for index in indexes])
                        for topic_id, indexes in topics.items()
                    ],
                )
                for directory, topics in directories.items()
            ],
        )

    def _is_open(self, key: Key, assignment: _Assignment, image: MetadataImage) -> bool:
        topic = image.topic_by_id(key[0])
        partition = None if topic is None else topic.partitions.get(key[1])
        if partition is None or self._broker_id not in partition.replicas:
            return False
        at = partition.replicas.index(self._broker_id)
        return at >= len(partition.directories) or partition.directories[at] != assignment.directory

    def answered(self, response: m.AssignReplicasToDirsResponse | None, now_ms: float) -> int:
        """Take an answer (None: there was none); returns how many replicas have to be told again."""
        sent, self._sent = self._sent, {}
        if response is None or response.error_code:
            self._failures += 1
        else:
            self._failures = 0
            for directory in response.directories:
                for topic in directory.topics:
                    for partition in topic.partitions:
                        if not partition.error_code:
                            sent.pop((topic.topic_id, partition.partition_index), None)
        for key, assignment in sent.items():
            self._ready.setdefault(key, assignment)
        failures = self._failures or (1 if sent else 0)
        self._due_ms = now_ms
        if failures:
            self._due_ms += min(FIRST_BACKOFF_MS << min(failures - 1, 16), LAST_BACKOFF_MS)
        return len(sent)
