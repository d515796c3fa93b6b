"""Garbage collection amid pushes: every order of steps keeps what clients were told of.

The model is a few clients that push images step by step, with deletions, collections of several processes and the
clock in between, in any order that Hypothesis finds. Rules that always hold: a stored manifest has its blobs; a file is
whole; whoever was told within the grace that a blob is there can name it in a manifest.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.engine.registry.served import image, index

from riverport.engine.registry.blobs import BlobFiles
from riverport.engine.registry.collector import GRACE_S, Collector
from riverport.engine.registry.digests import Digest, digest_of
from riverport.engine.registry.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown
from riverport.engine.registry.index import Index, Push
from riverport.engine.registry.manifests import parse_manifest
from riverport.engine.registry.names import RepositoryName, Tag, parse_name

NAMES = [parse_name("a"), parse_name("b/c")]
BLOBS = [b"zero", b"one"]
DIGESTS = [digest_of(blob) for blob in BLOBS]
NAME = st.sampled_from(NAMES)
BLOB = st.sampled_from(range(len(BLOBS)))


class Registry:
    """Index and files as one server has them."""

    def __init__(self, root: Path) -> None:
        self.files = BlobFiles(root)
        self.index = Index(root / "index.db")
        self.index._writer.execute("PRAGMA synchronous=OFF")  # no power fails here, and it is four times faster
        self.now = 1_000_000

    def add(self, name: RepositoryName, content: bytes) -> Digest:
        digest = digest_of(content)
        arrived = self.files.uploads / "arrived"
        arrived.write_bytes(content)
        self.index.add_blob(name, digest, len(content), partial(self.files.place, arrived, digest), self.now)
        return digest

    def put(self, name: RepositoryName, content: bytes, *tags: str) -> Digest:
        digest = digest_of(content)
        push = Push(digest, content, parse_manifest(content, None), [Tag(tag) for tag in tags])
        self.index.put_manifest(name, push, self.now)
        return digest

    def collector(self, grace_s: int = GRACE_S) -> Collector:
        return Collector(self.index, self.files, self.now, grace_s)


class Collecting(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = TemporaryDirectory()
        self.registry = Registry(Path(self.directory.name))
        self.told: dict[tuple[RepositoryName, Digest], int] = {}
        self.manifests: dict[tuple[RepositoryName, Digest], list[Digest]] = {}
        self.collections: list[Iterator[None]] = []
        self.untagged = False

    @rule(name=NAME, blob=BLOB)
    def a_blob_is_pushed(self, name: RepositoryName, blob: int) -> None:
        self.told[name, self.registry.add(name, BLOBS[blob])] = self.registry.now

    @rule(name=NAME, source=NAME, blob=BLOB)
    def a_blob_is_mounted(self, name: RepositoryName, source: RepositoryName, blob: int) -> None:
        if self.registry.index.mount(name, DIGESTS[blob], source, self.registry.now):
            self.told[name, DIGESTS[blob]] = self.registry.now

    @rule(name=NAME, blob=BLOB)
    def a_client_is_told_of_a_blob(self, name: RepositoryName, blob: int) -> None:
        if self.registry.index.touch(name, DIGESTS[blob], self.registry.now):
            self.told[name, DIGESTS[blob]] = self.registry.now

    @rule(name=NAME, blobs=st.sets(BLOB, min_size=1), tag=st.sampled_from(["", "x"]))
    def a_manifest_is_pushed(self, name: RepositoryName, blobs: set[int], tag: str) -> None:
        first, *rest = sorted(blobs)
        content = image(BLOBS[first], *(BLOBS[blob] for blob in rest))
        parts = [DIGESTS[blob] for blob in sorted(blobs)]
        since = self.registry.now - GRACE_S
        was_told = all(self.told.get((name, part), 0) >= since for part in parts)
        try:
            digest = self.registry.put(name, content, *([tag] if tag else []))
        except ManifestBlobUnknown:
            assert not was_told, "a client was told of these blobs, and they are gone"
            return
        self.manifests[name, digest] = parts

    @rule(name=NAME, blob=BLOB)
    def a_blob_is_deleted(self, name: RepositoryName, blob: int) -> None:
        digest = DIGESTS[blob]
        try:
            is_last = self.registry.index.unlink_blob(name, digest)
        except BlobUnknown:
            return
        self.told.pop((name, digest), None)
        self.manifests = {key: parts for key, parts in self.manifests.items() if key[0] != name or digest not in parts}
        if is_last:
            self.registry.index.sweep(digest, partial(self.registry.files.remove, digest))

    @precondition(lambda self: self.manifests)
    @rule(data=st.data())
    def a_manifest_is_deleted(self, data: st.DataObject) -> None:
        name, digest = data.draw(st.sampled_from(sorted(self.manifests)))
        self.registry.index.delete_manifest(name, digest)
        del self.manifests[name, digest]

    @rule(seconds=st.sampled_from([GRACE_S // 2, GRACE_S + 1]))
    def time_passes(self, seconds: int) -> None:
        self.registry.now += seconds

    @precondition(lambda self: len(self.collections) < 2)
    @rule(untagged=st.booleans(), steps=st.integers(0, 3))
    def a_collection_begins(self, untagged: bool, steps: int) -> None:
        self.collections.append(self.registry.collector().steps(untagged=untagged))
        self.untagged = self.untagged or untagged
        self.collect(self.collections[-1], steps)

    @precondition(lambda self: self.collections)
    @rule(data=st.data(), steps=st.integers(1, 3))
    def a_collection_goes_on(self, data: st.DataObject, steps: int) -> None:
        self.collect(data.draw(st.sampled_from(self.collections)), steps)

    def collect(self, running: Iterator[None], steps: int) -> None:
        for _ in range(steps):
            if next(running, running) is running:
                self.collections.remove(running)
                return

    @precondition(lambda self: self.collections)
    @rule()
    def the_collectors_are_killed(self) -> None:
        self.collections.clear()

    @invariant()
    def manifests_have_their_blobs(self) -> None:
        for (name, digest), parts in list(self.manifests.items()):
            try:
                self.registry.index.manifest(name, digest)
            except ManifestUnknown:
                assert self.untagged, "a manifest went although nobody collected untagged ones"
                del self.manifests[name, digest]
                continue
            for part in parts:
                self.registry.index.link(name, part)

    @invariant()
    def rows_have_whole_files(self) -> None:
        for name in NAMES:
            for digest, content in zip(DIGESTS, BLOBS):
                try:
                    self.registry.index.link(name, digest)
                except BlobUnknown:
                    continue
                assert self.registry.files.path(digest).read_bytes() == content

    def teardown(self) -> None:
        if not hasattr(self, "registry"):
            return
        # However the collections were interrupted, one that is not frees what is left over.
        self.registry.now += 10 * GRACE_S
        self.registry.collector().run()
        linked = {digest for name in NAMES for digest in DIGESTS if self.is_linked(name, digest)}
        assert set(self.registry.files.digests()) == linked
        named = {(name, part) for (name, _), parts in self.manifests.items() for part in parts}
        assert {(name, digest) for name in NAMES for digest in DIGESTS if self.is_linked(name, digest)} >= named
        self.registry.index.close()
        self.directory.cleanup()

    def is_linked(self, name: RepositoryName, digest: Digest) -> bool:
        try:
            self.registry.index.link(name, digest)
        except BlobUnknown:
            return False
        return True


Collecting.TestCase.settings = settings(max_examples=25, stateful_step_count=40)
test_collections_amid_pushes = pytest.mark.filterwarnings("ignore::ResourceWarning")(Collecting.TestCase)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_what_nothing_names_is_freed_after_the_grace(registry: Registry) -> None:
    named, loose = registry.add(NAMES[0], b"named"), registry.add(NAMES[0], b"loose blob")
    registry.put(NAMES[0], image(b"named"), "v1")
    assert registry.collector().run().blobs == 0
    registry.now += GRACE_S + 1
    found = registry.collector().run()
    assert (found.links, found.blobs, found.bytes) == (1, 1, len(b"loose blob"))
    assert list(registry.files.digests()) == [named]
    with pytest.raises(BlobUnknown):
        registry.index.link(NAMES[0], loose)


def test_a_blob_that_comes_back_before_its_file_is_swept_keeps_it(registry: Registry) -> None:
    digest = registry.add(NAMES[0], b"x")
    registry.now += GRACE_S + 1
    collector = registry.collector()
    assert collector.drop_links() == 1
    assert collector.drop_blobs() == [digest]
    registry.add(NAMES[1], b"x")
    collector.sweep(digest)
    assert registry.files.path(digest).read_bytes() == b"x"
    assert collector.collected.blobs == 0


def test_a_blob_of_which_a_client_was_told_is_as_good_as_new(registry: Registry) -> None:
    digest = registry.add(NAMES[0], b"x")
    registry.now += GRACE_S
    assert registry.index.touch(NAMES[0], digest, registry.now)
    registry.now += GRACE_S
    assert registry.collector().drop_links() == 0
    registry.now += 1
    assert registry.collector().drop_links() == 1
    assert not registry.index.touch(NAMES[0], digest, registry.now)


def test_a_blob_mounted_after_its_first_home_let_it_go_stays(registry: Registry) -> None:
    digest = registry.add(NAMES[0], b"x")
    registry.now += GRACE_S + 1
    assert registry.index.mount(NAMES[1], digest, NAMES[0], registry.now)
    registry.collector().run()
    assert registry.index.link(NAMES[1], digest).size == 1
    assert registry.files.path(digest).exists()


def test_a_file_that_lost_its_row_is_found(registry: Registry) -> None:
    digest = digest_of(b"stray")
    arrived = registry.files.uploads / "arrived"
    arrived.write_bytes(b"stray")
    registry.files.place(arrived, digest)
    assert registry.collector().run().bytes == 5
    assert not registry.files.path(digest).exists()


def test_repositories_with_nothing_in_them_go(registry: Registry) -> None:
    registry.add(NAMES[0], b"x")
    registry.now += GRACE_S + 1
    registry.collector().run()
    assert registry.index.repositories("", 10) == []


def test_untagged_manifests_go_only_if_asked(registry: Registry) -> None:
    registry.add(NAMES[0], b"x")
    digest = registry.put(NAMES[0], image(b"x"))
    registry.now += GRACE_S + 1
    assert registry.collector().run().manifests == 0
    assert registry.index.manifest(NAMES[0], digest)
    assert registry.collector().run(untagged=True).manifests == 1
    assert list(registry.files.digests()) == []


def test_a_tag_keeps_an_index_its_images_and_what_is_about_them(registry: Registry) -> None:
    for blob in (b"x", b"y", b"z"):
        registry.add(NAMES[0], blob)
    first, second, loose = image(b"x"), image(b"y"), image(b"z")
    kept = [registry.put(NAMES[0], manifest) for manifest in (first, second)]
    gone = registry.put(NAMES[0], loose)
    kept.append(registry.put(NAMES[0], index(first, second), "multi"))
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": kept[0], "size": len(first)}
    signature = json.loads(image(b"x")) | {"subject": subject}
    kept.append(registry.put(NAMES[0], json.dumps(signature).encode()))
    registry.now += GRACE_S + 1
    assert registry.collector().run(untagged=True).manifests == 1
    for digest in kept:
        assert registry.index.manifest(NAMES[0], digest)
    with pytest.raises(ManifestUnknown):
        registry.index.manifest(NAMES[0], gone)
