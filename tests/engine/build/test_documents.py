"""Images that steps make: their config files, and when two steps are the same."""

from dataclasses import replace

from riverport.engine.build.config import Draft
from riverport.engine.build.documents import Step, child_document, continues, cut, encoded, step_key
from riverport.engine.images.manifests import parse_config
from riverport.engine.images.platform import Platform

AMD = Platform("linux", "amd64")
DRAFT = Draft({**Draft().config, "Env": ["A=1"], "Image": "sha256:parent"}, author="me")
STEP = Step(DRAFT, ("/bin/sh", "-c", "echo"))
LAYER = "sha256:" + "1" * 64
PARENT = child_document({}, STEP, LAYER, "2026-01-01T00:00:00Z", AMD, "28")


def test_a_step_with_a_layer_adds_it_and_one_without_says_so() -> None:
    assert PARENT["rootfs"] == {"type": "layers", "diff_ids": [LAYER]}
    child = child_document(
        PARENT, replace(STEP, command=("/bin/sh", "-c", "#(nop) ", "ENV a=b")), None, "later", AMD, "28"
    )
    assert child["rootfs"] == PARENT["rootfs"]
    assert child["history"] == [
        {"created": "2026-01-01T00:00:00Z", "created_by": "/bin/sh -c echo", "author": "me"},
        {"created": "later", "created_by": "/bin/sh -c #(nop)  ENV a=b", "author": "me", "empty_layer": True},
    ]
    assert child["config"]["Env"] == ["A=1"]
    assert child["container_config"]["Cmd"] == ["/bin/sh", "-c", "#(nop) ", "ENV a=b"]
    assert (child["architecture"], child["os"], child["author"]) == ("amd64", "linux", "me")


def test_the_platform_is_the_parents_and_on_scratch_the_wanted_one() -> None:
    arm = Platform("linux", "arm64", "v8")
    first = child_document({}, STEP, LAYER, "t", arm, "28")
    assert (first["architecture"], first["variant"]) == ("arm64", "v8")
    assert child_document(first, STEP, None, "t", AMD, "28")["architecture"] == "arm64"


def test_a_config_file_reads_as_one() -> None:
    config = parse_config(encoded(PARENT))
    assert config.diff_ids == [LAYER]
    assert config.platform == AMD


def test_steps_are_the_same_if_nothing_that_decides_differs() -> None:
    key = step_key("sha256:parent", STEP, AMD)
    assert key == step_key("sha256:parent", Step(DRAFT.with_config(Image="other"), STEP.command), AMD)
    others = [
        step_key("sha256:other", STEP, AMD),
        step_key("sha256:parent", replace(STEP, command=("/bin/sh", "-c", "other")), AMD),
        step_key("sha256:parent", replace(STEP, command=("/bin/sh -c", "echo")), AMD),
        step_key("sha256:parent", replace(STEP, identity=("mount",)), AMD),
        step_key("sha256:parent", replace(STEP, draft=DRAFT.with_config(User="1")), AMD),
        step_key("sha256:parent", STEP, Platform("linux", "arm64")),
    ]
    assert len({key, *others}) == len(others) + 1


def test_an_image_given_as_a_cache_continues_by_commands_and_layers() -> None:
    second = Step(DRAFT, ("/bin/sh", "-c", "two"))
    third = Step(DRAFT, ("/bin/sh", "-c", "three"))
    upper = "sha256:" + "2" * 64
    whole = child_document(child_document(PARENT, second, upper, "t2", AMD, "28"), third, None, "t3", AMD, "28")
    assert continues(whole, PARENT, second)
    assert not continues(whole, PARENT, third)
    assert not continues(PARENT, whole, third)
    assert not continues(whole, child_document({}, STEP, upper, "t", AMD, "28"), second)
    assert not continues(whole, {}, STEP)
    piece = cut(whole, PARENT, second)
    assert piece["rootfs"]["diff_ids"] == [LAYER, upper]
    assert [entry["created_by"] for entry in piece["history"]] == ["/bin/sh -c echo", "/bin/sh -c two"]
    assert piece["created"] == "t2"
    assert cut(whole, piece, third)["rootfs"]["diff_ids"] == [LAYER, upper]
