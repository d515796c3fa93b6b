"""Every message class by its official name, made on first use.

    from riverport.kafka.wire import messages as m
    m.ProduceRequest(acks=-1, timeout_ms=30_000, topic_data=[m.ProduceRequest.TopicProduceData(name="orders")])

Field names are the official ones in snake case. Structs nested in a message hang off its class. `messages.pyi` is
generated from the table (`python -m riverport.kafka.wire.stubs`) so that a type checker knows every field.
"""

from typing import Any

from riverport.kafka.wire import classes, schema


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        message = schema.parse_message(name)
    except KeyError:
        raise AttributeError(f"the protocol has no message named {name}") from None
    cls = classes.make_classes(message)
    classes.register(cls)
    globals()[name] = cls
    return cls


def __dir__() -> list[str]:
    return sorted(schema.blocks())
