"""Which request meets which fault.

A rule looks at requests by API, version, client id and content, counts those that match, and strikes some of them. A
request meets the first rule, in the order in which they were added, that strikes it; later ones count it all the same.

Rules are added from the test's thread and applied in the broker's: the tuple of rules is replaced, never changed.
"""

import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Literal

from riverport.kafka.server.request import Request
from riverport.kafka.wire.api import Api, apis
from riverport.testing.actions import Action

When = Literal["before", "after"]
"""Whether the fault comes before the request is applied, or instead of its answer once it is."""


class Rule:
    """Made by `Faults.add`. Strikes the `nth` matching request and every `every`th from there on, `times` at most."""

    def __init__(
        self,
        faults: "Faults",
        api_key: int,
        version: int | None,
        client: str | None,
        where: Callable[[Request], bool] | None,
        nth: int,
        every: int,
        times: int | None,
        when: When,
        action: Action,
    ) -> None:
        self._faults = faults
        self.api_key = api_key
        self.version = version
        self.client = client
        self.where = where
        self.nth = nth
        self.every = every
        self.times = times
        self.when: When = when
        self.action = action
        self.seen = 0
        """Requests that matched."""
        self.hits = 0
        """Requests that were struck."""
        self._changed = threading.Condition()

    def remove(self) -> None:
        """Strike no more."""
        self._faults.remove(self)

    def wait(self, hits: int = 1, timeout: float = 10.0) -> None:
        """Until the rule has struck `hits` requests. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.hits >= hits, timeout):
                raise TimeoutError(f"{self} has struck {self.hits} requests of {self.seen} that match, not {hits}")

    def matches(self, request: Request) -> bool:
        return (
            request.api_key == self.api_key
            and self.version in (None, request.version)
            and (self.client is None or fnmatchcase(request.client_id or "", self.client))
            and (self.where is None or self.where(request))
        )

    def is_due(self) -> bool:
        """Count a matching request; whether its turn has come. In the broker's thread."""
        self.seen += 1
        after = self.seen - self.nth
        return after >= 0 and after % self.every == 0 and (self.times is None or self.hits < self.times)

    def struck(self) -> None:
        with self._changed:
            self.hits += 1
            self._changed.notify_all()

    def __repr__(self) -> str:
        return f"Rule({apis()[self.api_key].name}, {self.when}, {self.action})"


class Faults:
    """The rules of one broker. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._rules: tuple[Rule, ...] = ()
        self._lock = threading.Lock()

    def add(
        self,
        api: str | int,
        *,
        action: Action,
        when: When = "before",
        version: int | None = None,
        client: str | None = None,
        where: Callable[[Request], bool] | None = None,
        nth: int | None = None,
        every: int | None = None,
        times: int | None = None,
    ) -> Rule:
        """Let requests of one API meet `action`, before they are applied or after.

        `api` is a name as in Kafka's protocol guide ("Produce") or a key, `client` a client id or a pattern with *,
        `where` looks at the request (in the broker's thread). Without `nth`, `every` and `times` every matching request
        is struck; `nth` (from 1) alone strikes that one; with `every`, each further one at that distance, too. `times`
        bounds it. Raises ValueError.
        """
        if times is None and nth is not None and every is None:
            times = 1
        for name, value in (("nth", nth), ("every", every), ("times", times)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: counts from 1")
        if when not in ("before", "after"):
            raise ValueError(f"when={when!r}: either 'before' or 'after'")
        # every=3 alone strikes the third, sixth, ninth.
        rule = Rule(self, _key_of(api), version, client, where, nth or every or 1, every or 1, times, when, action)
        with self._lock:
            self._rules = (*self._rules, rule)
        return rule

    def remove(self, rule: Rule) -> None:
        with self._lock:
            self._rules = tuple(known for known in self._rules if known is not rule)

    def clear(self) -> None:
        """Remove every rule."""
        with self._lock:
            self._rules = ()

    def __bool__(self) -> bool:
        """Whether there are rules: without any, requests go the ways that they go in a broker of nobody's test."""
        return bool(self._rules)

    def __call__(self, request: Request, api: Api, apply: Callable[[], Any]) -> Any:
        """The broker's request filter: what the request is answered with."""
        striking: Rule | None = None
        for rule in self._rules:
            if rule.matches(request) and rule.is_due() and striking is None:
                striking = rule
        if striking is None:
            return apply()
        answer = striking.action.strike(request, api, apply, after=striking.when == "after")
        striking.struck()
        return answer


def _key_of(api: str | int) -> int:
    by_name = {known.name: key for key, known in apis().items()}
    if isinstance(api, int) and api in apis():
        return api
    if isinstance(api, str) and api in by_name:
        return by_name[api]
    from difflib import get_close_matches

    nearest = get_close_matches(str(api), by_name, 1, 0.5)
    raise ValueError(f"there is no API {api!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""))
