"""TLS hosts: who is let in, and half-closes under TLS."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from riverport.base.http.messages import Answer, Duplex, FileRange, Hijack, Request, Response
from riverport.base.http.server import TcpListener, serve
from riverport.base.settings import ConfigError
from riverport.engine.settings import load
from riverport.engine.tls import server_context

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the openssl command to make certificates"
)


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


CURVE = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem signs server.pem and client.pem; other-ca.pem signs stranger.pem."""
    place = tmp_path_factory.mktemp("certificates")
    for authority in ("ca", "other-ca"):
        files = ("-keyout", str(place / f"{authority}.key"), "-out", str(place / f"{authority}.pem"))
        openssl("req", "-x509", *CURVE.split(), "-subj", f"/CN={authority}", *files)
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other-ca")):
        key, request, made = (str(place / f"{name}.{kind}") for kind in ("key", "csr", "pem"))
        subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
        openssl("req", *CURVE.replace("-days 2", "").split(), *subject, "-keyout", key, "-out", request)
        signer = ("-CA", str(place / f"{authority}.pem"), "-CAkey", str(place / f"{authority}.key"))
        openssl("x509", "-req", "-in", request, "-days", "2", "-copy_extensions", "copy", *signer, "-out", made)
    return place


def settings(place: Path, **changed: str) -> ssl.SSLContext:
    given = {name: str(place / file) for name, file in
             (("tlscacert", "ca.pem"), ("tlscert", "server.pem"), ("tlskey", "server.key"))}  # fmt: skip
    context = server_context(load({"tlsverify": "true", **given, **changed}))
    assert context is not None
    return context


def client_context(place: Path, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(place / "ca.pem"))
    if name is not None:
        context.load_cert_chain(place / f"{name}.pem", place / f"{name}.key")
    return context


def with_server(context: ssl.SSLContext, handler: Callable[[Request], Awaitable[Answer]],
                scenario: Callable[[int], Awaitable[None]]) -> None:  # fmt: skip
    async def main() -> None:
        server = await serve(handler, [TcpListener("127.0.0.1", 0, context)])
        try:
            async with asyncio.timeout(20):
                await scenario(server.ports[0])
        finally:
            await server.close(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def who(request: Request) -> Answer:
    certificate = request.peer.certificate
    return Response(body=repr(certificate and certificate["subject"]).encode())


async def fetched(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


def test_a_client_with_a_certificate_of_the_authority_is_let_in(certificates: Path) -> None:
    async def scenario(port: int) -> None:
        answer = await fetched(port, client_context(certificates, "client"))
        assert b"HTTP/1.1 200" in answer
        assert b"'client'" in answer

    with_server(settings(certificates), who, scenario)


@pytest.mark.parametrize("name", [None, "stranger"])
def test_others_are_not(certificates: Path, name: str | None) -> None:
    async def scenario(port: int) -> None:
        try:
            answer = await fetched(port, client_context(certificates, name))
        except (ssl.SSLError, ConnectionError):
            answer = b""  # TLS 1.3 tells a client of its refusal with the first read
        assert answer == b""
        assert b"'client'" in await fetched(port, client_context(certificates, "client"))

    with_server(settings(certificates), who, scenario)


def test_who_speaks_no_tls_hurts_nobody(certificates: Path) -> None:
    async def scenario(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()
        assert b"'client'" in await fetched(port, client_context(certificates, "client"))

    with_server(settings(certificates), who, scenario)


def test_large_answers_and_files_come_whole_through_tls(certificates: Path, tmp_path: Path) -> None:
    content = bytes(range(256)) * 12_000
    (tmp_path / "f").write_bytes(content)

    async def handler(request: Request) -> Answer:
        return Response(body=content if request.one("memory") else FileRange(tmp_path / "f"))

    async def scenario(port: int) -> None:
        for target in (b"/?memory=1", b"/"):
            context = client_context(certificates, "client")
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\n" + content)
            writer.close()

    with_server(settings(certificates), handler, scenario)


def test_the_end_of_stdin_passes_through_tls_and_output_goes_on(certificates: Path) -> None:
    """`docker --tlsverify run -i` ends stdin by close_notify and then waits for the output."""

    async def shout(duplex: Duplex) -> None:
        while data := await duplex.read():
            await duplex.write(data.upper())
        await duplex.write(b"!")

    async def handler(request: Request) -> Answer:
        return Hijack(101, {"Connection": "Upgrade", "Upgrade": "tcp"}, shout)

    def talk(port: int) -> bytes:
        import socket

        context = client_context(certificates, "client")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        received = b""
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.settimeout(10)

            def step(call: Callable[[], bytes | None]) -> bytes | None:
                while True:
                    try:
                        result = call()
                    except ssl.SSLWantReadError:
                        sock.sendall(outgoing.read())
                        data = sock.recv(65536)
                        incoming.write(data) if data else incoming.write_eof()
                        continue
                    except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                        return b""
                    sock.sendall(outgoing.read())
                    return result

            step(tls.do_handshake)
            tls.write(b"POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello")
            with pytest.raises(ssl.SSLWantReadError):
                tls.unwrap()  # close_notify: our half is over, theirs is not
            sock.sendall(outgoing.read())
            while data := step(lambda: tls.read(65536)):
                received += data
        return received

    async def scenario(port: int) -> None:
        assert (await asyncio.to_thread(talk, port)).endswith(b"\r\n\r\nHELLO!")

    with_server(settings(certificates), handler, scenario)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"tlscert": "/nowhere.pem"}, "tlscert: No such file"),
        ({"tlskey": "/nowhere.pem"}, "tlskey: No such file"),
        ({"tlscacert": "/dev/null"}, "tlscacert: it holds no certificate"),
    ],
)
def test_files_that_do_not_fit_are_named(certificates: Path, changed: dict[str, str], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        settings(certificates, **changed)


def test_a_key_of_another_certificate_is_named(certificates: Path) -> None:
    with pytest.raises(ConfigError, match="no pair"):
        settings(certificates, tlskey=str(certificates / "client.key"))
