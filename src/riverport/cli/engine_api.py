"""The Docker API as commands need it: a few plain requests to whatever daemon DOCKER_HOST names."""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from riverport.cli.command import Problem, UsageProblem

DEFAULT_HOST = "unix:///run/riverport/docker.sock"
HOST_VARIABLE = "DOCKER_HOST"


class EngineApi:
    """Requests to one daemon, each on a connection of its own."""

    def __init__(self, host: str = "") -> None:
        """Raises UsageProblem for an address that is neither unix://PATH nor tcp://HOST:PORT."""
        self.host = host or os.environ.get(HOST_VARIABLE) or DEFAULT_HOST
        scheme, _, rest = self.host.partition("://")
        if scheme not in ("unix", "tcp") or not rest:
            raise UsageProblem(f"{self.host}: write unix:///PATH or tcp://HOST:PORT")
        self._is_unix, self._address = scheme == "unix", rest

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 60,
    ) -> Any:
        """The answer: parsed if it is JSON, else bytes. Raises Problem with the daemon's words."""
        from http.client import HTTPConnection, HTTPException

        from riverport.cli.unix_http import UnixConnection

        connection = (
            UnixConnection(self._address, timeout) if self._is_unix else HTTPConnection(self._address, timeout=timeout)
        )
        try:
            connection.request(method, path, body, dict(headers or {}), encode_chunked=not isinstance(body, bytes))
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, HTTPException) as error:
            hint = f"start one with `riverport engine start`, or name another: --host or {HOST_VARIABLE}"
            raise Problem(f"no engine answers at {self.host}: {_reason(error)}", hint) from error
        finally:
            connection.close()
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        if answer.status >= 400:
            raise Problem(_message(data) or f"{answer.status} {answer.reason}")
        return _parsed(data) if is_json else data

    def send(self, method: str, path: str, document: object, timeout: float | None = 60) -> Any:
        """A request with a JSON body."""
        data = json.dumps(document).encode()
        return self.request(method, path, data, {"Content-Type": "application/json"}, timeout)

    def import_image(self, tar: bytes | Iterable[bytes], name: str, changes: Iterable[str] = ()) -> str:
        """Make an image of one layer; returns its id. Raises Problem."""
        repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
        query = [("fromSrc", "-"), ("repo", repository), ("tag", tag or "latest")]
        query += [("changes", line) for line in changes]
        headers = {"Content-Type": "application/x-tar"}
        if not isinstance(tar, bytes):
            headers["Transfer-Encoding"] = "chunked"
        said = self.request("POST", f"/images/create?{urlencode(query)}", tar, headers, timeout=None)
        lines = said if isinstance(said, list) else [said]
        for line in lines:
            if line.get("error"):
                raise Problem(str(line["error"]))
        return str(lines[-1].get("status", ""))

    def tag(self, image: str, name: str) -> None:
        repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
        query = urlencode({"repo": repository, "tag": tag or "latest"})
        self.request("POST", f"/images/{quote(image, safe='')}/tag?{query}")


def _parsed(data: bytes) -> Any:
    """One document, or the list of those of a stream of lines."""
    try:
        return json.loads(data) if data else None
    except ValueError:
        return [json.loads(line) for line in data.splitlines() if line.strip()]


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace").strip()


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
