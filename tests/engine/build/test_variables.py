"""Build arguments: scopes, precedence, the predefined ones, warnings."""

from riverport.engine.build.variables import BuildArguments, GlobalArguments, platform_arguments, unconsumed


def test_a_given_value_beats_the_default_and_env_beats_both() -> None:
    arguments = BuildArguments({"a": "given", "c": None}, {}, {})
    arguments.declare("a", "default")
    arguments.declare("b", "default")
    arguments.declare("c", "default")
    assert arguments.visible() == {"a": "given", "b": "default", "c": "default"}
    assert arguments.visible(["a=env"]) == {"b": "default", "c": "default"}


def test_an_undeclared_argument_is_not_visible() -> None:
    assert BuildArguments({"a": "given"}, {}, {}).visible() == {}


def test_an_argument_without_default_takes_the_global_one() -> None:
    arguments = BuildArguments({}, {}, {"version": "1", "none": None})
    for name in ("version", "none"):
        arguments.declare(name, None)
    assert arguments.visible() == {"version": "1"}


def test_proxies_are_visible_undeclared_but_leave_no_trace() -> None:
    arguments = BuildArguments({"HTTP_PROXY": "http://p", "a": "1"}, {}, {})
    arguments.declare("a", None)
    visible = arguments.visible()
    assert visible == {"a": "1", "HTTP_PROXY": "http://p"}
    assert arguments.recorded(visible) == ["a=1"]
    arguments.declare("HTTP_PROXY", None)
    assert arguments.recorded(arguments.visible()) == ["HTTP_PROXY=http://p", "a=1"]


def test_platform_arguments_appear_once_declared() -> None:
    arguments = BuildArguments({}, platform_arguments("linux/arm64/v8", "linux/amd64"), {})
    assert arguments.visible() == {}
    arguments.declare("TARGETARCH", None)
    arguments.declare("BUILDPLATFORM", None)
    assert arguments.visible() == {"TARGETARCH": "arm64", "BUILDPLATFORM": "linux/amd64"}


def test_global_arguments_serve_from_lines() -> None:
    arguments = GlobalArguments({"base": "given", "other": "x"}, {"TARGETOS": "linux"})
    arguments.declare("base", "busybox")
    arguments.declare("tag", None)
    assert arguments.values() == {"TARGETOS": "linux", "base": "given"}


def test_arguments_that_nobody_declares_are_named() -> None:
    assert unconsumed({"b": 1, "a": 1, "c": 1, "http_proxy": 1}, ["c"]) == ["a", "b"]
