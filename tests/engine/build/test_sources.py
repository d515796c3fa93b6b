"""Selections of COPY: digests as in Docker's history, links, patterns, exclusions."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from riverport.engine.build.dockerignore import NOTHING, Ignore
from riverport.engine.build.sources import (
    Selection,
    SourceNotFound,
    Tree,
    combined_digest,
    header_of,
    inline_digest,
    real_path,
)
from riverport.engine.linux.inroot import Root


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "f").write_text("hi\n")
    (tmp_path / "dir" / "l").symlink_to("f")
    (tmp_path / "dirlink").symlink_to("/dir")
    (tmp_path / "out").symlink_to("../../../../etc")
    (tmp_path / "top").write_text("x\n")
    (tmp_path / "a[b").write_text("y")
    with Root(tmp_path) as root:
        yield Tree(root)


def one(tree: Tree, source: str, exclude: Ignore = NOTHING) -> Selection:
    (selection,) = tree.select(source, exclude)
    return selection


def test_the_header_of_a_digest_is_the_classic_builders() -> None:
    """Recorded from dockerd: `COPY top /` of a file "top" with "x\\n", root's, 0644."""
    status = os.stat_result((0o100644, 0, 0, 1, 0, 0, 2, 0, 0, 0))
    header = header_of("top", status, "", None)
    assert hashlib.sha256(header + b"x\n").hexdigest() == (
        "dfd393303d3731c7452c8cef1e68f7b18da7f0d8f789c227c7ed12b2578580c6"
    )


def test_times_do_not_count_but_modes_and_names_do(tree: Tree, tmp_path: Path) -> None:
    before = one(tree, "top").digest
    os.utime(tmp_path / "top", (1, 1))
    with Root(tmp_path) as root:
        assert one(Tree(root), "top").digest == before
    (tmp_path / "top").chmod(0o600)
    with Root(tmp_path) as root:
        assert one(Tree(root), "top").digest != before
    (tmp_path / "top").rename(tmp_path / "pot")
    (tmp_path / "pot").chmod(0o644)
    with Root(tmp_path) as root:
        assert one(Tree(root), "pot").digest != before


def test_links_as_sources_lead_inside_the_tree(tree: Tree) -> None:
    assert one(tree, "/./dir/l").real == "dir/f"
    assert one(tree, "dirlink").real == "dir"
    assert one(tree, "dirlink").is_directory
    assert one(tree, "dirlink/sub/../f").real == "dir/f"
    with pytest.raises(SourceNotFound):
        tree.select("out/passwd", NOTHING)
    with pytest.raises(SourceNotFound, match="stat nope: file does not exist"):
        tree.select("nope", NOTHING)


def test_another_target_of_a_dangling_link_is_another_identity(tree: Tree, tmp_path: Path) -> None:
    """Docker's digest of such a link is its name only; its cache would keep the old link."""
    (tmp_path / "dir" / "gone").symlink_to("nowhere")
    before = one(tree, "dir")
    (tmp_path / "dir" / "gone").unlink()
    (tmp_path / "dir" / "gone").symlink_to("elsewhere")
    after = one(tree, "dir")
    assert before.digest == after.digest
    assert before.identity != after.identity


def test_patterns_match_whole_paths_in_order(tree: Tree) -> None:
    assert [selection.path for selection in tree.select("[!-n]*", NOTHING)] == ["a[b", "dir", "dirlink"]
    assert [selection.path for selection in tree.select("dir/[fl]", NOTHING)] == ["dir/f", "dir/l"]
    assert [selection.path for selection in tree.select("d*/f", NOTHING)] == ["dir/f"]
    assert tree.select("*.none", NOTHING) == []
    assert [selection.path for selection in tree.select(r"a\[?", NOTHING)] == ["a[b"]


def test_a_pattern_that_matches_a_link_to_nothing_is_an_error_as_in_docker(tree: Tree) -> None:
    with pytest.raises(SourceNotFound, match="stat out"):
        tree.select("*", NOTHING)


def test_the_whole_tree_is_its_content(tree: Tree) -> None:
    assert one(tree, ".").digest.startswith("dir:")
    assert one(tree, "/").digest == one(tree, ".").digest


def test_excluded_files_do_not_count(tree: Tree, tmp_path: Path) -> None:
    without = one(tree, "dir", Ignore(["f"])).identity
    (tmp_path / "dir" / "f").write_text("changed")
    with Root(tmp_path) as root:
        assert one(Tree(root), "dir", Ignore(["f"])).identity != one(Tree(root), "dir").identity
        assert one(Tree(root), "dir", Ignore(["f", "l"])).identity != without


def test_several_sources_have_one_digest() -> None:
    assert combined_digest(["file:a"]) == "file:a"
    assert combined_digest(["file:a", "dir:b"]).startswith("multi:")
    assert combined_digest(["file:a", "dir:b"]) != combined_digest(["dir:b", "file:a"])


def test_a_heredoc_is_identified_as_the_file_it_becomes(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(b"echo\n")
    status = os.stat_result((0o100644, 0, 0, 1, 0, 0, 5, 0, 0, 0))
    header = header_of("script", status, "", None)
    assert inline_digest("script", b"echo\n") == f"file:{hashlib.sha256(header + b'echo' + bytes([10])).hexdigest()}"


def test_a_ring_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with Root(tmp_path) as root, pytest.raises(OSError, match="too many links"):
        real_path(root, "a/x")


def test_what_does_not_exist_keeps_its_name(tree: Tree) -> None:
    assert real_path(tree.root, "dirlink/new/../other/x") == "dir/other/x"
    assert real_path(tree.root, "../../x") == "x"


def test_trees_that_are_too_deep_are_refused(tmp_path: Path) -> None:
    (tmp_path / ("d/" * 300)).mkdir(parents=True)
    with Root(tmp_path) as root, pytest.raises(OSError, match="nested more than"):
        Tree(root).select(".", NOTHING)
