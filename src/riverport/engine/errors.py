"""What the engine answers instead of a result: an HTTP status and Docker's own words.

The texts are part of the interface: the docker CLI takes its exit code from them ("executable file not found" is 127,
"permission denied" 126, anything else 125).
"""


class EngineError(Exception):
    """The base; `status` is the HTTP status of the answer, `str(error)` its message."""

    status = 500


class InvalidParameter(EngineError):
    status = 400


class Unauthorized(EngineError):
    status = 401


class Forbidden(EngineError):
    status = 403


class NotFound(EngineError):
    status = 404


class Conflict(EngineError):
    status = 409


class NotModified(EngineError):
    """It is so already (start of what runs, stop of what stands); the answer has no body."""

    status = 304


class SystemFailure(EngineError):
    """The machine refused: no space, a mount that fails, a runtime that breaks."""

    status = 500


class Unsupported(EngineError):
    status = 501


class Unavailable(EngineError):
    status = 503
