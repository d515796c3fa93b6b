"""`riverport kafka format`: each option does what Kafka's storage tool does with it, or is refused as there."""

import hashlib
import hmac
from pathlib import Path

import pytest
from tests.cli.kit import Cli

from riverport.cli.main import main
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.metadata_records import decode_record

CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
DIRECTORY_ID = "JEXY6aqzQY-32P5TStzaFg"
VOTERS = "controller.quorum.voters=1@127.0.0.1:19093\n"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The properties of a node whose voters are set there."""
    return properties(tmp_path, VOTERS)


def properties(directory: Path, more: str, roles: str = "broker,controller") -> Path:
    controller = ",CONTROLLER://127.0.0.1:19093" if "controller" in roles else ""
    file = directory / "server.properties"
    file.write_text(
        f"process.roles={roles}\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:19092{controller}\n"
        f"controller.listener.names=CONTROLLER\nlog.dirs={directory}/data\n{more}"
    )
    return file


@pytest.fixture
def dynamic_node(tmp_path: Path) -> Path:
    return properties(tmp_path, "controller.quorum.bootstrap.servers=127.0.0.1:19093\n")


def formatted(file: Path, *words: str) -> list[object]:
    """What the first start of the node finds: the records of its bootstrap checkpoint."""
    assert main(["kafka", "format", "-t", CLUSTER_ID, "-c", str(file), *words]) == 0
    told = Cli().ok("log", "dump", "--json", "--records", str(file.parent / "data" / "bootstrap.checkpoint"))
    assert '"kind":"damage"' not in told
    return bootstrap_records(file.parent / "data" / "bootstrap.checkpoint")


def bootstrap_records(path: Path) -> list[object]:
    from riverport.kafka.records.batch import iter_headers
    from riverport.kafka.records.record import iter_records

    raw = path.read_bytes()
    batches = [header for header in iter_headers(raw) if not header.is_control]
    return [decode_record(record.value or b"")[0] for header in batches for record in iter_records(raw, header)]


def levels(records: list[object]) -> dict[str, int]:
    return {found.name: found.feature_level for found in records if isinstance(found, m.FeatureLevelRecord)}


def refusal(capsys: pytest.CaptureFixture[str], file: Path, *words: str) -> str:
    capsys.readouterr()
    assert main(["kafka", "format", "-t", CLUSTER_ID, "-c", str(file), *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert not (file.parent / "data" / "meta.properties").exists()
    return err


def test_the_levels_are_those_of_the_release_and_what_was_asked_for(node: Path) -> None:
    found = levels(formatted(node, "-f", "group.version=0", "-f", "transaction.version=1"))
    assert found == {
        "metadata.version": 30,
        "eligible.leader.replicas.version": 1,
        "share.version": 1,
        "streams.version": 1,
        "transaction.version": 1,
    }


@pytest.mark.parametrize("words", [("-r", "3.8"), ("-r", "3.8-IV0"), ("-f", "metadata.version=20")])
def test_an_older_release(node: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert levels(formatted(node, *words)) == {"metadata.version": 20}
    assert capsys.readouterr().out.endswith("with metadata.version 3.8-IV0.\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-r", "9.9"), "Unknown metadata.version '9.9'. Supported metadata.version are: 3.3-IV3, "),
        (("-r", "4.5-IV0"), "metadata.version 4.5-IV0 is not yet stable."),
        (("-r", "3.9", "-f", "metadata.version=20"), "Use --release-version instead of --feature metadata.version=X"),
        (("-f", "metadata.version=999"), "No MetadataVersion with feature level 999."),
        (("-f", "group.version=9"), "Feature group.version has no level 9; it may be set to 0 to 1."),
        (("-f", "nope.version=1"), "Unsupported feature: nope.version. Supported features are: eligible.leader"),
        (("-f", "group.version"), "Can't parse feature=level string group.version: equals sign not found."),
        (("-f", "group.version=x"), "Can't parse feature=level string group.version=x: unable to parse x as a short."),
        (
            ("-r", "3.9", "-f", "eligible.leader.replicas.version=1"),
            "eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version level 23",
        ),
        (("-f", "kraft.version=1"), "Cannot set kraft.version to 1 unless controller.quorum.voters is empty"),
        (("--standalone",), "You cannot specify controller.quorum.voters and format the node with"),
        (("-I", f"1@127.0.0.1:19093:{DIRECTORY_ID}"), "You cannot specify controller.quorum.voters and format"),
        (("-S", "nonsense"), "Failed to find equals sign in SCRAM argument 'nonsense'"),
        (("-S", "SCRAM-SHA-1=[name=a,password=b]"), "The add-scram mechanism SCRAM-SHA-1 is not supported."),
        (("-S", "SCRAM-SHA-256=[password=b]"), "You must supply 'name' to add-scram"),
        (("-S", "SCRAM-SHA-256=[name=a]"), "You must supply one of 'password' or 'saltedpassword' to add-scram"),
        (("-S", "SCRAM-SHA-256=[name=a,password=b,saltedpassword=MTIz]"), "You must only supply one of"),
        (("-S", "SCRAM-SHA-256=[name=a,saltedpassword=MTIz]"), "You must supply 'salt' with 'saltedpassword'"),
        (("-S", "SCRAM-SHA-256=[name=a,password=b,hash=1]"), "Unknown SCRAM configurations: hash"),
        (
            ("-S", "SCRAM-SHA-512=[name=a,password=b,iterations=10]"),
            "must be >= 4096 for add-scram using SCRAM_SHA_512",
        ),
        (
            ("-r", "3.4", "-S", "SCRAM-SHA-256=[name=a,password=b]"),
            "SCRAM is only supported in metadata.version 3.5-IV2",
        ),
    ],
)
def test_what_is_refused(node: Path, words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert text in refusal(capsys, node, *words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "you must specify one of the following: --standalone, --initial-controllers, or --no-initial-controllers"),
        (("-s", "-f", "kraft.version=0"), "Cannot set kraft.version to 0 if controller.quorum.voters is empty and"),
        (("-I", ""), "No voters given."),
        (("-I", "1@127.0.0.1:19093"), "Invalid voter 1@127.0.0.1:19093: write id@host:port:directory-id"),
        (
            ("-I", f"1@a:1:{DIRECTORY_ID},1@b:2:{DIRECTORY_ID}"),
            "Node id 1 was specified more than once.",
        ),
    ],
)
def test_what_a_dynamic_quorum_refuses(
    dynamic_node: Path, words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text in refusal(capsys, dynamic_node, *words)


@pytest.mark.parametrize(
    ("words", "kind", "has_voters"),
    [
        (("--standalone",), "dynamic metadata voter directory", True),
        (("-I", f"1@127.0.0.1:19093:{DIRECTORY_ID}"), "dynamic metadata voter directory", True),
        (("-I", f"2@127.0.0.1:19093:{DIRECTORY_ID}"), "dynamic metadata directory", True),
        (("--no-initial-controllers",), "metadata directory", False),
    ],
)
def test_how_the_first_voters_are_given(
    dynamic_node: Path, words: tuple[str, ...], kind: str, has_voters: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    formatted(dynamic_node, *words)
    data = dynamic_node.parent / "data"
    assert f"Formatting {kind} {data} with metadata.version 4.3-IV0.\n" in capsys.readouterr().out
    first = data / "__cluster_metadata-0" / f"{0:020d}-{0:010d}.checkpoint"
    assert first.exists() == has_voters
    if words[0] == "-I" and words[1].startswith("1@"):
        assert f"directory.id={DIRECTORY_ID}" in (data / "meta.properties").read_text()


def test_only_a_controller_stands_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = properties(tmp_path, "controller.quorum.bootstrap.servers=127.0.0.1:19093\n", roles="broker")
    assert "You can only use --standalone on a controller." in refusal(capsys, file, "--standalone")
    formatted(file)


def test_directories_of_another_cluster_are_not_ignored(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    formatted(node)
    assert main(["kafka", "format", "-c", str(node), "-t", "abcdefghijklmnopqrstuQ", "-g"]) == 1
    assert f"Expected abcdefghijklmnopqrstuQ, but read {CLUSTER_ID}" in capsys.readouterr().err
    node.write_text(node.read_text().replace("node.id=1", "node.id=2").replace("1@", "2@"))
    assert main(["kafka", "format", "-c", str(node), "-t", CLUSTER_ID, "-g"]) == 1
    assert "Invalid node.id in:" in capsys.readouterr().err


def test_credentials_are_those_of_the_last_argument_for_a_user(node: Path) -> None:
    records = formatted(
        node,
        "-S",
        "SCRAM-SHA-256=[name=alice,password=old]",
        "-S",
        'SCRAM-SHA-256=[name=alice,iterations=8192,salt="c2FsdA==",password=secret]',
    )
    (found,) = [record for record in records if isinstance(record, m.UserScramCredentialRecord)]
    salted = hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 8192)
    assert (found.name, found.mechanism, bytes(found.salt), found.iterations) == ("alice", 1, b"salt", 8192)
    assert bytes(found.server_key) == hmac.digest(salted, b"Server Key", "sha256")
    assert bytes(found.stored_key) == hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
