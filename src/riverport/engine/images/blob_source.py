"""A blob's bytes as they come from a registry, going on where the network broke off."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from riverport.engine.images.answers import RegistryError, RegistryUnreachable, reason
from riverport.engine.images.manifests import InvalidManifest
from riverport.engine.images.session import Session
from riverport.engine.images.tries import Tries

if TYPE_CHECKING:
    import httpx

_MAX_DIGITS: Final = 19
"""Of any length below 2**63."""

Ask = Callable[[Mapping[str, str], Tries], "AbstractContextManager[httpx.Response]"]
"""Asks for the blob with more headers; what fails in it is counted."""


class BlobSource:
    """Exactly `size` bytes, whose digest the reader compares; to be closed.

    What is asked again within one request and what is asked again as a body broke off are tries of one blob.
    """

    def __init__(self, session: Session, ask: Ask, digest: str, size: int) -> None:
        self._session = session
        self._ask = ask
        self._digest = digest
        self._size = size
        self._at = 0
        self._tries = session.tries()
        self._pieces: Iterator[bytes] = iter(())
        self._piece = memoryview(b"")
        self._open: Any = None

    def read(self, size: int) -> bytes:
        while not self._piece:
            if self._at == self._size:
                self.close()
                return b""
            piece = self._next()
            if self._at + len(piece) > self._size:
                raise self._wrong()
            self._at += len(piece)
            self._piece = memoryview(piece)
        data = bytes(self._piece[:size])
        self._piece = self._piece[size:]
        return data

    def close(self) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            opened.__exit__(None, None, None)

    def _next(self) -> bytes:
        import httpx

        while True:
            try:
                if self._open is None:
                    self._begin()
                piece = next(self._pieces, None)
                if piece is None:
                    raise RegistryUnreachable("unexpected EOF")
                self._tries.arrived(len(piece))
                return piece
            except (httpx.TransportError, httpx.StreamError, OSError, RegistryUnreachable) as error:
                self.close()
                self._session.check()
                if not self._tries.again():
                    raise RegistryUnreachable(reason(error)) from error
                self._session.pause(self._tries.pause_seconds())

    def _begin(self) -> None:
        headers = {"Range": f"bytes={self._at}-"} if self._at else {}
        opened = self._ask(headers, self._tries)
        try:
            response = opened.__enter__()
        except RegistryError as error:
            if error.answer == 416 and self._at:
                raise self._wrong() from error  # it ends where we are
            raise
        self._open = opened
        self._pieces = response.iter_raw()
        if self._at and response.status_code == 206:
            stated = response.headers.get("Content-Range", "")
            if not stated.startswith(f"bytes {self._at}-"):
                raise RegistryUnreachable(f"the registry answered with another range: {stated}")
            self._compare(stated.rpartition("/")[2])
            return
        self._compare(response.headers.get("Content-Length", ""))
        self._skip()

    def _skip(self) -> None:
        """A registry that knows no ranges begins at the beginning: what is here already goes by."""
        skipped = 0
        while skipped < self._at:
            piece = next(self._pieces, None)
            if piece is None:
                raise RegistryUnreachable("unexpected EOF")
            skipped += len(piece)
            if skipped > self._at:
                self._pieces = _chain(piece[len(piece) - (skipped - self._at) :], self._pieces)
                return

    def _compare(self, stated: str) -> None:
        """A blob of another size is another blob; asking again would not help."""
        if stated.isascii() and stated.isdigit() and (len(stated) > _MAX_DIGITS or int(stated) != self._size):
            raise self._wrong()

    def _wrong(self) -> InvalidManifest:
        return InvalidManifest(f"filesystem layer verification failed for digest {self._digest}")


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
