"""Changes of the voters, as the leader allows them: one at a time, each committed before the next (KIP-853).

Two sets of voters that follow each other differ in one voter, so that any majority of the one has a voter in common
with any majority of the other. That is only so while the older of two changes is committed, and the leader can tell
only once something of its own epoch is.
"""

from riverport.base.ids import ZERO_UUID, uuid_text
from riverport.kafka.raft.quorum import Quorum
from riverport.kafka.raft.voters import ReplicaKey, Voter, VoterSet
from riverport.kafka.wire.errors import ApiError, ErrorCode

FEATURE = "kraft.version"


def ensure_changeable(quorum: Quorum, what: str) -> None:
    """Raises ApiError where the leader cannot do `what` ("adding voter") now."""
    leading = quorum.leading
    if leading is None:
        raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    if quorum.told_high_watermark < 0:
        raise _later("Request timed out waiting for leader to establish HWM and fence previous voter changes")
    version = quorum.history.kraft_version
    if version == 0:
        raise ApiError(
            ErrorCode.UNSUPPORTED_VERSION,
            f"Cluster doesn't support {what} because the {FEATURE} feature is {version}",
        )
    if quorum.history.offset >= quorum.high_watermark:
        raise _later(
            "Request timed out waiting for voters to commit the latest voter change at "
            f"{quorum.history.offset} with HWM {quorum.high_watermark}"
        )


def _later(why: str) -> ApiError:
    return ApiError(ErrorCode.REQUEST_TIMED_OUT, why)


def ensure_new(quorum: Quorum, key: ReplicaKey) -> None:
    """Raises ApiError where a replica cannot be added."""
    ensure_changeable(quorum, "adding voter")
    if quorum.voters.get(key.id) is not None:
        raise ApiError(
            ErrorCode.DUPLICATE_VOTER,
            f"The voter id for {_named(key)} is already part of the set of voters {_all_of(quorum.voters)}.",
        )


def with_new(quorum: Quorum, voter: Voter, wall_ms: int) -> VoterSet:
    """The voters and one more, which must be level with the log. Raises ApiError."""
    ensure_new(quorum, voter.key)
    _ensure_version(quorum, voter)
    assert quorum.leading is not None
    if not quorum.leading.is_caught_up(voter.key, wall_ms):
        raise _later(f"Aborted add voter operation for {_named(voter.key)} since it is lagging behind")
    return quorum.voters.with_voter(voter)


def _ensure_version(quorum: Quorum, voter: Voter) -> None:
    low, high = voter.kraft_versions
    level = quorum.history.kraft_version
    if not low <= level <= high:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            f"Aborted add voter operation for {_named(voter.key)} since the {FEATURE} range (min: {low}, max: {high}) "
            f"doesn't support the finalized version {level}",
        )


def without(quorum: Quorum, key: ReplicaKey) -> VoterSet:
    """The voters but one. Raises ApiError."""
    ensure_changeable(quorum, "removing voter")
    voter = quorum.voters.get(key.id)
    if voter is None or voter.key != key or len(quorum.voters) == 1:
        raise ApiError(
            ErrorCode.VOTER_NOT_FOUND,
            f"Cannot remove voter {_named(key)} from the set of voters {_all_of(quorum.voters)}",
        )
    return quorum.voters.without(key.id)


def with_newer(quorum: Quorum, voter: Voter) -> VoterSet:
    """The voters with what one of them says of itself. Raises ApiError."""
    ensure_changeable(quorum, "updating voter")
    _ensure_version(quorum, voter)
    known = quorum.voters.get(voter.key.id)
    if known is None or known.key != voter.key:
        raise ApiError(ErrorCode.VOTER_NOT_FOUND)
    return quorum.voters.with_voter(voter)


def upgraded(quorum: Quorum, kraft_versions: tuple[int, int]) -> VoterSet:
    """The voters of a static quorum as a dynamic one knows them: with their directories, as they last told.

    Raises ApiError INVALID_UPDATE_VERSION where one of them has not been heard of.
    """
    leading = quorum.leading
    assert leading is not None
    found = []
    for voter in quorum.voters:
        is_own = voter.key.id == quorum.own.id
        directory = quorum.own.directory if is_own else leading.voters[voter.key.id].directory
        if directory == ZERO_UUID:
            raise ApiError(
                ErrorCode.INVALID_UPDATE_VERSION,
                f"Invalid update version {kraft_versions[1]} for feature {FEATURE}. The directory id of voter "
                f"{voter.key.id} is not known.",
            )
        endpoints = quorum.endpoints if is_own and quorum.endpoints else voter.endpoints
        found.append(Voter(ReplicaKey(voter.key.id, directory), endpoints, kraft_versions))
    return VoterSet(found)


def _named(key: ReplicaKey) -> str:
    directory = "<undefined>" if key.directory == ZERO_UUID else uuid_text(key.directory)
    return f"ReplicaKey(id={key.id}, directoryId={directory})"


def _all_of(voters: VoterSet) -> str:
    return f"[{', '.join(_named(voter.key) for voter in voters)}]"
