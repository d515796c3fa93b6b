"""A daemon as a process: its listeners, the signals it obeys, and how others learn that it is ready."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from riverport.base.http.server import Listener, OpenListener, Server, TcpListener, UnixListener, serve
from riverport.base.logging import configure, get_logger
from riverport.base.settings import ConfigError
from riverport.engine.api.service import Service
from riverport.engine.daemon import Engine
from riverport.engine.errors import EngineError
from riverport.engine.settings import Settings
from riverport.engine.settings_sources import Sources
from riverport.engine.settings_table import split_host
from riverport.engine.tls import server_context

if TYPE_CHECKING:
    import ssl

log = get_logger(__name__)

_FIRST_PASSED: Final = 3
"""The first descriptor that systemd passes (sd_listen_fds(3))."""

_LEVELS: Final = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR", "fatal": "CRITICAL"}

Ready = Callable[[Sequence[str]], None]


def run(sources: Sources, ready: Ready | None = None) -> int:
    """Serve until a signal ends it. `ready(hosts)` is called once clients are answered. Raises ConfigError, OSError."""
    settings = sources.load()
    configure(_LEVELS[settings.log_level])
    tls = server_context(settings)
    runner = asyncio.Runner(loop_factory=_new_loop)
    with runner:
        return runner.run(_serve(settings, sources, tls, ready))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _serve(settings: Settings, sources: Sources, tls: "ssl.SSLContext | None", ready: Ready | None) -> int:
    ending = _end_on_signals()
    reload = _Reload(sources)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    engine = Engine(settings)
    try:
        await engine.start()
        reload.engine = engine
        server = await serve(Service(engine), _listeners(settings, tls))
        with _pidfile(settings.pidfile):
            hosts = _hosts(server)
            log.info("engine is ready", hosts=",".join(hosts), data_root=settings.data_root)
            _notify("READY=1")
            if ready is not None:
                ready(hosts)
            clearing = asyncio.create_task(engine.clear_away())
            await ending.wait()
            await asyncio.wait({clearing})
            _notify("STOPPING=1")
            log.info("engine stops")
            await server.close(grace_s=2.0)
    finally:
        await engine.stop()
    return 0


def _end_on_signals() -> asyncio.Event:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    return ending


class _Reload:
    """SIGHUP: the settings are read anew. What is wrong with them is logged, and nothing changes.

    While the engine starts there is nothing to change: the settings were read a moment ago.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.engine: Engine | None = None

    def __call__(self) -> None:
        if self.engine is None:
            return
        try:
            self.engine.reload(self._sources.load())
        except (ConfigError, EngineError) as error:
            log.error("settings are not reloaded", error=error)
            return
        configure(_LEVELS[self.engine.settings.log_level])
        log.info("settings are reloaded", file=self._sources.file or "")


def _listeners(settings: Settings, tls: "ssl.SSLContext | None") -> list[Listener]:
    found: list[Listener] = []
    for host in settings.hosts:
        scheme, rest = split_host(host)
        if scheme == "unix":
            path = Path(rest)
            path.parent.mkdir(parents=True, exist_ok=True)
            group = _group(settings.group)
            found.append(UnixListener(path, 0o660 if group is not None else 0o600, group))
        elif scheme == "tcp":
            address, _, port = rest.rpartition(":")
            if tls is None and not address.startswith("127.") and address not in ("localhost", "::1"):
                log.warning("anyone who reaches this host is root here; use --tlsverify", host=host)
            found.append(TcpListener(address, int(port), tls))
        else:
            found += [OpenListener(sock, tls if sock.family != socket.AF_UNIX else None) for sock in _passed()]
    return found


def _group(name: str) -> int | None:
    """None for a group that does not exist: then the socket is root's alone."""
    import grp

    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _passed() -> list[socket.socket]:
    """The sockets of a systemd socket unit. Raises ConfigError if there are none."""
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    if not count:
        raise ConfigError("Invalid value fd:// for configuration hosts: no sockets were passed by systemd (LISTEN_FDS)")
    return [socket.socket(fileno=_FIRST_PASSED + number) for number in range(count)]


def _hosts(server: Server) -> list[str]:
    """What clients put into DOCKER_HOST; a TCP port 0 has become a number."""
    return [f"unix://{at}" if isinstance(at, str) else f"tcp://{_bracketed(at[0])}:{at[1]}" for at in server.addresses]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _pidfile(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    path.write_text(f"{os.getpid()}\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing if it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())
