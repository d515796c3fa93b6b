"""Build arguments: what the client gives, what the Dockerfile declares, and what a step may see of both.

An ARG before the first FROM serves FROM lines and gives its value to an ARG of the same name without default in a
stage. A given value beats a default; ENV beats ARG. The proxy variables are known without being declared, and leave no
trace in history or cache unless they are declared.
"""

from collections.abc import Iterable, Mapping

PREDEFINED = frozenset(
    name
    for lower in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for name in (lower, lower.upper())
)


class BuildArguments:
    """The arguments of one stage; made per stage from those that stand before the first FROM."""

    def __init__(
        self, given: Mapping[str, str | None], platform: Mapping[str, str], outer: Mapping[str, str | None]
    ) -> None:
        """`platform`: TARGETPLATFORM and its like, which a plain ARG brings in. `outer`: the global ARGs."""
        self._given = given
        self._platform = platform
        self._outer = outer
        self._declared: dict[str, str | None] = {}

    def declare(self, name: str, default: str | None) -> None:
        self._declared[name] = default

    def visible(self, environment: Iterable[str] = ()) -> dict[str, str]:
        """Arguments with a value that no variable of `environment` ("NAME=value") hides."""
        hidden = {entry.partition("=")[0] for entry in environment}
        names = [*self._declared, *sorted(PREDEFINED - self._declared.keys())]
        values = {name: self._value(name) for name in names if name not in hidden}
        return {name: value for name, value in values.items() if value is not None}

    def recorded(self, visible: Mapping[str, str]) -> list[str]:
        """Those of `visible` that belong to a RUN's identity, sorted, as "NAME=value"."""
        return sorted(f"{k}={v}" for k, v in visible.items() if k in self._declared or k not in PREDEFINED)

    def _value(self, name: str) -> str | None:
        given = self._given.get(name)
        if given is not None:
            return given
        default = self._declared.get(name)
        if default is not None:
            return default
        outer = self._outer.get(name)
        return outer if outer is not None else self._platform.get(name) if name in self._declared else None


class GlobalArguments:
    """ARGs before the first FROM, in order; each may use those above it."""

    def __init__(self, given: Mapping[str, str | None], platform: Mapping[str, str]) -> None:
        self._given = given
        self._platform = platform
        self.defaults: dict[str, str | None] = {}

    def declare(self, name: str, default: str | None) -> None:
        self.defaults[name] = default

    def values(self) -> dict[str, str]:
        """What FROM lines see: declared arguments and the platform's, a given value before a default."""
        found: dict[str, str] = dict(self._platform)
        for name in [*self.defaults, *PREDEFINED]:
            value = self._given.get(name)
            value = self.defaults.get(name) if value is None else value
            if value is not None:
                found[name] = value
        return found


def unconsumed(given: Iterable[str], declared: Iterable[str]) -> list[str]:
    """Given arguments that no ARG takes, sorted: Docker warns of them."""
    return sorted(set(given) - set(declared) - PREDEFINED)


def platform_arguments(target: str, host: str) -> dict[str, str]:
    """TARGETPLATFORM, TARGETOS, … and BUILDPLATFORM, … from "linux/arm64/v8" and the machine's own."""
    found: dict[str, str] = {}
    for prefix, platform in (("BUILD", host), ("TARGET", target)):
        system, _, rest = platform.partition("/")
        architecture, _, variant = rest.partition("/")
        found |= {
            f"{prefix}PLATFORM": platform,
            f"{prefix}OS": system,
            f"{prefix}ARCH": architecture,
            f"{prefix}VARIANT": variant,
        }
    return found
