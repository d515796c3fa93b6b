"""`quorum-state`: one JSON object, replaced atomically (data versions 0 and 1, KIP-595 and KIP-853)."""

import json
from dataclasses import dataclass

from riverport.base.files import Files, StorageError
from riverport.base.ids import ZERO_UUID, uuid_bytes, uuid_text

QUORUM_STATE = "quorum-state"


@dataclass(slots=True, frozen=True)
class QuorumState:
    """What a voter must not forget. `data_version` is 1 where voters are dynamic (kraft.version 1)."""

    leader_id: int = -1
    leader_epoch: int = 0
    voted_id: int = -1
    voted_directory: bytes = ZERO_UUID
    voters: tuple[int, ...] = ()  # data version 0 only
    data_version: int = 0

    def encode(self) -> bytes:
        if self.data_version == 0:
            fields = {
                "clusterId": "",
                "leaderId": self.leader_id,
                "leaderEpoch": self.leader_epoch,
                "votedId": self.voted_id,
                "appliedOffset": 0,
                "currentVoters": [{"voterId": id_} for id_ in self.voters],
                "data_version": 0,
            }
        else:
            fields = {
                "leaderId": self.leader_id,
                "leaderEpoch": self.leader_epoch,
                "votedId": self.voted_id,
                "votedDirectoryId": uuid_text(self.voted_directory),
                "data_version": 1,
            }
        return json.dumps(fields, separators=(",", ":")).encode()


def read_state(files: Files, dir: str) -> QuorumState | None:
    """The state that lies in the metadata log's directory, None where there is none. Raises StorageError."""
    path = f"{dir}/{QUORUM_STATE}"
    if not files.exists(path):
        return None
    try:
        found = json.loads(files.read(path))
        version = int(found["data_version"])
        directory = uuid_bytes(found["votedDirectoryId"]) if version >= 1 else ZERO_UUID
        voters = tuple(int(voter["voterId"]) for voter in found.get("currentVoters") or ())
        return QuorumState(
            int(found["leaderId"]), int(found["leaderEpoch"]), int(found["votedId"]), directory, voters, version
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError("parse", path, 0, f"no quorum state: {error!r}") from error


def write_state(files: Files, dir: str, state: QuorumState) -> None:
    """On the disk when this returns."""
    files.replace(f"{dir}/{QUORUM_STATE}", state.encode())
