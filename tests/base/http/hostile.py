"""HTTP/1.1 as a hostile or broken client may send it, made from a seed, and what must hold all the same."""

import asyncio
import logging
import random
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import h11

from riverport.base.http.exchange import Limits
from riverport.base.http.messages import Answer, Duplex, Hijack, Request, Response
from riverport.base.http.server import Server, UnixListener, serve

LIMITS = Limits(head_bytes=4096, head_s=0.2, idle_s=0.2, body_stall_s=0.2, linger_s=0.1, drain_bytes=16384)
PATIENCE_S = 10.0


class Wrong(AssertionError):
    """The server did what it must not."""


async def handler(request: Request) -> Answer:
    """Does, by path, each of the things that handlers do."""
    match request.path[1:2]:
        case "u":  # reads nothing
            return Response(200, {}, b"unread")
        case "s":  # answers while it reads

            async def pieces() -> AsyncIterator[bytes]:
                async for piece in request.stream():
                    yield piece[:10]
                yield b"end"

            return Response(200, {}, pieces())
        case "h":

            async def run(duplex: Duplex) -> None:
                while data := await duplex.read(100):
                    await duplex.write(data)

            await request.body(2048)
            return Hijack(101, {"Connection": "Upgrade", "Upgrade": "tcp"}, run)
        case _:
            return Response(200, {}, await request.body(2048))


def valid(rng: random.Random) -> bytes:
    """A request as it should be."""
    path = "/" + rng.choice(("", "u", "s", "x%2Fy", "a" * rng.choice((1, 500))))
    body = rng.randbytes(rng.choice((0, 0, 1, 10, 1000, 3000)))
    headers = [f"Host: {rng.choice(('docker', 'x:1', ''))}", *(f"X-{n}: {'v' * n}" for n in range(rng.randint(0, 5)))]
    if rng.random() < 0.1:
        headers.append("Expect: 100-continue")
    if rng.random() < 0.5:
        head = ["POST " + path + " HTTP/1.1", *headers, "Transfer-Encoding: chunked"]
        return "\r\n".join([*head, "", ""]).encode() + chunked(rng, body)
    head = [rng.choice(("GET", "HEAD", "POST")) + " " + path + " HTTP/1.1", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def chunked(rng: random.Random, body: bytes) -> bytes:
    parts = []
    at = 0
    while at < len(body):
        size = rng.randint(1, 700)
        piece = body[at : at + size]
        extension = rng.choice(("", "", ";a=b", ";" + "x" * 50))
        parts.append(f"{len(piece):{rng.choice('xX')}}{extension}\r\n".encode() + piece + b"\r\n")
        at += size
    return b"".join([*parts, b"0\r\n", rng.choice((b"", b"X-Sum: 1\r\n")), b"\r\n"])


RUBBISH = (
    b"\r\n", b"\n", b"\0", b"\r\n\r\n", b" ", b":", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"HTTP/1.1", b"HTTP/9.9", b"ffffffffffffffffffff\r\n", b"-1\r\n", b"0\r\n\r\n",
    b"\xff\xfe",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"A" * 5000,
)  # fmt: skip


def damaged(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[at:at] = rng.choice(RUBBISH)
            case 1:
                del changed[at : at + rng.choice((1, 2, 20, 1000))]
            case 2 if at < len(changed):
                changed[at] = rng.randrange(256)
            case 3:
                changed[at:at] = changed[: rng.randrange(200)]
            case _:
                del changed[at:]
    return bytes(changed)


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """The same bytes as the network may cut them."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 1, 5, 30))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)]) if end > start]


class Target:
    """A server, and the errors that it has logged since."""

    def __init__(self, server: Server, path: Path) -> None:
        self._server = server
        self._path = path
        self.logged: list[logging.LogRecord] = []

    async def send(self, parts: list[bytes], *, end: bool) -> bytes:
        """What comes back until the server closes; the client half-closes first if `end`."""
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            async with asyncio.timeout(PATIENCE_S):
                receiving = asyncio.ensure_future(reader.read())
                try:
                    for part in parts:
                        writer.write(part)
                        await writer.drain()
                        await asyncio.sleep(0)
                    if end:
                        writer.write_eof()
                except (ConnectionError, OSError):
                    pass  # it has had enough of us
                return await receiving
        except ConnectionError:
            return b""
        except TimeoutError:
            raise Wrong("the connection neither answers nor ends") from None
        finally:
            writer.close()

    async def close(self) -> None:
        await self._server.close(0)
        await asyncio.sleep(0)
        if len(asyncio.all_tasks()) > 1:
            raise Wrong(f"tasks are left: {asyncio.all_tasks()}")


async def cases(rng: random.Random, count: int) -> int:
    """Raises Wrong. Returns how many requests were sent."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        target = Target(await serve(handler, [UnixListener(path)], LIMITS), path)
        watcher = logging.Handler(logging.ERROR)
        watcher.emit = target.logged.append  # type: ignore[method-assign]
        logging.getLogger().addHandler(watcher)
        sent = 0
        try:
            # Many at once, because most of them end by a time-out; each has a generator of its own.
            generators = [random.Random(rng.random()) for _ in range(count)]
            ended = await asyncio.gather(*(_case(each, target) for each in generators), return_exceptions=True)
            for outcome in ended:
                if isinstance(outcome, BaseException):
                    raise outcome
                sent += outcome
        finally:
            logging.getLogger().removeHandler(watcher)
            await target.close()
        return sent


async def _case(rng: random.Random, target: Target) -> int:
    whole = [valid(rng) for _ in range(rng.randint(1, 4))]
    hurt = rng.random() < 0.8
    data = damaged(rng, b"".join(whole)) if hurt else b"".join(whole)
    if not data:
        return 0
    answer = await target.send(pieces(rng, data), end=hurt and rng.random() < 0.5)
    try:
        _check(answer, whole, hurt)
        if target.logged:
            raise Wrong(f"logged: {target.logged[0].getMessage()}")
        after = await target.send([b"GET /u HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"], end=False)
        if not after.endswith(b"unread"):
            raise Wrong(f"it does not answer others any more: {after!r}")
    except Wrong as wrong:
        raise Wrong(f"{wrong}\nsent: {data!r}\nanswered: {answer!r}") from wrong
    return len(whole)


def _check(answer: bytes, whole: list[bytes], hurt: bool) -> None:
    """Every byte of the answers is HTTP; of undamaged requests each has its answer, unless one ended the connection."""
    if hurt and b" 101 " in answer:
        return
    parser = h11.Connection(h11.CLIENT)
    parser.receive_data(answer)
    parser.receive_data(b"")
    statuses = []
    for number in range(len(whole) + 100):
        method = b"GET" if hurt or number >= len(whole) else whole[number].split(b" ", 1)[0]
        if hurt and b"HEAD" in b"".join(whole):
            return  # which answer is a HEAD's nobody can tell after the damage
        try:
            parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
            parser.send(h11.EndOfMessage())
            while not isinstance(event := parser.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
                if isinstance(event, h11.Response):
                    statuses.append(event.status_code)
            if isinstance(event, h11.ConnectionClosed):
                break
            if parser.our_state is not h11.DONE or parser.their_state is not h11.DONE:
                break
            parser.start_next_cycle()
        except h11.RemoteProtocolError as error:
            # Closed instead of answered, or a stream that broke off and therefore has no last chunk.
            if hurt and ("incomplete" in str(error) or "ConnectionClosed" in str(error)):
                return
            if "ConnectionClosed" in str(error):
                break
            raise Wrong(f"not HTTP: {error}") from error
    # 413 is a long body; 408 is a machine so busy that the client was slow. Both end the connection.
    ended = {408, 413} & set(statuses) or b"Expect" in b"".join(whole)
    if not hurt and any(status not in (200, 408, 413) for status in statuses):
        raise Wrong(f"good requests were answered {statuses}")
    if not hurt and len(statuses) != len(whole) and not ended:
        raise Wrong(f"{len(whole)} requests, {len(statuses)} answers")
