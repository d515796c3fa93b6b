"""The shim's event loop: epoll and callbacks, nothing more, since every container has one in its memory."""

import select
import sys

TYPE_CHECKING = False  # `typing` would cost the shim memory
if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """epoll with a callback per file descriptor; level-triggered."""

    def __init__(self) -> None:
        self._lasting: set[int] = set()
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def watch_always(self, fd: int, handler: "Callable[[int], None]") -> None:
        """For input that a mistake in its handler must not end; the handler reads before it does anything else."""
        self._lasting.add(fd)
        self.watch(fd, select.EPOLLIN, handler)

    def watch(self, fd: int, events: int, handler: "Callable[[int], None]") -> None:
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def turn(self, timeout: float = -1) -> None:
        for fd, events in self._epoll.poll(timeout):
            handler = self._handlers.get(fd)  # an earlier handler of this turn may have closed it
            if handler is None:
                continue
            try:
                handler(events)
            except Exception:
                # A mistake of ours costs one connection or stream: the end of the shim would be the container's.
                sys.excepthook(*sys.exc_info())
                if fd not in self._lasting:
                    self.forget(fd)
