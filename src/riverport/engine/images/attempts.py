"""One endpoint of a registry after another, until one has what is asked for."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from riverport.engine.errors import EngineError
from riverport.engine.images.credentials import Credentials
from riverport.engine.images.distribution import Repository, connect
from riverport.engine.images.endpoints import Endpoint
from riverport.engine.images.tries import ATTEMPTS
from riverport.engine.images.workers import Workers

Result = TypeVar("Result")


async def first_of(
    candidates: Sequence[Endpoint],
    path: str,
    credentials: Credentials,
    name: str,
    transfer: Callable[[Workers, Repository], Awaitable[Result]],
    *,
    at_once: int = 1,
    attempts: int = ATTEMPTS,
) -> Result:
    """A mirror that fails, or lacks the image, is passed over; `name` is that of the threads.

    `at_once` things are asked for at the same time, `attempts` times each.

    Raises EngineError: of the last endpoint that answered, else of the last that did not.
    """
    async with Workers(name, at_once) as workers:
        found = connect(candidates, path, credentials, workers.on_abort, attempts=attempts)
        failure: EngineError | None = None
        while True:
            try:
                repository = await workers.run(next, found, None)
            except EngineError as error:
                raise failure or error from error
            if repository is None:
                assert failure is not None, "an endpoint that answers either gives the image or fails"
                raise failure
            try:
                return await transfer(workers, repository)
            except EngineError as error:
                failure = error
                if not repository.endpoint.is_mirror:
                    raise
            finally:
                repository.close()
