"""Who may do what: what handlers ask for, and who answers.

A handler's route names an action ("pull"), the path a repository; together they are a scope, Docker's unit of
permission (`repository:team/app:pull,push`). An `Access` looks at a request's credentials and says which scopes its
caller has. Here is the one that asks nothing; see `basic.py` and `tokens.py` for the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from riverport.base.http.messages import Request, Response
from riverport.engine.registry.errors import NotFound

Action = Literal["pull", "push", "delete"]


@dataclass(frozen=True, slots=True)
class Scope:
    """`kind` is "repository", or "registry" for the catalog."""

    kind: str
    name: str
    action: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{self.action}"


CATALOG = Scope("registry", "catalog", "*")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; `user` is "" for somebody without a name."""

    user: str = ""
    allows: Callable[[Scope], bool] = lambda scope: True


class Access(Protocol):
    async def identify(self, request: Request, wanted: Scope | None) -> Caller:
        """The caller, who has the scope that is wanted. Raises Unauthorized (with a challenge) or Denied."""
        ...

    async def token(self, request: Request) -> Response:
        """Answer a request at /token. Raises NotFound where tokens come from elsewhere."""
        ...


class Open:
    """Everybody may do everything."""

    async def identify(self, request: Request, wanted: Scope | None) -> Caller:
        return Caller()

    async def token(self, request: Request) -> Response:
        raise NotFound(message="this registry asks for no tokens")
