"""/containers/{id}/attach, attach/ws and logs: a container's output, as it comes and as it was."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from riverport.base.http.messages import ClientGone
from riverport.engine.api.routing import Answer, Duplex, Hijack, Request, Response, Route
from riverport.engine.containers.attach import Session, frame, translation
from riverport.engine.containers.container import AttachOrder, Container
from riverport.engine.containers.detach_keys import parse_keys
from riverport.engine.containers.directory import ContainerDirectory
from riverport.engine.containers.log_records import LogQuery, LogRecord
from riverport.engine.containers.logs_reader import read_log
from riverport.engine.containers.times import parse_time
from riverport.engine.errors import Conflict, InvalidParameter, Unsupported

if TYPE_CHECKING:
    from riverport.engine.daemon import Engine

RAW: Final = "application/vnd.docker.raw-stream"
MULTIPLEXED: Final = "application/vnd.docker.multiplexed-stream"


def hijacked(request: Request, run: Callable[[Duplex], Awaitable[None]], *, raw: bool) -> Hijack:
    """The connection becomes a stream; `raw`: without frames."""
    kind = RAW if raw or request.version < (1, 42) else MULTIPLEXED
    if "Upgrade" in request.headers:
        return Hijack(101, {"Content-Type": kind, "Connection": "Upgrade", "Upgrade": "tcp"}, run)
    return Hijack(200, {"Content-Type": RAW}, run)


async def attach(engine: "Engine", request: Request) -> Answer:
    container, order = await _attached(engine, request, request.flag)
    keys = parse_keys(request.one("detachKeys")) if container.tty or request.one("detachKeys") else None

    async def run(duplex: Duplex) -> None:
        await _serve(engine, container, request, order, Session(duplex, keys), duplex, bare=container.tty)

    return hijacked(request, run, raw=container.tty)


async def attach_websocket(engine: "Engine", request: Request) -> Answer:
    """Messages are binary and hold bare output: a websocket keeps no streams apart (API 1.28)."""
    from riverport.engine.containers.websocket import WebSocket, accept_headers  # few clients need wsproto

    headers = accept_headers(request.headers)
    everything = request.version < (1, 42)  # older versions have no say in which streams

    def wants(name: str) -> bool:
        return everything if name in ("stdin", "stdout", "stderr") and everything else request.flag(name)

    container, order = await _attached(engine, request, wants)
    keys = parse_keys(request.one("detachKeys")) if container.tty or request.one("detachKeys") else None

    async def run(duplex: Duplex) -> None:
        socket = WebSocket(duplex)
        session = Session(socket, keys, translation(framed=not container.tty, wanted_framed=False))
        await _serve(engine, container, request, order, session, socket, bare=True)
        with suppress(ClientGone):
            await socket.write_eof()

    return Hijack(101, headers, run)


async def _attached(
    engine: "Engine", request: Request, wants: Callable[[str], bool]
) -> tuple[Container, AttachOrder | None]:
    """Ordered before the head of the answer leaves, because the client starts the container after that."""
    parse_keys(request.one("detachKeys"))
    reference = request.params["id"]
    container = engine.containers.get(reference)
    if container.state.paused:
        raise Conflict(f"container {reference} is paused, unpause the container before attach")
    if container.state.restarting:
        raise Conflict(f"container {reference} is restarting, wait until the container is running")
    if request.flag("logs"):
        _log_place(engine, container)
    order = None
    if wants("stream"):
        stdin = wants("stdin") and bool(container.config["OpenStdin"])
        order = await engine.containers.attach(container, stdin=stdin, stdout=wants("stdout"), stderr=wants("stderr"))
    engine.containers.catalogue.publish(container, "attach")
    return container, order


async def _serve(
    engine: "Engine", container: Container, request: Request, order: AttachOrder | None, session: Session,
    duplex: Duplex, *, bare: bool,
) -> None:  # fmt: skip
    try:
        if request.flag("logs"):
            query = LogQuery(request.flag("stdout"), request.flag("stderr"))
            async for data in _rendered(engine, container, query, bare):
                await duplex.write(data)
        if order is None:
            return
        stream = await order.streams
    except ClientGone:
        return
    if stream is not None:
        await session.run(stream, takes_input=order.stdin)
    if session.detached:
        engine.containers.catalogue.publish(container, "detach")


async def logs(engine: "Engine", request: Request) -> Answer:
    query = _query(request)
    container = engine.containers.get(request.params["id"])
    if container.state.dead or container.state.removing:
        raise Conflict("can not get logs from container which is dead or marked for removal")
    _log_place(engine, container)
    kind = RAW if container.tty or request.version < (1, 42) else MULTIPLEXED
    return Response(200, {"Content-Type": kind}, _rendered(engine, container, query, container.tty))


def _query(request: Request) -> LogQuery:
    """Raises InvalidParameter."""
    stdout, stderr = request.flag("stdout"), request.flag("stderr")
    if not stdout and not stderr:
        raise InvalidParameter("Bad parameters: you must choose at least one stream")
    tail, until, since, now_ns = request.one("tail"), request.one("until"), request.one("since"), time.time_ns()
    return LogQuery(
        stdout,
        stderr,
        since_ns=parse_time(since, now_ns) if since else 0,
        until_ns=parse_time(until, now_ns) if until not in ("", "0") else None,
        tail=int(tail) if re.fullmatch(r"\d+", tail) else None,  # "all", and whatever is no number
        follow=request.flag("follow"),
        timestamps=request.flag("timestamps"),
        details=request.flag("details"),
    )


def _log_place(engine: "Engine", container: Container) -> tuple[ContainerDirectory, str]:
    """Raises Unsupported where nothing is kept."""
    driver = str(container.host_config["LogConfig"]["Type"])
    directory = ContainerDirectory(engine.settings.data_root, container.id)
    if directory.log(driver) is None:
        raise Unsupported("configured logging driver does not support reading")
    return directory, driver


async def _rendered(engine: "Engine", container: Container, query: LogQuery, bare: bool) -> AsyncIterator[bytes]:
    directory, driver = _log_place(engine, container)
    path = directory.log(driver)
    assert path is not None, driver
    path.parent.mkdir(exist_ok=True)
    ended = container.waiters.next_exit() if query.follow and container.state.running else None
    try:
        async for batch in read_log(path, driver, query, ended):
            yield b"".join([_rendered_record(record, query, bare) for record in batch])
    finally:
        if ended is not None:
            ended.cancel()


def _rendered_record(record: LogRecord, query: LogQuery, bare: bool) -> bytes:
    text = query.render(record)
    return text if bare else frame(record.stream, text)


ROUTES: Final = [
    Route("POST", "/containers/{id}/attach", attach),
    Route("GET", "/containers/{id}/attach/ws", attach_websocket),
    Route("GET", "/containers/{id}/logs", logs),
]
