"""Finding the keys that detach a client from a terminal, in what it types (pure).

The keys themselves never reach the container; the beginning of a sequence that comes to nothing does.
"""

from riverport.engine.errors import InvalidParameter

DEFAULT = b"\x10\x11"  # ctrl-p,ctrl-q
_SPECIAL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q`, `a,b`; raises InvalidParameter. The empty text means the default."""
    if not text:
        return DEFAULT
    keys = bytearray()
    for word in text.split(","):
        name = word.removeprefix("ctrl-")
        if word != name and len(name) == 1 and ((name.isascii() and name.isalpha()) or name in _SPECIAL):
            keys.append(_SPECIAL[name] if name in _SPECIAL else ord(name.lower()) - ord("a") + 1)
        elif len(word) == 1 and word.isascii():
            keys.append(ord(word))
        else:
            raise InvalidParameter(f"Invalid detach keys ({text}) provided")
    return bytes(keys)


class DetachFilter:
    """Feeds on input; says what of it goes on to the container, and when the client has detached."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0  # keys seen so far of the sequence, and held back
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """What goes on; nothing more once `detached`."""
        if self.detached:
            return b""
        if self._matched == 0 and self._keys[0] not in data:
            return data
        passed = bytearray()
        for byte in data:
            if byte != self._keys[self._matched]:
                passed += self._keys[: self._matched]
                self._matched = 0
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self.detached = True
                    break
            else:
                passed.append(byte)
        return bytes(passed)

    def rest(self) -> bytes:
        """What was held back, once the input has ended."""
        held, self._matched = self._keys[: self._matched], 0
        return held
