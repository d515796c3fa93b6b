"""Where a daemon is told its settings: flags, and a daemon.json if one is named. Read at the start and at each SIGHUP.

What both say, and what nobody knows, is refused in dockerd's words, since people search for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from riverport.base.settings import ConfigError, unknown_keys
from riverport.engine.settings import Given, Settings, load, read_file
from riverport.engine.settings_table import TABLE


@dataclass(frozen=True, slots=True)
class Sources:
    flags: Given
    file: Path | None = None

    def load(self) -> Settings:
        """Raises ConfigError."""
        if self.file is None:
            return load(self.flags)
        failed = f"unable to configure the Docker daemon with file {self.file}"
        try:
            filed = read_file(self.file)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"{failed}: open {self.file}: {reason}") from error
        except ConfigError as error:
            raise ConfigError([f"{failed}: {problem}" for problem in error.problems]) from error
        if problem := _misplaced(self.flags, filed):
            raise ConfigError(f"{failed}: {problem}")
        return load({**filed, **self.flags})


def _misplaced(flags: Given, filed: Mapping[str, str | list[str]]) -> str:
    if unknown := unknown_keys(TABLE, filed):
        near = [name for names in unknown.values() for name in names]
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        return f"the following directives don't match any configuration option: {', '.join(unknown)}{hint}"
    if twice := sorted(flags.keys() & filed.keys()):
        told = [f"{key}: (from flag: {_shown(flags[key])}, from file: {_shown(filed[key])})" for key in twice]
        return f"the following directives are specified both as a flag and in the configuration file: {', '.join(told)}"
    return ""


def _shown(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else f"[{' '.join(value)}]"
