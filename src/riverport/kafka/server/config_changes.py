"""AlterConfigs and IncrementalAlterConfigs on their way: checked by the broker, decided by the controller.

A broker looks first: it knows what it can change while it runs, and log levels are its own (KIP-412). What is left is
the active controller's to decide, here or on the node that has the role.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from riverport.kafka.admin.alter import Altered, Verdict, check_on_broker
from riverport.kafka.admin.resources import ResourceType
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.server import log_levels
from riverport.kafka.server.futures import mapped
from riverport.kafka.server.request import Request
from riverport.kafka.wire.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from riverport.kafka.server.broker import Broker

Answer = Callable[[Sequence[Altered], Sequence[ApiError | None]], Any]
"""Makes the response from the resources and what became of each."""


def change(
    broker: "Broker", request: Request, altered: Sequence[Altered], answer: Answer
) -> Any | asyncio.Future[Any]:
    """The response to a request that alters configurations, or a future of it."""
    if request.connection.listener.dispatch.kind == "controller":
        verdicts = _verdicts_on_controller(broker, altered)
    else:
        verdicts = check_on_broker(broker.configs, altered)
    if not request.body.validate_only:
        for verdict in verdicts:
            log_levels.change(verdict.levels or {})
    asked = [at for at, verdict in enumerate(verdicts) if verdict.is_open]
    if not asked:
        return answer(altered, [verdict.error for verdict in verdicts])

    def whole(decided: Sequence[ApiError | None]) -> Any:
        errors = [verdict.error for verdict in verdicts]
        for at, error in zip(asked, decided, strict=True):
            errors[at] = error
        return answer(altered, errors)

    if not broker.metadata.is_active and request.connection.listener.dispatch.kind == "broker":
        return _forwarded(broker, request, asked, whole)

    def decide() -> Outcome:
        errors, records = broker.config_decisions.alter([altered[at] for at in asked])
        return Outcome(whole(errors), [] if request.body.validate_only else records)

    return broker.metadata.submit_operation(decide)


def _verdicts_on_controller(broker: "Broker", altered: Sequence[Altered]) -> list[Verdict]:
    """A controller that is asked itself has log levels of its own; all else is decided."""
    verdicts = []
    for one in altered:
        mine = one.resource.kind is ResourceType.BROKER_LOGGER and not one.whole
        verdicts.append(check_on_broker(broker.configs, [one])[0] if mine else Verdict())
    return verdicts


def _forwarded(
    broker: "Broker", request: Request, asked: Sequence[int], whole: Callable[[Sequence[ApiError | None]], Any]
) -> asyncio.Future[Any]:
    body = request.body
    rest = type(body)(resources=[body.resources[at] for at in asked], validate_only=body.validate_only)
    keys = [(resource.resource_type, resource.resource_name) for resource in rest.resources]

    def opened(response: Any) -> Any:
        lines = {(line.resource_type, line.resource_name): line for line in response.responses}
        return whole([_error_of(lines[key]) for key in keys])

    return mapped(broker.channel.forward(request, rest), opened)


def _error_of(line: Any) -> ApiError | None:
    return ApiError(ErrorCode(line.error_code), line.error_message) if line.error_code else None
