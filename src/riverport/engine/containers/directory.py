"""A container's directory: its log, and the files that are mounted over the image's."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(slots=True, frozen=True)
class ContainerDirectory:
    data_root: Path
    container_id: str

    @property
    def path(self) -> Path:
        return self.data_root / "containers" / self.container_id

    @property
    def hostname(self) -> Path:
        return self.path / "hostname"

    @property
    def hosts(self) -> Path:
        return self.path / "hosts"

    @property
    def resolv_conf(self) -> Path:
        return self.path / "resolv.conf"

    def log(self, driver: str) -> Path | None:
        """None where nothing is kept."""
        match driver:
            case "json-file":
                return self.path / f"{self.container_id}-json.log"
            case "local":
                return self.path / "local-logs" / "container.log"
            case _:
                return None

    def make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o710)

    def inspected(self, driver: str, started: bool) -> dict[str, str]:
        """The paths that `inspect` shows: empty until the first start has made the files."""
        names = {"ResolvConfPath": self.resolv_conf, "HostnamePath": self.hostname, "HostsPath": self.hosts}
        shown = {name: str(path) if started else "" for name, path in names.items()}
        return shown | {"LogPath": str(self.log(driver)) if started and driver == "json-file" else ""}


def log_attributes(config: dict[str, Any], options: dict[str, str]) -> dict[str, str]:
    """What of a container's labels and variables goes into every record of its log."""
    labels: dict[str, str] = config["Labels"] or {}
    variables = dict(entry.partition("=")[::2] for entry in config["Env"] or ())
    chosen = {name: labels[name] for name in options.get("labels", "").split(",") if name in labels}
    chosen |= {name: variables[name] for name in options.get("env", "").split(",") if name in variables}
    for option, values in (("labels-regex", labels), ("env-regex", variables)):
        if pattern := options.get(option):
            chosen |= {name: value for name, value in values.items() if re.search(pattern, name)}
    return chosen
