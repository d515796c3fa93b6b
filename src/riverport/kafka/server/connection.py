"""One client's connection: bytes in, frames, requests, answers out in the order of the requests.

A request that can be answered at once is answered inside `buffer_updated`; all answers of one read leave in one write.
A handler that returns a future blocks the connection until it is done, as Apache Kafka's muted channels do, with one
exception: Produce requests behind a waiting Produce are started (their order in the log is their order on the wire),
and their answers wait for their turn.

Small frames are parsed where they were received: in a buffer that all connections share, since what is received is
parsed before anybody else receives. Only a connection with a part of a request, or with requests that have to wait, has
a buffer of its own. A frame larger than that gets one of its own size, taken from the server's memory budget, and is
received straight into it; nothing is copied on the way to the log.

Everything is bounded: the receive buffer, a frame (`socket.request.max.bytes`), all large frames together (the budget),
started requests (MAX_STARTED), and answers that a slow reader has not taken (WRITE_HIGH_WATER, then no further request
is started).
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from riverport.base.files import FileSlice, StorageError
from riverport.base.logging import get_logger
from riverport.kafka.server.request import Request
from riverport.kafka.server.slice_sender import SliceSender
from riverport.kafka.wire.api import ApiKey
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.frame import read_request_header

if TYPE_CHECKING:
    from riverport.kafka.server.dispatch import Operation
    from riverport.kafka.server.listener import Listener

log = get_logger(__name__)

RECEIVE_BUFFER = 64 * 1024
"""Bytes of a receive buffer; frames up to this size are parsed in place."""
MAX_STARTED = 32
"""Most requests of one connection whose answers are not sent yet."""
WRITE_HIGH_WATER = 4 * 1024 * 1024
"""Bytes of unsent answers from which on no further request of the connection is started."""
JOIN_BYTES = 64 * 1024
"""Answers of less are written as one chunk: queueing a chunk takes longer than copying that much."""
LINGER_SECONDS = 30.0
"""How long a client that has stopped sending may wait for its answers."""

_SIZE = struct.Struct(">i")
_PRODUCE = 0
_PENDING = -1


LATER = b""
"""What a lane says that has taken a request with `defer`, and answers it with `deliver`."""


class Started:
    """A request whose answer is not sent: `parts` is None until it is there."""

    __slots__ = ("api_key", "future", "hurry", "parts")

    def __init__(self, api_key: int, future: "asyncio.Future[Any] | None" = None) -> None:
        self.api_key = api_key
        self.future = future
        self.hurry: Callable[[], None] | None = None
        self.parts: Sequence[Any] | None = None


class Connection(asyncio.BufferedProtocol):
    """The protocol object of one accepted socket."""

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener
        self.server = listener.server
        self._lanes = listener.dispatch.lanes
        self.peer_host = "?"
        self.peer_port = 0
        self.principal_type = "User"
        self.principal_name = "ANONYMOUS"
        self.last_active_ms = 0.0
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._buffer = self.server.receive_buffer  # shared, or our own while a part of a request is in it
        self._view = self.server.receive_view
        self._start = 0  # of the bytes in the buffer that are not parsed yet
        self._end = 0
        self._large: memoryview | None = None  # a frame that outgrew the buffer
        self._large_filled = 0
        self._started: deque[Started] = deque()
        self._out: list[Any] = []  # chunks of answers to be written when this turn of reading ends
        self._out_bytes = 0
        self._out_has_slices = False
        self._sender: SliceSender | None = None  # from the first answer on that holds a slice of a file
        self._draining = False
        self._write_paused = False
        self._read_paused = False
        self._held = False  # not let in yet
        self._ended = False  # the client sends no more
        self._linger: asyncio.TimerHandle | None = None
        self._doomed = False  # no further request is started, and once the last is answered it is closed

    # --- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport, they only behave as one.
        self._transport = cast(asyncio.Transport, transport)
        transport = self._transport
        peer = transport.get_extra_info("peername")
        if peer:
            self.peer_host, self.peer_port = peer[0], peer[1]
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.last_active_ms = self.server.now_ms()
        self.listener.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._linger is not None:
            self._linger.cancel()
        self._release_large()
        for started in self._started:
            if started.api_key == ApiKey.FETCH and started.future is not None:
                # Nobody is left who waits for data. Other requests do something, and go on doing it.
                started.future.cancel()
        self._started.clear()
        self._out.clear()
        if self._sender is not None:
            self._sender.close()
        self.listener.closed(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._large is not None:
            return self._large[self._large_filled :]
        return self._view[self._end :] if self._end else self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.last_active_ms = self.server.now_ms()
        if self._large is not None:
            self._large_filled += nbytes
            if self._large_filled < len(self._large):
                return  # nothing starts before it is whole, and it comes in up to a hundred pieces
        else:
            self._end += nbytes
        self._drain()

    def eof_received(self) -> bool:
        """Who sends no more is still answered, for a while: we cannot tell it from who has gone altogether."""
        if not self._started:
            return False
        self._ended = True
        self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.close)
        self._throttle_reading()
        return True

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self.last_active_ms = self.server.now_ms()
        self._drain()

    # --- for the listener and handlers

    @property
    def has_ended(self) -> bool:
        """The client has gone, or sends nothing more: what takes long need not be begun again for it."""
        return self.closed or self._ended

    def close(self) -> None:
        """Close at once; answers that are not sent are dropped."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """Close once all that was started is answered and sent; what is received from now on is ignored."""
        self._doomed = True
        if not self._draining:
            self._drain()

    def hold(self) -> None:
        """Start no request until `welcome`."""
        self._held = True
        # Not at once: while it tells us of the connection, uvloop has not begun to read, and could not be stopped.
        asyncio.get_running_loop().call_soon(self._throttle_reading)

    def welcome(self) -> None:
        if self._held:
            self._held = False
            self._drain()

    def defer(self, api_key: int) -> Started:
        """A place in the order of the answers, for one that `deliver` brings."""
        started = Started(api_key)
        self._started.append(started)
        return started

    def deliver(self, started: Started, parts: Sequence[Any]) -> None:
        """The answer to a request that was started before. No other request starts before the loop's next turn."""
        if self.closed:
            return
        started.parts = parts
        self.last_active_ms = self.server.now_ms()
        while self._started and (parts_ := self._started[0].parts) is not None:
            self._started.popleft()
            self._put_out(parts_)
        self._flush()
        if self._end or self._large is not None or self._read_paused or self._doomed or self._ended:
            asyncio.get_running_loop().call_soon(self._drain)

    @property
    def is_idle(self) -> bool:
        return not self._started and not self._is_sending

    @property
    def has_large(self) -> bool:
        """Whether it has a share of the memory budget."""
        return self._large is not None

    # --- reading

    def _drain(self) -> None:
        """Start every request that is whole and may start, then write what is answered."""
        if self._draining:
            return
        self._draining = True
        try:
            while not self.closed and not self._doomed and not self._held and self._next_frame():
                pass
        except WireError as error:
            log.info("connection closed for what it sent", peer=self.peer_host, port=self.peer_port, error=error)
            self._doomed = True
        finally:
            self._draining = False
            self._settle()
        self._flush()
        if (self._doomed or self._ended) and self.is_idle and not self.closed and self._transport is not None:
            self.closed = True
            self._transport.close()  # once what was written is sent
            return
        self._throttle_reading()

    def _next_frame(self) -> bool:
        """Process one frame; False when there is none that may be processed now."""
        if self._large is not None:
            if self._large_filled < len(self._large) or not self._may_start(self._large[0] << 8 | self._large[1]):
                return False
            self._process(self._large, 0, len(self._large))
            self._release_large()
            return True
        start, available = self._start, self._end - self._start
        if available < 4:
            if available:
                self._make_room()
            return False
        (size,) = _SIZE.unpack_from(self._buffer, start)
        if size <= 0 or size > self.server.max_request_bytes:
            raise WireError(f"a frame of {size} bytes, allowed are 1 to {self.server.max_request_bytes}")
        if available - 4 < size:
            if size > RECEIVE_BUFFER - 4:
                self._begin_large(size)
            else:
                self._make_room()
            return False
        if size >= 2 and not self._may_start(self._buffer[start + 4] << 8 | self._buffer[start + 5]):
            return False
        self._start = start + 4 + size
        self._process(self._view, start + 4, start + 4 + size)
        return True

    def _settle(self) -> None:
        """Leave the shared buffer to the next connection; what is not parsed yet is kept in one of our own."""
        if self._start == self._end:
            self._start = self._end = 0
            self._buffer, self._view = self.server.receive_buffer, self.server.receive_view
        elif self._buffer is self.server.receive_buffer:
            own, left = bytearray(RECEIVE_BUFFER), self._end - self._start
            own[:left] = self._view[self._start : self._end]
            self._buffer, self._view = own, memoryview(own)
            self._start, self._end = 0, left

    def _make_room(self) -> None:
        """Move a partial frame to the front when the rest of the buffer could not hold it."""
        if self._start and RECEIVE_BUFFER - self._end < RECEIVE_BUFFER // 2:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left

    def _begin_large(self, size: int) -> None:
        if not self.server.budget.take(size):
            # Not an error of this client: wait until others' frames are done.
            self.server.budget.wait(self)
            return
        frame = self.server.frame_buffer(size)
        have = self._end - self._start - 4
        frame[:have] = self._buffer[self._start + 4 : self._end]
        self._large, self._large_filled = frame, have
        self._start = self._end = 0

    def _release_large(self) -> None:
        if self._large is not None:
            self.server.budget.give(len(self._large))
            self.server.frame_done(self._large)
            self._large = None

    def budget_available(self) -> None:
        """Called by the memory budget when a wait is over."""
        if not self.closed:
            self._drain()

    def _may_start(self, api_key: int) -> bool:
        if self._write_paused:
            return False
        if not self._started:
            return True
        last = self._started[-1]
        if last.hurry is not None:
            hurry, last.hurry = last.hurry, None
            hurry()
            if not self._started:
                return True
        # Apache Kafka starts a connection's next request when the last is answered. Produce behind Produce may
        # overtake nothing: both are appended in order, and only their acknowledgement waits.
        return api_key == _PRODUCE and self._started[-1].api_key == _PRODUCE and len(self._started) < MAX_STARTED

    def _throttle_reading(self) -> None:
        """Stop reading when the buffer is full of requests that may not start yet, or when nothing more is to come."""
        if self.closed or self._transport is None:
            return
        if (
            self._end == 0
            and self._large is None
            and not (self._read_paused or self._held or self._doomed or self._ended)
        ):
            return  # nothing is left, as nearly always
        if self._large is not None:
            full = self._large_filled == len(self._large)
        else:
            full = self._start == 0 and self._end == RECEIVE_BUFFER
            if self._end == RECEIVE_BUFFER and self._start:
                self._make_room()
        full = full or self._held or self._doomed or self._ended
        if full != self._read_paused:
            self._read_paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # --- one request

    def _process(self, buffer: memoryview, start: int, stop: int) -> None:
        lane = self._lanes.get(buffer[start + 1]) if stop - start > 1 and not buffer[start] else None
        if lane is not None:
            answer = lane.serve(buffer, start, stop, self)
            if answer is not None:
                if answer is not LATER:
                    self._answer([answer])
                return
        frame = buffer[start:stop]
        header, pos = read_request_header(frame)
        operation = self.listener.dispatch.operation(header.api_key, header.api_version)
        if operation is None:
            raise WireError(f"API {header.api_key} version {header.api_version} is not served on this listener")
        body = operation.decode_body(frame, pos)
        request = Request(
            header.api_key,
            header.api_version,
            header.correlation_id,
            header.client_id,
            body,
            self,
            self.last_active_ms,
        )
        result = operation.handle(request)
        if isinstance(result, asyncio.Future):
            self._wait_for(result, request, operation)
        elif result is not None:
            self._answer(operation.encode_answer(result, header.correlation_id))

    def _answer(self, parts: list[Any]) -> None:
        if self._started:
            done = Started(_PRODUCE)
            done.parts = parts
            self._started.append(done)
        else:
            self._put_out(parts)

    def _put_out(self, parts: Sequence[Any]) -> None:
        for part in parts:
            self._out_bytes += len(part)
            if type(part) is FileSlice:
                self._out_has_slices = True
        self._out += parts
        if self._out_bytes > WRITE_HIGH_WATER:
            self._flush()  # the transport may now say that this is enough for the moment

    def _wait_for(self, future: "asyncio.Future[Any]", request: Request, operation: "Operation") -> None:
        started = Started(_PENDING if request.is_pending else request.api_key, future)
        started.hurry = request.hurry
        self._started.append(started)

        def done(future: "asyncio.Future[Any]") -> None:
            if self.closed:
                if not future.cancelled():
                    future.exception()  # fetched, so that the loop does not report it as lost
                return
            try:
                result = operation.result_of(future, request)
                started.parts = [] if result is None else operation.encode_answer(result, request.correlation_id)
            except WireError:
                self.close()
                return
            self.last_active_ms = self.server.now_ms()
            while self._started and (parts := self._started[0].parts) is not None:
                self._started.popleft()
                self._put_out(parts)
            self._drain()

        future.add_done_callback(done)

    def _flush(self) -> None:
        if not self._out or self._transport is None or self.closed or self._is_sending:
            return
        out, size, has_slices = self._out, self._out_bytes, self._out_has_slices
        self._out, self._out_bytes, self._out_has_slices = [], 0, False
        if has_slices:
            self._send_slices(out)
        elif len(out) == 1:
            self._transport.write(out[0])
        elif size < JOIN_BYTES:
            self._transport.write(b"".join(out))
        else:
            self._transport.writelines(out)

    @property
    def _is_sending(self) -> bool:
        """Whether an answer with slices of files is on its way, past the transport."""
        return self._sender is not None and self._sender.is_busy

    def _send_slices(self, out: list[Any]) -> None:
        assert self._transport is not None
        try:
            if self._transport.get_write_buffer_size() or self._transport.get_extra_info("socket") is None:
                # Behind what waits there.
                self._transport.writelines([chunk.read() if type(chunk) is FileSlice else chunk for chunk in out])
                return
            if self._sender is None:
                self._sender = SliceSender(self.server.broker.loop, self._transport, self.resume_writing)
        except (StorageError, OSError) as error:
            log.error("connection closed, its answer cannot be sent", peer=self.peer_host, error=error)
            self.close()
            return
        self._sender.send(out)
        self._write_paused = self._sender.is_busy
