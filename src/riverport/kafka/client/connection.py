"""One socket to one broker: requests are pipelined, answers find their request by its correlation id.

The versions that a broker has are asked for once, when the connection is opened (ApiVersions, KIP-511); each request
then goes in the highest version that both sides have, or in the one the caller names.
"""

import asyncio
import os
import struct
from typing import Any, Protocol, TypeVar, cast

import riverport
from riverport.kafka.client.errors import ClientError, Disconnected, TimedOut, Unreachable, Unsupported
from riverport.kafka.wire import codec, frame
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.api import ApiKey, apis
from riverport.kafka.wire.classes import StructBase
from riverport.kafka.wire.errors import ErrorCode, WireError

MAX_IN_FLIGHT = 64
"""Requests of one connection that wait for their answers; the next `request` waits."""
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
"""A larger answer is taken for damage, and ends the connection."""
RECEIVE_BUFFER = 32 * 1024
"""Bytes that one connection has for what it receives. Answers above that, those with records, are received in place."""
API_VERSIONS_FIRST = 4
"""The version in which a broker is asked what it speaks; an older one answers in version 0 what it has."""

_SIZE = struct.Struct(">i")
Answer = TypeVar("Answer")


class Awaited(Protocol):
    """Who waits for an answer: a future, or something that is quicker to tell."""

    def done(self) -> bool: ...

    def set_result(self, result: Any, /) -> None: ...

    def set_exception(self, error: Exception, /) -> None: ...


class _Pending:
    """A request on its way."""

    __slots__ = ("api_key", "future", "version")

    def __init__(self, api_key: int, version: int, future: Awaited) -> None:
        self.api_key = api_key
        self.version = version
        self.future = future


class Connection(asyncio.BufferedProtocol):
    """Made by `Connection.open`."""

    def __init__(self, address: str, client_id: str | None) -> None:
        self.address = address
        self.client_id = client_id
        self.versions: dict[int, tuple[int, int]] = {}  # what the broker has, by API key
        self.features: Any = None  # the ApiVersionsResponse that `versions` came from
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._pending: dict[int, _Pending] = {}
        self._next_id = 0
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._view = memoryview(bytearray(RECEIVE_BUFFER))
        self._end = 0  # of what is received and not read yet
        self._large: memoryview | None = None  # an answer that is larger than the buffer
        self._large_filled = 0
        self._recycles = False
        self._lent: list[bytearray] = []  # buffers of answers since the last `recycle`
        self._spare: bytearray | None = None
        self._lost: str = "closed"

    @classmethod
    async def open(
        cls, host: str, port: int, *, client_id: str | None = "riverport", timeout_ms: float = 10_000
    ) -> "Connection":
        """Connect and learn the broker's versions. Raises Unreachable."""
        address = f"{host}:{port}"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                _, connection = await loop.create_connection(lambda: cls(address, client_id), host, port)
                await connection.negotiate(timeout_ms)
        except TimeoutError as error:
            raise Unreachable([address], f"no answer within {timeout_ms:.0f} ms") from error
        except OSError as error:
            # asyncio words it "Connect call failed"; the system's own word says more.
            cause = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise Unreachable([address], cause or str(error)) from error
        except (Disconnected, TimedOut) as error:
            raise Unreachable([address], f"connected, but it does not speak Kafka's protocol ({error})") from error
        return connection

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._lose("closed by us")

    def abort(self) -> None:
        """End it at once; what is still to be sent is dropped."""
        self._abort("closed by us")

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- requests

    async def request(
        self, body: Any, *, version: int | None = None, most: int | None = None, timeout_ms: float = 30_000
    ) -> Any:
        """Send a request and wait for its answer: the response message of the same API.

        It goes in `version`, or else in the highest one that both sides have and that is not above `most`. A Produce
        request with acks=0 has no answer: None. Raises Disconnected, TimedOut or Unsupported.
        """
        api_key = body._message.key
        if version is None:
            version = self.version_for(api_key, most)
        await self._slots.acquire()
        try:
            return await self._exchange(api_key, version, body, timeout_ms)
        finally:
            self._slots.release()

    def version_for(self, api_key: int, most: int | None = None) -> int:
        """The highest version that both sides have, not above `most`. Raises Unsupported."""
        api = apis()[api_key]
        if api_key not in self.versions:
            raise Unsupported(f"{self.address} does not have the API {api.name}")
        low, high = self.versions[api_key]
        # Produce v0-2 are advertised by brokers that do not have them: what we have bounds both ends.
        highest = min(high, api.stable_high if most is None else min(most, api.stable_high))
        if highest < max(low, api.versions.low):
            raise Unsupported(
                f"{self.address} has {api.name} in versions {low} to {high}, we have {api.versions.low} to {highest}"
            )
        return highest

    async def negotiate(self, timeout_ms: float = 10_000) -> None:
        """Ask what the broker speaks, and in a version that it has if the first is too new for it."""
        request = m.ApiVersionsRequest(client_software_name="riverport", client_software_version=riverport.__version__)
        answer = await self.request(request, version=API_VERSIONS_FIRST, timeout_ms=timeout_ms)
        if answer.error_code == ErrorCode.UNSUPPORTED_VERSION:
            theirs = {key.api_key: key.max_version for key in answer.api_keys}.get(ApiKey.API_VERSIONS, 0)
            version = min(theirs, API_VERSIONS_FIRST)
            answer = await self.request(request, version=version, timeout_ms=timeout_ms)
        if answer.error_code:
            raise Disconnected(f"{self.address} answered ApiVersions with error {answer.error_code}")
        self.versions = {key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
        self.features = answer

    def post(self, body: Any, *, version: int | None = None) -> "asyncio.Future[Any]":
        """Send a request at once; its answer comes as the future's result, as `request` returns it, without a limit.

        Raises Disconnected, Unsupported or ClientError for what cannot be sent.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.post_for(future, body, version=version)
        return future

    def post_for(self, future: Awaited, body: Any, *, version: int | None = None) -> None:
        """As `post`, with something that is told of the answer where it arrives, not on the loop's next turn."""
        api_key = body._message.key
        if version is None:
            version = self.version_for(api_key)
        if self.closed or self._transport is None:
            raise Disconnected(f"{self.address}: {self._lost}")
        self._next_id = self._next_id + 1 & 0x7FFFFFFF
        correlation_id = self._next_id
        try:
            parts = codec.encode_parts(body, version)
        except WireError as error:
            raise ClientError(str(error)) from error
        head = frame.request_head(api_key, version, correlation_id, self.client_id, sum(map(len, parts)))
        if api_key != ApiKey.PRODUCE or body.acks != 0:
            self._pending[correlation_id] = _Pending(api_key, version, future)
        else:
            future.set_result(None)
        self._transport.writelines([head, *parts])

    def recycle(self) -> None:
        """Nobody uses the records of any answer so far: their memory is free for the next.

        Fresh memory costs 0.2 ms a megabyte, as much as writing it to a file. What is not used again at once is let go.
        """
        self._recycles = True
        is_receiving = self._large is not None
        self._spare = None if is_receiving or not self._lent else max(self._lent, key=len)
        self._lent = self._lent[-1:] if is_receiving else []

    async def _exchange(self, api_key: int, version: int, body: Any, timeout_ms: float) -> Any:
        future = self.post(body, version=version)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await future
        except TimeoutError as error:
            # Answers come in the order of the requests, so whatever stands behind this one would wait as long.
            reason = f"did not answer {apis()[api_key].name} within {timeout_ms:.0f} ms"
            self._abort(reason)
            raise TimedOut(f"{self.address} {reason}") from error

    # --- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport, they only behave as one.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(str(exc) if exc else "the broker closed the connection")

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._large is not None:
            return self._large[self._large_filled :]
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        large = self._large
        if large is None:
            self._end += nbytes
            self._read_frames()
            return
        self._large_filled += nbytes
        if self._large_filled == len(large):
            self._large = None
            self._answered(large)

    def _read_frames(self) -> None:
        """Every answer that is whole. One that is larger than the buffer goes on in one of its own, never copied."""
        view, end, pos = self._view, self._end, 0
        while end - pos >= 4:
            (size,) = _SIZE.unpack_from(view, pos)
            if not 4 <= size <= MAX_RESPONSE_BYTES:
                self._abort(f"the broker sent a frame of {size} bytes")
                return
            have = end - pos - 4
            if have < size:
                if size > RECEIVE_BUFFER - 4:
                    self._large, self._large_filled = self._large_buffer(size), have
                    self._large[:have] = view[pos + 4 : end]
                    pos = end
                break
            # A copy: the answer's records stay slices of it after this buffer has moved on.
            answer = memoryview(bytes(view[pos + 4 : pos + 4 + size]))
            pos += 4 + size
            if not self._answered(answer):
                return
        if pos:
            view[: end - pos] = bytes(view[pos:end])
            self._end = end - pos

    def _large_buffer(self, size: int) -> memoryview:
        spare, self._spare = self._spare, None
        if spare is None or len(spare) < size:
            spare = bytearray(size)
        if self._recycles:
            self._lent.append(spare)
        return memoryview(spare)[:size]

    def _answered(self, data: memoryview) -> bool:
        (correlation_id,) = _SIZE.unpack_from(data, 0)
        pending = self._pending.pop(correlation_id, None)
        if pending is None:
            self._abort(f"the broker answered request {correlation_id}, which was not sent")
            return False
        if pending.future.done():
            return True
        try:
            pending.future.set_result(self._decoded(pending, data))
        except WireError as error:
            self._abort(f"an answer could not be read: {error}")
            pending.future.set_exception(Disconnected(f"{self.address}: {self._lost}"))
            return False
        return True

    def _decoded(self, pending: _Pending, data: memoryview) -> StructBase:
        version = pending.version
        if pending.api_key == ApiKey.API_VERSIONS and bytes(data[4:6]) == b"\0\x23":
            version = 0  # UNSUPPORTED_VERSION comes in the oldest form, whatever was asked for
        flexible = frame.flexible_response(pending.api_key, version)
        _, pos = frame.read_response_header(data, flexible)
        return codec.decode(apis()[pending.api_key].response, version, data, pos)[0]

    def _abort(self, reason: str) -> None:
        self._lose(reason)
        if self._transport is not None:
            self._transport.abort()

    def _lose(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._lost = reason
        for pending in self._pending.values():
            if not pending.future.done():
                pending.future.set_exception(Disconnected(f"{self.address}: {reason}"))
        self._pending.clear()
