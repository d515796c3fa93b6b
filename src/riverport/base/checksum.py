"""CRC-32C, the checksum of record batches and producer snapshots.

The function comes from the extension module itself. The package around it looks up its own version while it is
imported, and for that loads `importlib.metadata`, `email` and forty more: a fifth of what a broker's start imports.
"""

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

Crc32c = Callable[..., int]
"""(bytes, value so far = 0) -> checksum."""


def _extension() -> Any:
    """The extension module of the crc32c package; the package where that has been loaded, or is built otherwise."""
    package = None if "crc32c" in sys.modules else PathFinder.find_spec("crc32c")
    if package is not None and package.submodule_search_locations:
        spec = PathFinder.find_spec("crc32c._crc32c", package.submodule_search_locations)
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    import crc32c

    return crc32c


crc32c: Crc32c = _extension().crc32c
