"""`riverport kafka format`: makes a node's directories, as Kafka's storage tool does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from riverport.base.files import Files
from riverport.base.ids import IdSource, uuid_bytes
from riverport.kafka.controller import features
from riverport.kafka.controller.scram import SCRAM_SINCE
from riverport.kafka.raft.snapshots import READ_ONLY, SnapshotId, encode_snapshot
from riverport.kafka.server.identity import META_PROPERTIES, Identity, read_identity, write_identity
from riverport.kafka.server.settings import BrokerConfig
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import encode_record


class FormatError(Exception):
    """A directory that cannot be formatted as asked, in a sentence."""


@dataclass(frozen=True, slots=True)
class Quorum:
    """How the first voters are given (KIP-853); none of the three means `controller.quorum.voters`."""

    standalone: bool = False
    no_initial_controllers: bool = False
    initial_controllers: str | None = None  # id@host:port:directory-id, separated by commas

    @property
    def is_dynamic(self) -> bool:
        return self.standalone or self.no_initial_controllers or self.initial_controllers is not None


STATIC = Quorum()


def format_storage(
    files: Files,
    ids: IdSource,
    config: BrokerConfig,
    cluster_id: str,
    *,
    now_ms: int,
    release_version: str | None = None,
    feature_levels: dict[str, int] | None = None,
    scram: Sequence[str] = (),
    ignore_formatted: bool = False,
    quorum: Quorum = STATIC,
) -> list[str]:
    """Format every directory of the node; returns a line for each. Raises FormatError.

    `scram` are credentials as `--add-scram` takes them.
    """
    _check_quorum(config, quorum)
    levels = _levels(_release(config, release_version), dict(feature_levels or {}), release_version is not None)
    kraft_version = _kraft_version(levels.pop(features.KRAFT_VERSION, None), quorum.is_dynamic and not config.voters)
    bootstrap = _bootstrap(levels, _credentials(ids, scram, levels[features.METADATA_VERSION]), now_ms)
    release = features.RELEASES[levels[features.METADATA_VERSION]]
    lines = []
    dirs = dict.fromkeys((*config.log_dirs, config.metadata_log_dir))
    formatted = _formatted(files, config, cluster_id, dirs)
    if formatted and not ignore_formatted:
        raise FormatError(
            f"Log directory {formatted[0]} is already formatted. Use --ignore-formatted to ignore this directory and "
            "format the others."
        )
    for dir in dirs:
        if dir in formatted:
            continue
        files.mkdir(dir)
        directory_id, kind = ids.uuid(), "data directory"
        files.replace(f"{dir}/bootstrap.checkpoint", bootstrap)
        if dir == config.metadata_log_dir:
            kind = "metadata directory"
            voters = _initial_voters(config, quorum, directory_id)
            if voters is not None:
                own = next((voter for voter in voters.voters if voter.voter_id == config.node_id), None)
                directory_id = directory_id if own is None else own.voter_directory_id
                kind = "dynamic metadata " + ("directory" if own is None else "voter directory")
                _write_first_snapshot(files, dir, kraft_version, voters, now_ms)
        # The identity comes last: with it the directory counts as formatted.
        write_identity(files, dir, Identity(cluster_id, config.node_id, directory_id))
        lines.append(f"Formatting {kind} {dir} with metadata.version {release}.")
    return lines or ["All of the log directories are already formatted."]


def _check_quorum(config: BrokerConfig, quorum: Quorum) -> None:
    """Voters are given in one place."""
    if not config.voters:
        if config.is_controller and not quorum.is_dynamic:
            raise FormatError(
                "Because controller.quorum.voters is not set on this controller, you must specify one of the "
                "following: --standalone, --initial-controllers, or --no-initial-controllers."
            )
    elif quorum.standalone or quorum.initial_controllers is not None:
        raise FormatError(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers or "
            "--standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and specify "
            "controller.quorum.bootstrap.servers instead."
        )


def _formatted(files: Files, config: BrokerConfig, cluster_id: str, dirs: Iterable[str]) -> list[str]:
    """The directories that are formatted already. Raises FormatError for one that is somebody else's."""
    found = []
    for dir in dirs:
        identity = read_identity(files, dir)
        if identity is None:
            continue
        for key, expected, read in (
            ("cluster.id", cluster_id, identity.cluster_id),
            ("node.id", config.node_id, identity.node_id),
        ):
            if read != expected:
                raise FormatError(f"Invalid {key} in: {dir}/{META_PROPERTIES}. Expected {expected}, but read {read}")
        found.append(dir)
    return found


def _release(config: BrokerConfig, named: str | None) -> int:
    """The metadata.version of a release; without a name that of new clusters."""
    unstable = config.unstable_feature_versions
    if named is None:
        return features.DEFAULT_UNSTABLE_RELEASE if unstable else features.DEFAULT_RELEASE
    level = features.level_of_release(named)
    if level is None:
        newest = features.NEWEST_KNOWN if unstable else features.NEWEST_STABLE
        known = ", ".join(name for number, name in features.RELEASES.items() if number <= newest)
        raise FormatError(f"Unknown metadata.version '{named}'. Supported metadata.version are: {known}")
    if level > features.NEWEST_STABLE and not unstable:
        raise FormatError(f"metadata.version {features.RELEASES[level]} is not yet stable.")
    return level


def _credentials(ids: IdSource, arguments: Sequence[str], release: int) -> list[m.UserScramCredentialRecord]:
    """The records of `--add-scram`; of two for the same user and mechanism the last."""
    if not arguments:
        return []
    from riverport.kafka.server.scram_arguments import scram_record

    if release < SCRAM_SINCE:
        raise FormatError(f"SCRAM is only supported in metadata.version {features.RELEASES[SCRAM_SINCE]} or later.")
    try:
        records = [scram_record(argument, ids.uuid()) for argument in arguments]
    except ValueError as error:
        raise FormatError(str(error)) from error
    return list({(record.name, record.mechanism): record for record in records}.values())


def _levels(release: int, wanted: dict[str, int], release_given: bool) -> dict[str, int]:
    """The finalized levels of the new cluster: the release's own, and what was asked for."""
    if features.METADATA_VERSION in wanted:
        if release_given:
            raise FormatError("Use --release-version instead of --feature metadata.version=X to avoid ambiguity.")
        release = wanted.pop(features.METADATA_VERSION)
        if release not in features.RELEASES:
            raise FormatError(
                f"No MetadataVersion with feature level {release}. Valid feature levels are from "
                f"{min(features.RELEASES)} to {max(features.RELEASES)}."
            )
    levels = features.default_levels(release)
    for name, level in wanted.items():
        if name not in features.SUPPORTED:
            known = ", ".join(sorted(features.SUPPORTED.keys() - {features.METADATA_VERSION}))
            raise FormatError(f"Unsupported feature: {name}. Supported features are: {known}")
        low, high = features.SUPPORTED[name]
        if not (level == 0 or low <= level <= high):
            raise FormatError(f"Feature {name} has no level {level}; it may be set to {low} to {high}.")
        for other, least in features.DEPENDENCIES.get((name, level), {}).items():
            if levels.get(other, 0) < least:
                raise FormatError(f"{name} could not be set to {level} because it depends on {other} level {least}")
        levels[name] = level
    return {name: level for name, level in levels.items() if level or name == features.KRAFT_VERSION}


def _kraft_version(wanted: int | None, dynamic: bool) -> int:
    if wanted is None:
        return int(dynamic)
    if (wanted > 0) != dynamic:
        how = (
            "controller.quorum.voters is empty and one of the flags --standalone, --initial-controllers, or "
            "--no-initial-controllers is used. For dynamic controllers support, try"
        )
        if dynamic:
            raise FormatError(f"Cannot set kraft.version to 0 if {how} removing the --feature flag for kraft.version.")
        raise FormatError(
            f"Cannot set kraft.version to {wanted} unless {how} using one of --standalone, --initial-controllers, or "
            "--no-initial-controllers and removing controller.quorum.voters."
        )
    return wanted


def _initial_voters(config: BrokerConfig, quorum: Quorum, directory_id: bytes) -> m.VotersRecord | None:
    if quorum.standalone:
        if not config.is_controller:
            raise FormatError("You can only use --standalone on a controller.")
        endpoint = config.advertised_controller_listeners[0]
        port = endpoint.port
        host = endpoint.host or "localhost"
        entries = [(config.node_id, directory_id, host, port)]
    elif quorum.initial_controllers is not None:
        entries = _voters(quorum.initial_controllers)
    else:
        return None
    listener = config.values.items_of("controller.listener.names")[0].upper()
    return m.VotersRecord(
        0,
        [
            m.VotersRecord.Voter(
                id_,
                directory,
                [m.VotersRecord.Endpoint(listener, host, port)],
                m.VotersRecord.KRaftVersionFeature(*features.SUPPORTED[features.KRAFT_VERSION]),
            )
            for id_, directory, host, port in entries
        ],
    )


def _voters(text: str) -> list[tuple[int, bytes, str, int]]:
    entries = [_voter(entry.strip()) for entry in text.split(",") if entry.strip()]
    if not entries:
        raise FormatError("No voters given.")
    numbers = [id_ for id_, *_ in entries]
    if twice := [id_ for id_ in numbers if numbers.count(id_) > 1]:
        raise FormatError(f"Node id {twice[0]} was specified more than once.")
    return entries


def _voter(entry: str) -> tuple[int, bytes, str, int]:
    """`id@host:port:directory-id`."""
    try:
        id_, rest = entry.split("@", 1)
        address, directory = rest.rsplit(":", 1)
        host, port = address.rsplit(":", 1)
        return int(id_), uuid_bytes(directory), host.strip("[]"), int(port)
    except ValueError as error:
        raise FormatError(f"Invalid voter {entry}: write id@host:port:directory-id") from error


def _write_first_snapshot(files: Files, dir: str, kraft_version: int, voters: m.VotersRecord, now_ms: int) -> None:
    """The checkpoint that the first epoch of a dynamic quorum starts from: who votes, and nothing else."""
    log_dir = f"{dir}/__cluster_metadata-0"
    files.mkdir(log_dir)
    content = encode_snapshot(
        [], epoch=0, now_ms=now_ms, last_contained_timestamp=now_ms, kraft_version=kraft_version, voters=voters
    )
    files.replace(f"{log_dir}/{SnapshotId(0, 0).file_name}", b"".join(content), mode=READ_ONLY)


def _bootstrap(levels: dict[str, int], credentials: list[m.UserScramCredentialRecord], now_ms: int) -> bytes:
    """A snapshot with the feature levels and the first credentials; offsets count from 0."""
    records = [encode_record(m.FeatureLevelRecord(name, level), 0) for name, level in levels.items()]
    records += [encode_record(credential, 0) for credential in credentials]
    return b"".join(encode_snapshot(records, epoch=0, now_ms=now_ms, last_contained_timestamp=now_ms))
