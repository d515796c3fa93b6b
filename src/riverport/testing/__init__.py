"""For the tests of programs that use Kafka: brokers inside the test process, and faults on their wire.

    with Broker() as broker:
        broker.create_topic("orders", partitions=3)
        broker.faults.add(api="Produce", nth=2, when="after", action=disconnect())
        run_the_program(broker.bootstrap)
        assert [record.value for record in broker.records("orders")] == [...]

    plugin.py         the pytest plugin, loaded by itself once riverport is installed: its fixtures
    broker.py         one broker on an event loop and thread of its own: start, stop, crash, restart
    cluster.py        several nodes that are one cluster, on one event loop: start, stop, kill, restart of each
    loop_thread.py    that thread, and what went wrong in it
    log_records.py    the records of a topic as they lie in its logs
    faults.py         which request meets which fault
    actions.py        the faults: error, delay, disconnect
    refused.py        answers that carry an error code in every place they have

`Simulation`, a whole cluster in simulated time, is of `riverport.sim`.

Importing this package imports nothing of the broker; its names are found when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from riverport.base.settings import ConfigError
    from riverport.sim.simulation import Simulation
    from riverport.testing.actions import delay, disconnect, error
    from riverport.testing.broker import Broker, BrokerError
    from riverport.testing.cluster import Cluster
    from riverport.testing.faults import Faults, Rule
    from riverport.testing.log_records import LogRecord

__all__ = [
    "Broker",
    "BrokerError",
    "Cluster",
    "ConfigError",
    "Faults",
    "LogRecord",
    "Rule",
    "Simulation",
    "delay",
    "disconnect",
    "error",
]

_HOMES = {
    "Broker": "riverport.testing.broker",
    "BrokerError": "riverport.testing.broker",
    "Cluster": "riverport.testing.cluster",
    "ConfigError": "riverport.base.settings",
    "Faults": "riverport.testing.faults",
    "LogRecord": "riverport.testing.log_records",
    "Rule": "riverport.testing.faults",
    "Simulation": "riverport.sim.simulation",
    "delay": "riverport.testing.actions",
    "disconnect": "riverport.testing.actions",
    "error": "riverport.testing.actions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
