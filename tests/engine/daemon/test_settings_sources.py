"""Settings from flags and from a daemon.json, and what is told of a file that cannot be used."""

import re
from pathlib import Path

import pytest

from riverport.base.settings import ConfigError
from riverport.engine.settings_sources import Sources


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "daemon.json"


def test_flags_and_the_file_make_one_whole(file: Path) -> None:
    file.write_text('{"labels": ["a=1"], "debug": true}')
    settings = Sources({"mtu": "1400"}, file).load()
    assert (settings.labels, settings.log_level, settings.networks.mtu) == (("a=1",), "debug", 1400)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "open {file}: no such file or directory"),
        ("[]", "an object is needed"),
        (
            '{"mtuu": 1, "x": 2}',
            "the following directives don't match any configuration option: mtuu, x (did you mean mtu?)",
        ),
        (
            '{"labels": ["a=1", "b=2"], "mtu": 1500}',
            "the following directives are specified both as a flag and in the configuration file: "
            "labels: (from flag: [c=3], from file: [a=1 b=2])",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_dockerd_s_words(file: Path, text: str | None, words: str) -> None:
    if text is not None:
        file.write_text(text)
    told = f"unable to configure the Docker daemon with file {file}: "
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}.*{re.escape(words.format(file=file))}$"):
        Sources({"labels": ["c=3"]}, file).load()


def test_a_wrong_value_in_the_file_is_named(file: Path) -> None:
    file.write_text('{"mtu": 12}')
    with pytest.raises(ConfigError, match="12 for configuration mtu"):
        Sources({}, file).load()
