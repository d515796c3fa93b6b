"""Versions, routes, errors and common headers, without a daemon."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from riverport.base.http.messages import HttpError, Response
from riverport.base.http.messages import Request as HttpRequest
from riverport.engine.api import service as service_module
from riverport.engine.api.routing import Answer, Request, Route, progress
from riverport.engine.api.service import Service
from riverport.engine.errors import Conflict, InvalidParameter, NotFound, NotModified
from riverport.engine.events import Events


def service(monkeypatch: pytest.MonkeyPatch | None = None, routes: list[Route] | None = None) -> Service:
    engine: Any = SimpleNamespace(events=Events())
    if routes is None:
        return Service(engine)
    assert monkeypatch is not None
    monkeypatch.setattr(service_module, "MODULES", ("one",))
    monkeypatch.setattr(service_module, "import_module", lambda name: SimpleNamespace(ROUTES=routes))
    return Service(engine)


def ask(served: Service, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = asyncio.run(served(HttpRequest(method, target, shown, body)))
    assert isinstance(answer, Response)
    return answer


def message(answer: Response) -> str:
    return str(json.loads(cast(bytes, answer.body))["message"])


def test_ping_tells_the_version_and_is_never_cached() -> None:
    for method, body in (("GET", b"OK"), ("HEAD", b"")):
        answer = ask(service(), method, "/_ping")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["Api-Version"] == "1.50"
        assert answer.headers["Ostype"] == "linux"
        assert answer.headers["Docker-Experimental"] == "false"
        assert answer.headers["Swarm"] == "inactive"
        assert answer.headers["Builder-Version"] == "1"
        assert answer.headers["Pragma"] == "no-cache"
        assert answer.headers["Server"].startswith("Docker/")


@pytest.mark.parametrize("target", ["/_ping", "/v1.24/_ping", "/v1.50/_ping"])
def test_paths_may_name_a_version_or_none(target: str) -> None:
    assert ask(service(), "GET", target).status == 200


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/v1.99/info", "client version 1.99 is too new. Maximum supported API version is 1.50"),
        ("/v2.0/info", "client version 2.0 is too new. Maximum supported API version is 1.50"),
        (
            "/v1.10/info",
            "client version 1.10 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
        ("/v1/info", "API version 1 is not a version: MAJOR.MINOR, such as 1.50"),
        ("/v1.2.3/info", "API version 1.2.3 is not a version: MAJOR.MINOR, such as 1.50"),
    ],
)
def test_versions_that_are_not_spoken_are_refused_with_the_range(target: str, text: str) -> None:
    answer = ask(service(), "GET", target)
    assert (answer.status, message(answer)) == (400, text)
    assert answer.headers["Api-Version"] == "1.50"


@pytest.mark.parametrize("target", ["/nope", "/v1.44/nope", "/v1.44", "/", "//", "/v1.44/_ping/"])
def test_an_unknown_path_is_dockers_404(target: str) -> None:
    answer = ask(service(), "GET", target)
    assert (answer.status, message(answer)) == (404, "page not found")


def test_a_known_path_with_another_method_is_the_same_404() -> None:
    answer = ask(service(), "DELETE", "/_ping")
    assert (answer.status, message(answer)) == (404, "page not found")


def test_swarm_says_what_every_client_expects() -> None:
    for method, path in (("GET", "/swarm"), ("GET", "/nodes/x"), ("POST", "/services/create"), ("GET", "/tasks")):
        answer = ask(service(), method, "/v1.50" + path)
        assert answer.status == 503
        assert message(answer).startswith("This node is not a swarm manager.")


def test_sessions_name_the_way_out() -> None:
    for path in ("/session", "/grpc"):
        answer = ask(service(), "POST", path)
        assert answer.status == 404
        assert "DOCKER_BUILDKIT=0" in message(answer)


def test_errors_become_their_status_and_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: dict[str, Exception] = {
        "absent": NotFound("No such container: x"),
        "taken": Conflict("in use"),
        "long": HttpError(413, "too long"),
        "bug": ValueError("broken"),
        "silent": AssertionError(),
    }

    async def handler(engine: object, request: Request) -> Answer:
        raise errors[request.params["name"]]

    served = service(monkeypatch, [Route("GET", "/{name}", handler)])
    told = {name: ask(served, "GET", "/" + name) for name in errors}
    assert {name: (answer.status, message(answer)) for name, answer in told.items()} == {
        "absent": (404, "No such container: x"),
        "taken": (409, "in use"),
        "long": (413, "too long"),
        "bug": (500, "broken"),
        "silent": (500, "AssertionError"),
    }


def test_what_is_so_already_has_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(engine: object, request: Request) -> Answer:
        raise NotModified("container already started")

    answer = ask(service(monkeypatch, [Route("POST", "/x", handler)]), "POST", "/x")
    assert (answer.status, answer.body) == (304, b"")


def test_a_route_is_there_from_its_version_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(engine: object, request: Request) -> Answer:
        return Response(200, {}, repr(request.version).encode())

    served = service(monkeypatch, [Route("GET", "/new", handler, since=(1, 48))])
    assert ask(served, "GET", "/v1.47/new").status == 404
    assert ask(served, "GET", "/v1.48/new").body == b"(1, 48)"
    assert ask(served, "GET", "/new").body == b"(1, 50)"


def test_names_of_images_may_have_slashes_plain_and_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(engine: object, request: Request) -> Answer:
        return Response(200, {}, request.params["name"].encode())

    served = service(monkeypatch, [Route("GET", "/images/{name:path}/json", handler)])
    for target in ("/images/r:5000/a/b%3Ac/json", "/images/r:5000%2Fa%2Fb:c/json"):
        assert ask(served, "GET", target).body == b"r:5000/a/b:c"


# --- what handlers read


def made(target: str = "/", body: bytes = b"", **headers: str) -> Request:
    return Request(HttpRequest("POST", target, {name.replace("_", "-"): v for name, v in headers.items()}, body))


@pytest.mark.parametrize("text", ["", "0", "no", "false", "none", "False", "NO", " false "])
def test_dockers_falsehoods(text: str) -> None:
    assert made(f"/?force={text.replace(' ', '%20')}").flag("force") is False


@pytest.mark.parametrize("text", ["1", "true", "yes", "x", "True"])
def test_everything_else_is_true(text: str) -> None:
    assert made(f"/?force={text}").flag("force") is True


def test_an_absent_flag_is_its_default() -> None:
    assert made().flag("v") is False
    assert made().flag("v", True) is True


def test_numbers_are_numbers() -> None:
    assert (made("/?t=10").integer("t"), made("/?t=-1").integer("t"), made("/?t=").integer("t", 3)) == (10, -1, 3)
    with pytest.raises(InvalidParameter, match="invalid syntax"):
        made("/?t=ten").integer("t")


def test_documents_are_json_objects_or_nothing() -> None:
    def document(body: bytes, **headers: str) -> dict[str, Any]:
        return asyncio.run(made("/", body, **headers).document())

    assert document(b'{"a":1}', Content_Type="application/json; charset=utf-8") == {"a": 1}
    assert document(b"") == document(b"null") == document(b" ", Content_Type="text/plain") == {}
    with pytest.raises(InvalidParameter, match=r"^Content-Type specified \(text/plain\) must be 'application/json'$"):
        document(b"{}", Content_Type="text/plain")
    for rubbish in (b"{", b"[1]", b'"x"', b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidParameter, match="invalid JSON"):
            document(rubbish)


# --- progress


def lines(items: AsyncIterator[dict[str, Any]]) -> list[Any]:
    async def collect() -> list[Any]:
        answer = await progress(items)
        assert answer.status == 200
        body = answer.body
        assert not isinstance(body, bytes)
        return [json.loads(line) async for line in cast(AsyncIterator[bytes], body)]

    return asyncio.run(collect())


async def failing_after(count: int, error: Exception) -> AsyncIterator[dict[str, Any]]:
    for number in range(count):
        yield {"n": number}
    raise error


def test_a_failure_before_the_first_line_is_an_answer_of_its_own() -> None:
    with pytest.raises(NotFound):
        lines(failing_after(0, NotFound("no such image")))


@pytest.mark.parametrize("error", [NotFound("gone"), OSError("gone"), KeyError("gone")])
def test_a_failure_after_it_is_the_last_line(error: Exception) -> None:
    told = lines(failing_after(2, error))
    assert told[:2] == [{"n": 0}, {"n": 1}]
    assert "gone" in told[2]["error"]
    assert told[2]["errorDetail"]["message"] == told[2]["error"]
