"""`riverport kafka format`: makes a node's directories, as Kafka's storage tool does."""

from riverport.base.files import Files
from riverport.base.ids import IdSource
from riverport.kafka.controller import features
from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.records.control import raft_control_batch
from riverport.kafka.server.identity import Identity, read_identity, write_identity
from riverport.kafka.server.settings import BrokerConfig
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import encode_record


class FormatError(Exception):
    """A directory that cannot be formatted as asked, in a sentence."""


def format_storage(
    files: Files,
    ids: IdSource,
    config: BrokerConfig,
    cluster_id: str,
    *,
    now_ms: int,
    release_version: str | None = None,
    feature_levels: dict[str, int] | None = None,
    ignore_formatted: bool = False,
) -> list[str]:
    """Format every directory of the node; returns a line for each. Raises FormatError."""
    level = features.DEFAULT_RELEASE
    if release_version is not None:
        found = features.level_of_release(release_version)
        if found is None:
            known = ", ".join(features.RELEASES[number] for number in sorted(features.RELEASES))
            raise FormatError(f"Unknown metadata.version {release_version}. Supported metadata.version are: {known}")
        level = found
    levels = features.default_levels(level)
    for name, wanted in (feature_levels or {}).items():
        if name not in features.SUPPORTED:
            raise FormatError(
                f"Unsupported feature: {name}. Supported features are: {', '.join(sorted(features.SUPPORTED))}"
            )
        levels[name] = wanted
        if wanted == 0:
            del levels[name]
    lines = []
    dirs = dict.fromkeys((*config.log_dirs, config.metadata_log_dir))
    formatted = [dir for dir in dirs if read_identity(files, dir) is not None]
    if formatted and not ignore_formatted:
        raise FormatError(
            f"Log directory {formatted[0]} is already formatted. Use --ignore-formatted to ignore this directory and "
            "format the others."
        )
    for dir in dirs:
        if dir in formatted:
            continue
        files.mkdir(dir)
        if dir == config.metadata_log_dir:
            files.replace(f"{dir}/bootstrap.checkpoint", _bootstrap(levels, now_ms))
        write_identity(files, dir, Identity(cluster_id, config.node_id, ids.uuid()))
        kind = "metadata directory" if dir == config.metadata_log_dir else "data directory"
        lines.append(f"Formatting {kind} {dir} with metadata.version {features.RELEASES[level]}.")
    return lines or ["All of the log directories are already formatted."]


def _bootstrap(levels: dict[str, int], now_ms: int) -> bytes:
    """A snapshot with the feature levels; offsets count from 0."""
    head = raft_control_batch([m.SnapshotHeaderRecord(0, now_ms)], timestamp=now_ms, leader_epoch=0)
    records = [
        NewRecord(None, encode_record(m.FeatureLevelRecord(name, level), 0), timestamp=now_ms)
        for name, level in levels.items()
    ]
    body = build_batch(records, base_offset=1, leader_epoch=0)
    foot = raft_control_batch(
        [m.SnapshotFooterRecord(0)], timestamp=now_ms, base_offset=1 + len(records), leader_epoch=0
    )
    return bytes(head + body + foot)
