"""nftables by libnftables (libnftables(3)), in this process: 0.4 ms for an element where `nft` takes 5.

Commands are text in the language of nft(8), one transaction per call: all of it holds or none. A context belongs to the
network namespace of the thread that makes it.
"""

import ctypes
import threading
from typing import Final

_SONAME: Final = "libnftables.so.1"
_OUTPUT_HANDLES: Final = 1 << 3  # NFT_CTX_OUTPUT_HANDLE


class NftError(Exception):
    """What libnftables said."""


class NftMissing(NftError):
    """There is no libnftables on this machine (Debian: libnftables1)."""


class Nft:
    """One context; calls are serialised, because a context is not for several threads at once."""

    def __init__(self, *, handles: bool = False) -> None:
        """`handles`: what is listed has the numbers by which a rule can be deleted."""
        self._library = _load()
        self._lock = threading.Lock()
        context = self._library.nft_ctx_new(0)
        if not context:
            raise NftError("libnftables gives no context")
        self._context: int | None = context
        self._library.nft_ctx_buffer_output(context)
        self._library.nft_ctx_buffer_error(context)
        if handles:
            self._library.nft_ctx_output_set_flags(context, _OUTPUT_HANDLES)

    def __enter__(self) -> "Nft":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def run(self, commands: str) -> str:
        """What the commands print. Raises NftError; nothing of the transaction holds then."""
        with self._lock:
            assert self._context is not None, "used after close"
            failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
            output = self._library.nft_ctx_get_output_buffer(self._context) or b""
            error = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise NftError(error.decode(errors="replace").strip() or "nft failed without a word")
        return bytes(output).decode(errors="replace")


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_SONAME)
    except OSError as error:
        raise NftMissing(f"published ports and networks need {_SONAME} (Debian: libnftables1)") from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_free.restype = None
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library
