"""SIGHUP: the daemon's file is read anew."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engine import harness

from riverport.engine.settings import load
from riverport.engine.settings_reload import RELOADED, attributes, take_over
from riverport.engine.settings_table import TABLE


def test_what_may_change_changes_and_the_rest_is_named() -> None:
    running = load({"labels": ["a=1"], "live-restore": "true"})
    settings, waiting = take_over(running, load({"labels": ["b=2"], "debug": "true", "mtu": "1400", "group": "wheel"}))
    assert (settings.labels, settings.log_level, settings.live_restore) == (("b=2",), "debug", False)
    assert (settings.networks.mtu, settings.group) == (1500, "docker")
    assert waiting == ["group", "networks"]


def test_the_event_tells_of_every_key_that_is_reloaded() -> None:
    told = attributes(load({"labels": ["a=1", "b=ü"], "live-restore": "true"}))
    assert told.keys() == RELOADED.keys() - {"log-level"}
    assert RELOADED.keys() <= TABLE.keys()
    assert (told["labels"], told["live-restore"], told["debug"]) == ('["a=1","b=ü"]', "true", "false")
    assert told["registry-mirrors"] == "[]"


def _until(engine: harness.Engine, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, engine.log_end()
        time.sleep(0.01)


def _info(engine: harness.Engine) -> dict[str, object]:
    document = engine.api("GET", "/info")[1]
    assert isinstance(document, dict)
    return document


@pytest.mark.slow
def test_a_running_daemon_takes_over_its_file_and_says_so(
    make_engine: Callable[..., harness.Engine], tmp_path: Path
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps({"labels": ["a=1"]}))
    engine = make_engine("--config-file", str(file))
    engine.cli("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    pid = engine.cli("inspect", "-f", "{{.State.Pid}}", "one").stdout
    assert _info(engine)["Labels"] == ["a=1"]
    mirrors = ["http://127.0.0.1:5000"]
    file.write_text(
        json.dumps({"labels": ["b=2"], "debug": True, "live-restore": True, "registry-mirrors": mirrors, "mtu": 1400})
    )
    os.kill(engine.pid, signal.SIGHUP)
    _until(engine, lambda: _info(engine)["Labels"] == ["b=2"])
    info = _info(engine)
    assert (info["Debug"], info["LiveRestoreEnabled"]) == (True, True)
    assert info["RegistryConfig"]["Mirrors"] == mirrors  # type: ignore[index]
    command = ["events", "--since", "1", "--until", f"{time.time():.9f}", "--filter", "type=daemon", "--format", "json"]
    (event,) = map(json.loads, engine.cli(*command).stdout.splitlines())
    assert (event["Type"], event["Action"], event["Actor"]["ID"]) == ("daemon", "reload", info["ID"])
    assert event["Actor"]["Attributes"]["labels"] == '["b=2"]'
    assert "wait for the next start settings=networks" in engine.log_end()

    for wrong in ("{", '{"labels": ["c=3"], "mtu": 1}', '{"labels": ["c=3"], "nonsense": 1}'):
        file.write_text(wrong)
        before = engine.place.log.read_text().count("settings are not reloaded")
        os.kill(engine.pid, signal.SIGHUP)
        _until(engine, lambda before=before: engine.place.log.read_text().count("not reloaded") > before)  # type: ignore[misc]
        assert _info(engine)["Labels"] == ["b=2"]
    assert engine.cli("inspect", "-f", "{{.State.Pid}}", "one").stdout == pid


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft")
def test_a_table_that_the_machine_s_firewall_has_flushed_is_built_anew(
    make_engine: Callable[..., harness.Engine],
) -> None:
    engine = make_engine()
    serve = "mkdir /www && echo one >/www/index.html && exec httpd -f -h /www"
    engine.cli("run", "-d", "--name", "one", "-p", "18080:80", "busybox", "sh", "-c", serve)
    fetch = ("run", "--rm", "--network", "host", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:18080/")
    flushed = engine.isolation.run(["nft", "flush", "ruleset"])
    assert flushed.returncode == 0, flushed.stderr
    assert engine.cli(*fetch, check=False).returncode != 0
    os.kill(engine.pid, signal.SIGHUP)
    _until(engine, lambda: "settings are reloaded" in engine.log_end())
    assert engine.cli(*fetch).stdout == "one\n"
