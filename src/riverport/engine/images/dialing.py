"""Connections to a registry that nobody has to wait for: a name server or a host that never answers can be given up.

Looking a name up cannot be ended from outside at all, so both are done on a thread of their own. It has nothing but the
connection, which it closes if nobody wants it any more; the daemon does not wait for it when it stops.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, InvalidStateError

import httpcore
import httpx


class Dialer(httpcore.SyncBackend):
    """As the network backend of a client's connections; `abort` ends whatever is being connected, and all later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dialing: set[Future[httpcore.NetworkStream]] = set()
        self._aborted = False

    def serve(self, client: httpx.Client) -> None:
        """Make all connections of a client, to proxies as well."""
        for transport in (client._transport, *client._mounts.values()):
            if isinstance(transport, httpx.HTTPTransport):
                # httpx has no parameter for what its pool of connections takes.
                transport._pool._network_backend = self

    def abort(self) -> None:
        """From any thread."""
        with self._lock:
            self._aborted = True
            dialing = list(self._dialing)
        for future in dialing:
            future.cancel()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        connected: Future[httpcore.NetworkStream] = Future()
        connect = super().connect_tcp

        def dial() -> None:
            try:
                stream = connect(host, port, timeout, local_address, socket_options)
            except Exception as error:
                _settle(connected, error)
            else:
                _settle(connected, stream)

        with self._lock:
            if self._aborted:
                raise httpcore.ConnectError("given up")
            self._dialing.add(connected)
        try:
            threading.Thread(target=dial, name=f"dial {host}:{port}", daemon=True).start()
            return connected.result()
        except CancelledError as error:
            raise httpcore.ConnectError("given up") from error
        finally:
            with self._lock:
                self._dialing.discard(connected)


def _settle(connected: "Future[httpcore.NetworkStream]", outcome: httpcore.NetworkStream | Exception) -> None:
    try:
        if isinstance(outcome, Exception):
            connected.set_exception(outcome)
        else:
            connected.set_result(outcome)
    except InvalidStateError:  # given up
        if isinstance(outcome, httpcore.NetworkStream):
            outcome.close()
