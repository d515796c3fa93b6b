"""As `docker.models`."""

from . import containers  # noqa: F401
