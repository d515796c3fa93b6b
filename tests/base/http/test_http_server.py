"""A real server on a Unix socket, spoken to in bytes."""

import asyncio
import contextlib
import http.client
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from riverport.base.http.exchange import Limits
from riverport.base.http.messages import (
    Answer,
    ClientGone,
    Duplex,
    FileRange,
    Handler,
    Hijack,
    HttpError,
    Request,
    Response,
    json_response,
)
from riverport.base.http.server import TcpListener, UnixListener, serve

QUICK = Limits(head_bytes=16384, head_s=0.3, idle_s=0.3, body_stall_s=0.3, drain_s=0.3, linger_s=0.3, drain_bytes=65536)

Scenario = Callable[["Client"], Awaitable[None]]


class Client:
    """Opens connections to the server under test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))

    async def exchange(self, data: bytes) -> bytes:
        """Send, then read to the end; the requests say `Connection: close`, or the server closes."""
        reader, writer = await self.connect()
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    def running(handler: Handler, scenario: Scenario, limits: Limits = QUICK) -> None:
        async def main() -> None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "s"
                server = await serve(handler, [UnixListener(path)], limits)
                try:
                    await scenario(Client(path))
                finally:
                    await server.close(0)
                assert not path.exists()
                assert len(asyncio.all_tasks()) == 2, asyncio.all_tasks()  # this one and what bounds its time

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main(), 20))

    return running


async def echo(request: Request) -> Answer:
    body = await request.body(1 << 20)
    told = {"method": request.method, "path": request.path, "query": request.query, "body": body.decode("latin-1")}
    return json_response({**told, "trailers": request.trailers.get("x-sum")})


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode()


CLOSE = "Connection: close"


def test_a_request_is_seen_as_it_was_sent(run: Callable[..., None]) -> None:
    async def scenario(client: Client) -> None:
        request = get("/a%2Fb?x=1&x=2&y", "Content-Length: 3", CLOSE, method="POST") + b"abc"
        told = json.loads(body_of(await client.exchange(request)))
        assert told == {
            "method": "POST", "path": "/a%2Fb", "query": {"x": ["1", "2"], "y": [""]}, "body": "abc", "trailers": "",
        }  # fmt: skip

    run(echo, scenario)


def test_chunks_extensions_and_trailers_make_one_body(run: Callable[..., None]) -> None:
    async def scenario(client: Client) -> None:
        chunks = b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n"
        told = json.loads(
            body_of(await client.exchange(get("/", "Transfer-Encoding: chunked", CLOSE, method="PUT") + chunks))
        )
        assert (told["body"], told["trailers"]) == ("abcde", "9")

    run(echo, scenario)


def test_pipelined_requests_are_answered_in_their_order(run: Callable[..., None]) -> None:
    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/1") + get("/2", "Content-Length: 1") + b"x" + get("/3", CLOSE))
        assert answer.count(b"HTTP/1.1 200") == 3
        assert answer.index(b'"/1"') < answer.index(b'"/2"') < answer.index(b'"/3"')

    run(echo, scenario)


def test_an_idle_connection_is_let_go(run: Callable[..., None]) -> None:
    async def scenario(client: Client) -> None:
        assert (await client.exchange(get("/1"))).count(b"HTTP/1.1 200") == 1
        assert await client.exchange(b"") == b""

    run(echo, scenario)


def test_http_1_0_is_answered_and_closed(run: Callable[..., None]) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def handler(request: Request) -> Answer:
        return Response(body=pieces())

    async def scenario(client: Client) -> None:
        answer = await client.exchange(b"GET / HTTP/1.0\r\n\r\n")
        assert body_of(answer) == b"onetwo"
        assert b"chunked" not in answer.lower()

    run(handler, scenario)


def test_head_has_the_length_and_no_body(run: Callable[..., None]) -> None:
    async def handler(request: Request) -> Answer:
        if request.path == "/own":
            return Response(headers={"Content-Length": "300"})
        return Response(body=b"12345")

    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/", method="HEAD") + get("/own", CLOSE, method="HEAD"))
        assert b"Content-Length: 5\r\n" in answer
        assert b"Content-Length: 300\r\n" in answer
        assert b"12345" not in answer

    run(handler, scenario)


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_say_no_length(run: Callable[..., None], status: int) -> None:
    async def handler(request: Request) -> Answer:
        return Response(status)

    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/") + get("/", CLOSE))
        assert answer.count(b"HTTP/1.1 %d" % status) == 2
        assert b"content-length" not in answer.lower()
        assert b"transfer-encoding" not in answer.lower()

    run(handler, scenario)


def test_a_client_that_waits_for_continue_is_told_to(run: Callable[..., None]) -> None:
    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        writer.write(get("/", "Content-Length: 2", "Expect: 100-continue", CLOSE, method="PUT"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert b'"body":"ok"' in await reader.read()
        writer.close()

    run(echo, scenario)


def test_a_refusal_before_continue_ends_the_connection(run: Callable[..., None]) -> None:
    async def handler(request: Request) -> Answer:
        raise HttpError(413, "too much")

    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/", "Content-Length: 2", "Expect: 100-continue", method="PUT"))
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"100 Continue" not in answer

    run(handler, scenario)


def test_the_head_of_a_stream_leaves_before_its_first_piece(run: Callable[..., None]) -> None:
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"late"

    async def handler(request: Request) -> Answer:
        return Response(body=pieces())

    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        writer.write(get("/"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" in head
        go_on.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"4\r\nlate\r\n0\r\n\r\n"
        writer.close()

    run(handler, scenario)


def test_a_client_that_goes_ends_the_stream_that_nothing_is_written_to(run: Callable[..., None]) -> None:
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def handler(request: Request) -> Answer:
        return Response(body=pieces())

    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        writer.write(get("/"))
        await reader.readuntil(b"first")
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)

    run(handler, scenario)


def test_a_client_that_goes_ends_the_stream_that_it_never_read(run: Callable[..., None]) -> None:
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1 << 16)
        finally:
            ended.set()

    async def handler(request: Request) -> Answer:
        return Response(body=pieces())

    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        writer.write(get("/"))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 5)

    run(handler, scenario)


def test_a_stream_goes_on_after_an_upload_and_notices_the_end(run: Callable[..., None]) -> None:
    """`docker build`: the context comes in while progress goes out, and Ctrl-C much later cancels."""
    ended = asyncio.Event()

    async def handler(request: Request) -> Answer:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in request.stream():
                    yield b"got %d\n" % len(piece)
                await asyncio.sleep(60)
            finally:
                ended.set()

        return Response(body=pieces())

    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        writer.write(get("/", "Transfer-Encoding: chunked", method="POST"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"3\r\nabc\r\n")
        await reader.readuntil(b"got 3\n\r\n")
        writer.write(b"0\r\n\r\n")
        await asyncio.sleep(0.05)
        assert not ended.is_set()
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)

    run(handler, scenario)


def test_a_request_that_came_during_a_stream_is_answered_after_it(run: Callable[..., None]) -> None:
    async def handler(request: Request) -> Answer:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"slow"
            await asyncio.sleep(0.1)
            yield b"end"

        return Response(body=pieces()) if request.path == "/1" else Response(body=b"second")

    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/1") + get("/2", CLOSE))
        assert answer.index(b"end") < answer.index(b"second")

    run(handler, scenario)


def test_an_answer_that_breaks_off_has_no_last_chunk(run: Callable[..., None]) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise ValueError("broken")

    async def handler(request: Request) -> Answer:
        return Response(body=pieces())

    async def scenario(client: Client) -> None:
        assert body_of(await client.exchange(get("/"))) == b"4\r\nhalf\r\n"

    run(handler, scenario)


def test_a_body_that_turns_bad_during_its_answer_breaks_it_off_and_is_no_failure(
    run: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Answer:
        async def pieces() -> AsyncIterator[bytes]:
            async for piece in request.stream():
                yield piece

        return Response(body=pieces())

    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/", "Transfer-Encoding: chunked", method="POST") + b"2\r\nok\r\nbad\r\n")
        assert body_of(answer) == b"2\r\nok\r\n"
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    run(handler, scenario)


def test_a_handler_that_fails_is_a_500_and_the_connection_lives(run: Callable[..., None]) -> None:
    async def handler(request: Request) -> Answer:
        if request.path == "/bad":
            raise ValueError("secret")
        return Response(body=b"fine")

    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/bad") + get("/", CLOSE))
        assert answer.startswith(b"HTTP/1.1 500")
        assert answer.endswith(b"fine")
        assert b"secret" not in answer

    run(handler, scenario)


def test_files_are_sent_whole_in_part_and_never_short(run: Callable[..., None], tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000  # 5 MB: more than a socket's buffer
    path = tmp_path / "f"
    path.write_bytes(content)

    async def handler(request: Request) -> Answer:
        wanted = {"/": FileRange(path), "/part": FileRange(path, 256, 3), "/beyond": FileRange(path, 0, 6_000_000)}
        return Response(body=wanted[request.path])

    async def scenario(client: Client) -> None:
        assert body_of(await client.exchange(get("/", CLOSE))) == content
        answer = await client.exchange(get("/part", method="HEAD") + get("/part", CLOSE))
        assert answer.count(b"Content-Length: 3\r\n") == 2
        assert answer.endswith(b"\r\n\r\n\0\x01\x02")
        # The length was promised: only a broken connection can say that it does not hold.
        assert len(body_of(await client.exchange(get("/beyond")))) == len(content)

    run(handler, scenario)


@pytest.mark.parametrize("upgrade", [True, False])
def test_a_hijacked_connection_is_raw_and_half_closes(run: Callable[..., None], upgrade: bool) -> None:
    async def shout(duplex: Duplex) -> None:
        while data := await duplex.read(3):
            await duplex.write(data.upper())
        await duplex.write(b"!")

    async def handler(request: Request) -> Answer:
        await request.body()
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"} if upgrade else {"Content-Type": "x/raw"}
        return Hijack(101 if upgrade else 200, headers, shout)

    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        extra = ("Connection: Upgrade", "Upgrade: tcp") if upgrade else ()
        writer.write(get("/", "Content-Length: 2", *extra, method="POST") + b"{}early")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n" if upgrade else b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(5) == b"EARLY"
        writer.write(b" bird")
        writer.write_eof()
        assert await reader.read() == b" BIRD!"
        writer.close()

    run(handler, scenario)


def test_a_body_that_nobody_read_is_no_input_of_a_hijacked_connection(run: Callable[..., None]) -> None:
    """dockerode sends the options of an attach as JSON along."""

    async def echo(duplex: Duplex) -> None:
        while data := await duplex.read():
            await duplex.write(data)

    async def handler(request: Request) -> Answer:
        return Hijack(101, {"Connection": "Upgrade", "Upgrade": "tcp"}, echo)

    async def scenario(client: Client) -> None:
        upgrade = ("Connection: Upgrade", "Upgrade: tcp")
        reader, writer = await client.connect()
        writer.write(get("/", "Content-Length: 15", *upgrade, method="POST") + b'{"stdin"')
        await writer.drain()
        writer.write(b": true}input")
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        assert await reader.read() == b"input"
        writer.close()

    run(handler, scenario)


def test_bodies_arrive_only_as_fast_as_they_are_taken(run: Callable[..., None]) -> None:
    go_on = asyncio.Event()

    async def handler(request: Request) -> Answer:
        await go_on.wait()
        size = 0
        async for piece in request.stream():
            size += len(piece)
        return Response(body=b"%d" % size)

    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        size = 16 << 20
        writer.write(get("/", f"Content-Length: {size}", CLOSE, method="POST") + bytes(size))
        await asyncio.sleep(0.1)
        assert writer.transport.get_write_buffer_size() > size // 2
        go_on.set()
        assert (await reader.read()).endswith(b"%d" % size)
        writer.close()

    run(handler, scenario)


def test_a_body_that_nobody_wanted_is_read_over(run: Callable[..., None]) -> None:
    async def handler(request: Request) -> Answer:
        return Response(body=request.path.encode())

    async def scenario(client: Client) -> None:
        answer = await client.exchange(
            get("/1", "Content-Length: 20000", method="POST") + bytes(20000) + get("/2", CLOSE)
        )
        assert answer.count(b"HTTP/1.1 200") == 2

    run(handler, scenario)


def test_an_early_answer_reaches_a_client_that_goes_on_sending(run: Callable[..., None]) -> None:
    async def handler(request: Request) -> Answer:
        raise HttpError(403, "no")

    async def scenario(client: Client) -> None:
        def talk() -> int:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(client.path))
                sock.sendall(get("/", "Content-Length: 100000000", method="POST"))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    for _ in range(8):
                        sock.sendall(bytes(100_000))
                answer = http.client.HTTPResponse(sock)
                answer.begin()
                return answer.status

        assert await asyncio.to_thread(talk) == 403

    run(handler, scenario)


def head_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[0].lower()


BODIES = {
    "with a length": (["Content-Length: 65537"], b""),
    "in chunks": (["Transfer-Encoding: chunked"], b"10001\r\n" + bytes(65537) + b"\r\n"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_an_answer_says_that_a_body_too_long_to_be_read_over_ends_the_connection(
    run: Callable[..., None], name: str, kind: str
) -> None:
    """As with Go's net/http; a pool would otherwise send its next request into a closed connection."""

    async def handler(request: Request) -> Answer:
        return Response(404, body=b"no" if kind == "bytes" else FileRange(Path(__file__), 0, 2))

    async def scenario(client: Client) -> None:
        headers, body = BODIES[name]
        answer = await client.exchange(get("/", *headers, method="PUT") + body)
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"\r\nconnection: close" in head_of(answer)
        assert len(body_of(answer)) == 2

    run(handler, scenario)


def test_what_a_handler_has_read_of_a_body_does_not_count(run: Callable[..., None]) -> None:
    async def handler(request: Request) -> Answer:
        count = 0
        async for piece in request.stream():
            count += len(piece)
            if count > 20000:
                break
        return Response()

    async def scenario(client: Client) -> None:
        sent = get("/1", "Content-Length: 80000", method="POST") + bytes(80000) + get("/2", CLOSE)
        assert (await client.exchange(sent)).count(b"HTTP/1.1 200") == 2

    run(handler, scenario)


@pytest.mark.parametrize("headers", [["Content-Length: 10"], ["Transfer-Encoding: chunked"]], ids=["length", "chunks"])
def test_an_answer_does_not_wait_for_ever_for_the_rest_of_a_body(run: Callable[..., None], headers: list[str]) -> None:
    """The client waits for the answer before it goes on, which Go's server would wait for in turn."""

    async def handler(request: Request) -> Answer:
        return Response(404, body=b"no")

    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/", *headers, method="PUT"))
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"\r\nconnection: close" in head_of(answer)

    run(handler, scenario)


@pytest.mark.parametrize("end", [b"", b"zz\r\n"], ids=["broken off", "malformed"])
def test_an_answer_reaches_a_client_whose_body_ends_wrongly(run: Callable[..., None], end: bytes) -> None:
    async def handler(request: Request) -> Answer:
        return Response(404, body=b"no")

    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        writer.write(get("/", "Transfer-Encoding: chunked", method="PUT") + b"1\r\na\r\n" + end)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"\r\nconnection: close" in head_of(answer)

    run(handler, scenario)


def test_a_stream_may_read_a_long_body_while_it_answers(run: Callable[..., None]) -> None:
    """Whether it will nobody knows when its head leaves."""

    async def handler(request: Request) -> Answer:
        async def lengths() -> AsyncIterator[bytes]:
            yield b"begun "
            yield str(sum([len(piece) async for piece in request.stream()])).encode()

        return Response(body=lengths())

    async def scenario(client: Client) -> None:
        sent = get("/1", "Content-Length: 200000", method="POST") + bytes(200000) + get("/2", CLOSE)
        answer = await client.exchange(sent)
        assert answer.count(b"HTTP/1.1 200") == 2
        assert b"200000" in answer

    run(handler, scenario)


# --- the hostile and the broken


RUBBISH = {
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "space in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX y: 1\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length is no number": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "length of a thousand digits": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 1000 + b"\r\n\r\n",
    "unknown coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "nul in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "control in the target": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "endless line": b"GET /" + b"a" * 20000,
    "endless headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 4000,
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_refused_and_the_connection_closed(run: Callable[..., None], name: str) -> None:
    async def scenario(client: Client) -> None:
        answer = await client.exchange(RUBBISH[name])
        assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 501", b"HTTP/1.1 413"), answer
        assert b"Connection: close" in answer

    run(echo, scenario)


BAD_CHUNKS = {
    "no size": b"\r\nabc\r\n",
    "negative": b"-1\r\nabc\r\n",
    "hex prefix": b"0x3\r\nabc\r\n",
    "space before": b" 3\r\nabc\r\n",
    "size of many digits": b"f" * 30 + b"\r\n",
    "longer than said": b"2\r\nabc\r\n0\r\n\r\n",
    "endless extension": b"3;" + b"x" * 20000,
    "endless trailer": b"0\r\n" + b"X: y\r\n" * 4000,
    "bad trailer": b"0\r\nno colon\r\n\r\n",
    "smuggled length": b"0\r\nContent-Length\x00: 3\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_are_a_400(run: Callable[..., None], name: str) -> None:
    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/", "Transfer-Encoding: chunked", method="POST") + BAD_CHUNKS[name])
        assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431"), answer
        assert answer.count(b"HTTP/1.1") == 1

    run(echo, scenario)


def test_length_and_chunks_together_are_never_two_requests(run: Callable[..., None]) -> None:
    async def scenario(client: Client) -> None:
        smuggled = get("/", "Content-Length: 40", "Transfer-Encoding: chunked", method="POST")
        answer = await client.exchange(smuggled + b"0\r\n\r\nGET /stolen HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"stolen" not in body_of(answer)[:200] or answer.startswith(b"HTTP/1.1 400")

    run(echo, scenario)


def test_a_head_that_drips_is_cut_off(run: Callable[..., None]) -> None:
    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                for byte in get("/", "X-Long: " + "a" * 400):
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.01)

        dripping = asyncio.ensure_future(drip())
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        dripping.cancel()
        writer.close()

    run(echo, scenario)


def test_a_body_that_stalls_is_cut_off(run: Callable[..., None]) -> None:
    async def scenario(client: Client) -> None:
        answer = await client.exchange(get("/", "Content-Length: 5", method="POST") + b"ab")
        assert answer.startswith(b"HTTP/1.1 408")

    run(echo, scenario)


def test_a_body_that_ends_early_is_no_request(run: Callable[..., None]) -> None:
    outcomes: list[Any] = []

    async def handler(request: Request) -> Answer:
        try:
            outcomes.append(await request.body())
        except ClientGone as error:
            outcomes.append(error)
            raise
        return Response()

    async def scenario(client: Client) -> None:
        reader, writer = await client.connect()
        writer.write(get("/", "Content-Length: 5", method="POST") + b"ab")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert isinstance(outcomes[0], ClientGone)

    run(handler, scenario)


def test_a_body_beyond_its_limit_is_a_413(run: Callable[..., None]) -> None:
    async def handler(request: Request) -> Answer:
        return Response(body=await request.body(10))

    async def scenario(client: Client) -> None:
        assert (await client.exchange(get("/", "Content-Length: 11", CLOSE, method="POST") + bytes(11))).startswith(
            b"HTTP/1.1 413"
        )

    run(handler, scenario)


def test_more_connections_than_allowed_wait_for_their_turn(run: Callable[..., None]) -> None:
    limits = Limits(connections=2, idle_s=0.2)

    async def scenario(client: Client) -> None:
        answers = await asyncio.gather(*(client.exchange(get("/", CLOSE)) for _ in range(10)))
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)

    run(echo, scenario, limits)


# --- listeners


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:  # shorter than tmp_path: a socket's path has 108 bytes
        yield Path(made)


def test_a_stale_socket_file_is_replaced_and_a_live_one_is_not(folder: Path) -> None:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async def main() -> None:
        server = await serve(echo, [UnixListener(path, mode=0o600)])
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(OSError, match="another process listens"):
            await serve(echo, [UnixListener(path)])
        await server.close(0)

    asyncio.run(main())


def test_a_file_in_the_way_of_a_socket_is_left_alone(folder: Path) -> None:
    (folder / "s").write_text("mine")
    with pytest.raises(FileExistsError):
        asyncio.run(serve(echo, [UnixListener(folder / "s")]))
    assert (folder / "s").read_text() == "mine"


def test_a_server_that_cannot_bind_all_binds_none(folder: Path) -> None:
    async def main() -> None:
        first = await serve(echo, [TcpListener("127.0.0.1", 0)])
        with pytest.raises(OSError):
            await serve(echo, [UnixListener(folder / "s"), TcpListener("127.0.0.1", first.ports[0])])
        assert not (folder / "s").exists()
        await first.close(0)

    asyncio.run(main())


def test_closing_lets_an_answer_finish_and_idle_clients_go(folder: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Answer:
        begun.set()
        await go_on.wait()
        return Response(body=b"done")

    async def main() -> None:
        server = await serve(handler, [UnixListener(folder / "s")])
        client = Client(folder / "s")
        idle_reader, idle_writer = await client.connect()
        answer = asyncio.ensure_future(client.exchange(get("/", CLOSE)))
        await begun.wait()
        closing = asyncio.ensure_future(server.close(5))
        assert await idle_reader.read() == b""
        go_on.set()
        assert (await answer).endswith(b"done")
        await closing
        idle_writer.close()

    asyncio.run(main())
