"""What a fault does to a request: an error for its answer, a delay, the end of its connection."""

import asyncio
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Protocol

from riverport.kafka.server.request import Request
from riverport.kafka.wire.api import Api, ApiKey
from riverport.kafka.wire.errors import ApiError, ErrorCode
from riverport.testing.refused import refused

Apply = Callable[[], Any]
"""Applies the request: the answer, a future of it, or None where there is none (acks=0)."""


class Action(Protocol):
    def strike(self, request: Request, api: Api, apply: Apply, *, after: bool) -> Any:
        """What the request is answered with; in the broker's thread. `after`: once it is applied."""
        ...


def error(code: str | int, message: str | None = None) -> Action:
    """Answer with an error: its name ("NOT_LEADER_OR_FOLLOWER") or code. Raises ValueError.

    The code stands in every place that Kafka's answer has for it: each partition of a Produce or Fetch, each topic.
    A Produce request with acks=0 has no answer; its connection is closed, as a broker does that cannot serve it.
    """
    return _Error(_code(code), message)


def delay(ms: float) -> Action:
    """Apply the request (or, after it, answer) that much later. Later requests of the connection keep their order."""
    if ms < 0:
        raise ValueError(f"a delay of {ms} ms")
    return _Delay(ms)


def disconnect() -> Action:
    """Close the connection instead of answering; answers to earlier requests are sent before."""
    return _Disconnect()


def _code(code: str | int) -> ErrorCode:
    if isinstance(code, str):
        if code in ErrorCode.__members__:
            return ErrorCode[code]
        nearest = get_close_matches(code.upper(), ErrorCode.__members__, 1, 0.5)
        raise ValueError(f"there is no error {code!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""))
    if code == ErrorCode.NONE:
        raise ValueError("error code 0 is no error")
    return ErrorCode(code)


class _Error:
    def __init__(self, code: ErrorCode, message: str | None) -> None:
        self._error = ApiError(code, message)

    def strike(self, request: Request, api: Api, apply: Apply, *, after: bool) -> Any:
        if not after:
            return self._answer(request, api)
        return then(apply(), lambda _: self._answer(request, api))

    def _answer(self, request: Request, api: Api) -> Any:
        if _has_no_answer(request):
            request.connection.finish()
            return None
        return refused(request, api, self._error)

    def __repr__(self) -> str:
        return f"error({self._error.code.name!r})"


class _Delay:
    def __init__(self, ms: float) -> None:
        self._ms = ms

    def strike(self, request: Request, api: Api, apply: Apply, *, after: bool) -> Any:
        if after:
            return then(apply(), self._later)
        keep_records(request)
        # Nothing behind this request may be applied before it.
        request.is_pending = True
        waited: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._later(None).add_done_callback(lambda _: _settle(waited, apply))
        return waited

    def _later(self, answer: Any) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        loop.call_later(self._ms / 1000, _resolve, future, answer)
        return future

    def __repr__(self) -> str:
        return f"delay({self._ms:g})"


class _Disconnect:
    def strike(self, request: Request, api: Api, apply: Apply, *, after: bool) -> Any:
        def cut(_: Any) -> None:
            request.connection.finish()

        return then(apply(), cut) if after else cut(None)

    def __repr__(self) -> str:
        return "disconnect()"


def then(answer: Any, change: Callable[[Any], Any]) -> Any:
    """`change` of an answer, now or once it is there; it may give a future itself. What failed stays failed."""
    if not isinstance(answer, asyncio.Future):
        return change(answer)
    changed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answer.add_done_callback(lambda done: _settle(changed, lambda: change(done.result())))
    return changed


def keep_records(request: Request) -> None:
    """Copy the records of a request: they lie in the receive buffer, which does not wait for us."""
    if request.api_key == ApiKey.PRODUCE:
        for topic in request.body.topic_data:
            for partition in topic.partition_data:
                if partition.records is not None:
                    # The log patches offsets in place, so the copy has to be writable.
                    partition.records = memoryview(bytearray(partition.records))


def _settle(future: "asyncio.Future[Any]", make: Callable[[], Any]) -> None:
    """Give `future` what `make` returns, once that is no future any more, or what it raises."""
    if future.done():
        return
    try:
        made = make()
    except Exception as problem:
        future.set_exception(problem)
        return
    if isinstance(made, asyncio.Future):
        made.add_done_callback(lambda done: _settle(future, done.result))
    else:
        future.set_result(made)


def _resolve(future: "asyncio.Future[Any]", answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


def _has_no_answer(request: Request) -> bool:
    return request.api_key == ApiKey.PRODUCE and request.body.acks == 0
