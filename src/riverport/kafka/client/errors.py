"""What the client raises. Each error says what was asked of whom, so that a person can act on it."""

from collections.abc import Sequence

from riverport.kafka.client.retry import is_retriable
from riverport.kafka.wire.errors import ErrorCode


class ClientError(Exception):
    """Base of everything that the client raises."""


class Unreachable(ClientError):
    """No broker could be connected to."""

    def __init__(self, addresses: Sequence[str], cause: str) -> None:
        super().__init__(f"no broker answers at {', '.join(addresses)}: {cause}")
        self.addresses = list(addresses)
        self.cause = cause


class Disconnected(ClientError):
    """The connection ended before the answer came. The request may or may not have been applied."""


class TimedOut(ClientError):
    """No answer within the time allowed. The request may or may not have been applied."""


class Unsupported(ClientError):
    """The broker does not have the API, or no version of it that we have."""


class Refused(ClientError):
    """A broker answered with an error code."""

    def __init__(self, code: int, what: str, message: str | None = None) -> None:
        self.code = ErrorCode(code) if code in ErrorCode._value2member_map_ else ErrorCode.UNKNOWN_SERVER_ERROR
        self.what = what
        self.message = message
        super().__init__(f"{what}: {self.code.name}" + (f": {message}" if message else ""))

    @property
    def retriable(self) -> bool:
        return is_retriable(self.code)


def check(code: int, what: str, message: str | None = None) -> None:
    """Raise Refused unless the code is NONE."""
    if code:
        raise Refused(code, what, message)
