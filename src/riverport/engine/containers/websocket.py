"""A websocket over a hijacked connection (RFC 6455; frames by wsproto), with the interface of the connection itself."""

import base64
import hashlib
from collections import deque

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode

from riverport.base.http.messages import Duplex, Headers
from riverport.engine.errors import InvalidParameter

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"


def accept_headers(headers: Headers) -> dict[str, str]:
    """What a handshake is answered with (RFC 6455, section 4.2.2). Raises InvalidParameter for what is none."""
    key = headers.get("Sec-WebSocket-Key")
    if not headers.has_token("Upgrade", "websocket") or not key or headers.get("Sec-WebSocket-Version") != _VERSION:
        raise InvalidParameter("not a websocket handshake")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    return {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Accept": accept}


class WebSocket:
    """Sends binary messages; takes messages of any kind as bytes."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._frames = FrameProtocol(client=False, extensions=[])
        self._received: deque[bytes] = deque()
        self._closed = False

    async def read(self, limit: int = 65536, /) -> bytes:
        while not self._received:
            if self._closed:
                return b""
            data = await self._duplex.read(limit)
            if not data:
                self._closed = True
                return b""
            self._frames.receive_bytes(data)
            for frame in self._frames.received_frames():
                await self._take(frame.opcode, frame.payload)
        piece = self._received.popleft()
        if len(piece) > limit:
            self._received.appendleft(piece[limit:])
        return piece[:limit]

    async def _take(self, opcode: Opcode, payload: bytes | bytearray | str | tuple[int, str]) -> None:
        match opcode:
            case Opcode.PING:
                assert isinstance(payload, bytes | bytearray)
                await self._duplex.write(self._frames.pong(bytes(payload)))
            case Opcode.CLOSE:
                self._closed = True
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONTINUATION:
                assert isinstance(payload, bytes | bytearray | str)
                data = payload.encode() if isinstance(payload, str) else bytes(payload)
                if data:
                    self._received.append(data)

    async def write(self, data: bytes | bytearray | memoryview, /) -> None:
        await self._duplex.write(self._frames.send_data(bytes(data), fin=True))

    async def write_eof(self) -> None:
        await self._duplex.write(self._frames.close(CloseReason.NORMAL_CLOSURE))

    def close(self) -> None:
        self._duplex.close()
