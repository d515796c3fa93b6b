"""A registry that listens: made from settings, stopped as a whole."""

import time
from collections.abc import Iterable

from riverport.base.http.server import Listener, Server, serve
from riverport.base.metrics import Registry as Metrics
from riverport.engine.registry.access import Access, Open
from riverport.engine.registry.application import Application
from riverport.engine.registry.calls import Registry
from riverport.engine.registry.proxy import Proxy, Upstream
from riverport.engine.registry.settings import HTTP_LIMITS, Settings
from riverport.engine.registry.store import Store


class RegistryServer:
    """`await RegistryServer.start(...)`; `addresses` and `ports` say where it listens."""

    def __init__(self, application: Application, server: Server) -> None:
        self._application = application
        self._server = server

    @classmethod
    async def start(
        cls,
        settings: Settings,
        listeners: Iterable[Listener],
        access: Access | None = None,
        upstream: Upstream | None = None,
    ) -> "RegistryServer":
        """With an upstream it is a cache of that. Raises OSError: an address that is taken, a directory in use."""
        store = Store(settings.root, settings.limits)
        proxy = Proxy(store, upstream, settings.proxy_ttl_s, time.monotonic) if upstream else None
        application = Application(Registry(settings, store, proxy or store, access or Open(), Metrics()), proxy)
        try:
            await application.start()
            return cls(application, await serve(application.handle, listeners, HTTP_LIMITS))
        except BaseException:
            await application.stop()
            raise

    @property
    def ports(self) -> list[int]:
        return self._server.ports

    @property
    def addresses(self) -> list[str | tuple[str, int]]:
        return self._server.addresses

    async def stop(self) -> None:
        await self._server.close()
        await self._application.stop()
