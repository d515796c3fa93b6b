"""What the modules of `api/` share: the registry they work on, a call, and a route to a deed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from riverport.base.http.messages import Request, Response
from riverport.base.metrics import Registry as Metrics
from riverport.engine.registry.access import Access, Action, Caller
from riverport.engine.registry.digests import Digest
from riverport.engine.registry.index import StoredManifest
from riverport.engine.registry.names import Reference, RepositoryName
from riverport.engine.registry.settings import Settings
from riverport.engine.registry.store import Content, Page, Store


class Source(Protocol):
    """What is read: the store, or a proxy that fills it."""

    async def manifest(self, repository: RepositoryName, reference: Reference) -> StoredManifest: ...
    async def blob(self, repository: RepositoryName, digest: Digest, *, is_read: bool) -> Content: ...
    async def tags(self, repository: RepositoryName, page: Page) -> list[str]: ...
    async def referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str, page: Page
    ) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class Registry:
    """One registry: its content and who may do what with it."""

    settings: Settings
    store: Store
    source: Source
    access: Access
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller may do what it asks for; `repository` is "" where the path names none."""

    request: Request
    caller: Caller
    repository: RepositoryName

    @property
    def reference(self) -> str:
        """The path's last part, not yet checked."""
        return self.request.params["reference"]


Deed = Callable[[Registry, Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """`action` is what the caller needs in the path's repository.

    "catalog" is the right to list all of them, "none" asks only who the caller is, "anybody" not even that.
    """

    method: str
    path: str
    deed: Deed
    action: Action | Literal["catalog", "none", "anybody"]
