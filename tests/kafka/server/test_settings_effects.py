"""A setting that is said to have an effect is read somewhere, and no other is; what it does, other tests tell."""

from pathlib import Path

import pytest

import riverport
from riverport.kafka.server.settings import DYNAMIC_ONLY, TABLE

SOURCES = Path(riverport.__file__).parent
TABLES = ("settings_*.py",)


@pytest.fixture(scope="module")
def readers() -> str:
    """All source text but the tables themselves and the rules between settings."""
    files = [path for path in SOURCES.rglob("*.py") if not any(path.match(pattern) for pattern in TABLES)]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize("key", [key for key, row in TABLE.items() if row.effect])
def test_a_setting_with_an_effect_is_read(readers: str, key: str) -> None:
    assert f'"{key}"' in readers


@pytest.mark.parametrize("key", [row.key for row in (*TABLE.values(), *DYNAMIC_ONLY) if not row.effect])
def test_a_setting_that_is_said_to_have_no_effect_is_not_read(readers: str, key: str) -> None:
    assert f'config["{key}"]' not in readers
