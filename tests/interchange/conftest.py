"""Apache Kafka's jars, as for the clients' tests."""

from tests.clients.conftest import jars

__all__ = ["jars"]
