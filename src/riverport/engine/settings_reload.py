"""Which settings may change while the daemon runs (SIGHUP), and what the event `reload` tells of them. Pure.

The keys are those that dockerd reloads, as far as they are known here. Each is as the file says now: a key that has
gone from it goes back to its flag or its default.
"""

import json
from dataclasses import fields, replace
from typing import Final

from riverport.engine.settings import Settings

RELOADED: Final = {
    "debug": "log_level",
    "log-level": "log_level",
    "default-cgroupns-mode": "default_cgroupns_mode",
    "default-runtime": "runtime",
    "default-shm-size": "default_shm_bytes",
    "insecure-registries": "insecure_registries",
    "labels": "labels",
    "live-restore": "live_restore",
    "max-concurrent-downloads": "max_concurrent_downloads",
    "max-concurrent-uploads": "max_concurrent_uploads",
    "max-download-attempts": "max_download_attempts",
    "registry-mirrors": "registry_mirrors",
    "shutdown-timeout": "shutdown_timeout_s",
}
"""The field of `Settings` by key."""


def take_over(running: Settings, told: Settings) -> tuple[Settings, list[str]]:
    """(the settings from now on, the names of fields that differ and wait for the next start)."""
    changes = {name: getattr(told, name) for name in RELOADED.values()}
    settings = replace(running, **changes)
    return settings, [
        field.name for field in fields(told) if getattr(told, field.name) != getattr(settings, field.name)
    ]


def attributes(settings: Settings) -> dict[str, str]:
    """Of the event; lists are JSON."""
    return {
        "debug": _flag(settings.log_level == "debug"),
        "default-cgroupns-mode": settings.default_cgroupns_mode,
        "default-runtime": settings.runtime,
        "default-shm-size": str(settings.default_shm_bytes),
        "insecure-registries": _list(settings.insecure_registries),
        "labels": _list(settings.labels),
        "live-restore": _flag(settings.live_restore),
        "max-concurrent-downloads": str(settings.max_concurrent_downloads),
        "max-concurrent-uploads": str(settings.max_concurrent_uploads),
        "max-download-attempts": str(settings.max_download_attempts),
        "registry-mirrors": _list(settings.registry_mirrors),
        "shutdown-timeout": str(settings.shutdown_timeout_s),
    }


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _list(entries: tuple[str, ...]) -> str:
    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False)
