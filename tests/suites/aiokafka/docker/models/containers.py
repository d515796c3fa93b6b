"""As `docker.models.containers`: aiokafka names the type only."""


class Container:
    """A type to name."""
