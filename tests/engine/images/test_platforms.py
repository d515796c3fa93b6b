"""Platforms as containerd's library compares and writes them, and as requests carry them."""

import pytest

from riverport.base.http.messages import Request as HttpRequest
from riverport.engine.api.platforms import decode, only_platform_of, platform_of, written_platform
from riverport.engine.api.routing import Request, Version
from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.images.manifests import Descriptor, Index
from riverport.engine.images.platform import Platform
from riverport.engine.images.processor import amd64_level, newest_here, runs_here

SYSTEM_PATTERN = r"^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.-]*)\\))?$"


def asked(query: str, version: Version) -> Request:
    return Request(HttpRequest("GET", f"/images/x/json?{query}", {}, b""), version)


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64/v1"),
        ("linux/amd64/v3", "linux/amd64/v2"),
        ("linux/amd64/v3", "linux/amd64"),
        ("linux/amd64", "linux/386"),
        ("linux/arm/v7", "linux/arm/v5"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm64", "linux/arm/v8"),
        ("linux/arm64/v8", "linux/arm/v6"),
        ("linux/arm64/v9", "linux/arm64/v8.5"),
        ("linux/arm64/v9.1", "linux/arm64/v9"),
        ("linux/arm64/v9", "linux/arm"),
        ("macos/arm64", "darwin/arm64"),
        ("linux/riscv64", "linux/riscv64"),
    ],
)
def test_a_platform_runs_what_is_for_its_predecessors(wanted: str, other: str) -> None:
    assert Platform.parse(wanted).runs(Platform.parse(other)) > 0


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        ("linux/amd64", "linux/amd64/v2"),
        ("linux/amd64", "linux/arm64"),
        ("linux/amd64", "windows/amd64"),
        ("linux/386", "linux/amd64"),
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/arm/v5", "linux/arm/v4"),
        ("linux/arm64", "linux/arm64/v8.1"),
        ("linux/arm64/v9", "linux/arm64/v8.6"),
        ("linux/arm64/v10", "linux/arm64/v10"),
    ],
)
def test_a_platform_does_not_run_what_is_for_others_or_its_successors(wanted: str, other: str) -> None:
    assert Platform.parse(wanted).runs(Platform.parse(other)) == 0


def test_of_several_the_nearest_is_the_best() -> None:
    wanted = Platform.parse("linux/amd64/v3")
    others = ["linux/386", "linux/amd64", "linux/amd64/v2", "linux/amd64/v3"]
    ranks = [wanted.runs(Platform.parse(other)) for other in others]
    assert ranks == sorted(set(ranks))


def test_a_config_without_a_variant_is_taken_for_any_of_its_architecture() -> None:
    """Only of images: an index says its variants."""
    vague = Platform.from_document({"os": "linux", "architecture": "arm"})
    wanted = Platform.parse("linux/arm/v6")
    assert wanted.runs(vague) == 0
    assert wanted.runs_image(vague)
    assert not wanted.runs_image(Platform.from_document({"os": "linux", "architecture": "arm", "variant": "v7"}))
    assert not wanted.runs_image(Platform.from_document({"os": "linux", "architecture": "arm64"}))


@pytest.mark.parametrize(
    ("text", "shown", "document"),
    [
        ("linux/amd64", "linux/amd64", {"architecture": "amd64", "os": "linux"}),
        ("Linux/X86_64", "linux/amd64", {"architecture": "amd64", "os": "linux"}),
        ("linux/arm64", "linux/arm64", {"architecture": "arm64", "os": "linux"}),
        ("linux/arm64/8", "linux/arm64/v8", {"architecture": "arm64", "os": "linux"}),
        ("linux/arm", "linux/arm", {"architecture": "arm", "os": "linux", "variant": "v7"}),
        ("linux/arm/v7", "linux/arm/v7", {"architecture": "arm", "os": "linux", "variant": "v7"}),
        ("armhf", "linux/arm", {"architecture": "arm", "os": "linux", "variant": "v7"}),
        ("i386", "linux/386", {"architecture": "386", "os": "linux"}),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64", {"architecture": "amd64", "os": "windows"}),
        ("linux/unheard_of", "linux/unheard_of", {"architecture": "unheard_of", "os": "linux"}),
    ],
)
def test_a_platform_as_text(text: str, shown: str, document: dict[str, str]) -> None:
    platform = Platform.parse(text)
    assert (platform.shown, platform.document()) == (shown, document)


def test_a_system_alone_is_that_of_this_machine() -> None:
    assert Platform.parse("linux") == Platform.here()
    assert Platform.parse("freebsd").architecture == Platform.here().architecture


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a/b/c/d", '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        ("linux/*", '"linux/*": wildcards not yet supported: invalid argument'),
        ("unheard", '"unheard": unknown operating system or architecture: invalid argument'),
        (
            "/amd64",
            '"" is an invalid OS component of "/amd64": OSAndVersion specifier component must match '
            f'"{SYSTEM_PATTERN}": invalid argument',
        ),
        (
            "linux/a b",
            '"a b" is an invalid component of "linux/a b": platform specifier component must match '
            '"^[A-Za-z0-9_.-]+$": invalid argument',
        ),
        (
            '{"os":"linux"}',
            f'"{{\\"os\\":\\"linux\\"}}" is an invalid OS component of "{{\\"os\\":\\"linux\\"}}": '
            f'OSAndVersion specifier component must match "{SYSTEM_PATTERN}": invalid argument',
        ),
    ],
)
def test_a_text_that_is_no_platform(text: str, says: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Platform.parse(text)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"os":"linux","architecture":"amd64"}', "linux/amd64"),
        ('{"OS":"Linux","Architecture":"x86_64","more":1}', "Linux/x86_64"),
        ('{"os":"linux","architecture":"arm64","variant":"v8"}', "linux/arm64/v8"),
        ('{"os":"windows","os.version":"10.0","os.features":[],"architecture":"amd64"}', "windows(10.0)/amd64"),
        ('{"os":"linux","architecture":"arm","variant":null}', "linux/arm"),
    ],
)
def test_a_platform_as_json_is_shown_as_it_came(text: str, shown: str) -> None:
    assert decode(text).shown == shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("linux/amd64", "failed to parse platform: invalid character 'l' looking for beginning of value"),
        ("\"'", "failed to parse platform: unexpected end of JSON input"),
        ("'", "failed to parse platform: invalid character '\\'' looking for beginning of value"),
        ("NaN", "failed to parse platform: invalid character 'N' looking for beginning of value"),
        ('{"os":', "failed to parse platform: unexpected end of JSON input"),
        ('{"os":"linux"', "failed to parse platform: unexpected end of JSON input"),
        ("{} x", "failed to parse platform: invalid character 'x' after top-level value"),
        ("{os:1}", "failed to parse platform: invalid character 'o' looking for beginning of object key string"),
        ('{"os" 1}', "failed to parse platform: invalid character '1' after object key"),
        ('{"os":"a" "b"}', "failed to parse platform: invalid character '\"' after object key:value pair"),
        ('{"os":"a",}', "failed to parse platform: invalid character '}' looking for beginning of object key string"),
        ("[]", "failed to parse platform: json: cannot unmarshal array into Go value of type v1.Platform"),
        ('"a"', "failed to parse platform: json: cannot unmarshal string into Go value of type v1.Platform"),
        ("1", "failed to parse platform: json: cannot unmarshal number into Go value of type v1.Platform"),
        (
            '{"os":true}',
            "failed to parse platform: json: cannot unmarshal bool into Go struct field Platform.os of type string",
        ),
        (
            '{"os.features":{}}',
            "failed to parse platform: json: cannot unmarshal object into Go struct field Platform.os.features "
            "of type []string",
        ),
        ("null", "both OS and Architecture must be provided"),
        ("{}", "both OS and Architecture must be provided"),
        ('{"os":"linux"}', "both OS and Architecture must be provided"),
        ('{"os":"linux","variant":"v8"}', "both OS and Architecture must be provided"),
        ('{"variant":"v8"}', "optional platform fields provided, but OS and Architecture are missing"),
        ('{"os.features":["x"]}', "optional platform fields provided, but OS and Architecture are missing"),
    ],
)
def test_json_that_is_no_platform(text: str, says: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        decode(text)
    assert str(caught.value) == says


def test_older_apis_know_no_platform() -> None:
    assert platform_of(asked("platform=nonsense", (1, 48)), (1, 49)) is None
    assert written_platform(asked("platform=a/b/c/d", (1, 31)), (1, 32)) is None
    assert only_platform_of(asked("platform=a&platform=b", (1, 47)), (1, 48)) is None
    assert platform_of(asked("platform=", (1, 49)), (1, 49)) is None


def test_of_several_platforms_some_requests_take_the_first_and_some_none() -> None:
    amd = "platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22amd64%22%7D"
    request = asked(f"{amd}&platform=x", (1, 49))
    assert platform_of(request, (1, 49)) == Platform("linux", "amd64")
    with pytest.raises(InvalidParameter, match=r"^multiple platform parameters not supported$"):
        only_platform_of(request, (1, 48))


V2 = "pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
V3 = "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = "avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("flags", "level"),
    [("", 1), (V2, 2), (f"{V2} {V3}", 3), (f"{V2} {V3} {V4} more", 4), (f"{V2} {V4}", 2), (f"{V3} {V4}", 1)],
)
def test_a_level_of_amd64_needs_all_before_it(flags: str, level: int) -> None:
    assert amd64_level(flags.split()) == level


def test_this_machine_runs_what_is_for_it() -> None:
    assert newest_here().runs(Platform.here()) > 0
    assert runs_here(Platform.here())
    assert not runs_here(Platform("linux", "s390x"))


def test_without_a_platform_an_index_has_the_best_for_this_machine() -> None:
    def descriptor(platform: Platform) -> Descriptor:
        return Descriptor("application/vnd.oci.image.manifest.v1+json", f"sha256:{platform}", 1, platform=platform)

    foreign, plain, best = (descriptor(one) for one in (Platform("linux", "s390x"), Platform.here(), newest_here()))
    assert Index("", (foreign, plain, best)).select(None) is (plain if plain.platform == best.platform else best)
    with pytest.raises(NotFound) as caught:
        Index("", (foreign,)).select(None)
    assert str(caught.value) == f"no matching manifest for {Platform.here().shown} in the manifest list entries"
