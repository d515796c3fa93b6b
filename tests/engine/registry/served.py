"""A registry in a thread, and a client of it: what tests over HTTP share."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from riverport.base.http.server import TcpListener
from riverport.engine.registry.access import Access
from riverport.engine.registry.proxy import Upstream
from riverport.engine.registry.server import RegistryServer
from riverport.engine.registry.settings import Settings
from riverport.testing.loop_thread import LoopThread

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
START_S = 30.0


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(content: bytes, media_type: str = OCI_LAYER, algorithm: str = "sha256") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content, algorithm), "size": len(content)}


def image(config: bytes, /, *layers: bytes, **fields: Any) -> bytes:
    """An image manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        **fields,
    }
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def index(*manifests: bytes, **fields: Any) -> bytes:
    entries = [descriptor(manifest, OCI_MANIFEST) for manifest in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **fields}).encode()


class ServedRegistry:
    """Started by `serve`; the client's paths begin at /v2."""

    def __init__(self, thread: LoopThread, server: RegistryServer, root: Path) -> None:
        self._thread = thread
        self._server = server
        self.root = root
        self.host = f"127.0.0.1:{server.ports[0]}"
        self.client = httpx.Client(base_url=f"http://{self.host}/v2", timeout=30.0)

    @classmethod
    def serve(
        cls, thread: LoopThread, settings: Settings, access: Access | None = None, upstream: Upstream | None = None
    ) -> "ServedRegistry":
        server = thread.run(
            lambda: RegistryServer.start(settings, [TcpListener("127.0.0.1", 0)], access, upstream), START_S
        )
        return cls(thread, server, settings.root)

    def stop(self) -> None:
        if self.client.is_closed:
            return
        self.client.close()
        self._thread.run(self._server.stop, START_S)

    # --- what clients do

    def upload(self, name: str, content: bytes, algorithm: str = "sha256") -> str:
        """Push a blob in one request; its digest."""
        digest = digest_of(content, algorithm)
        answer = self.client.post(f"/{name}/blobs/uploads/", params={"digest": digest}, content=content)
        assert answer.status_code == 201, answer.text
        return digest

    def begin(self, name: str, **query: str) -> str:
        """Open an upload; its location below /v2."""
        answer = self.client.post(f"/{name}/blobs/uploads/", params=query)
        assert answer.status_code == 202, answer.text
        return below(answer)

    def put(
        self, name: str, reference: str, manifest: bytes, content_type: str | None = None, **query: Any
    ) -> httpx.Response:
        kind = content_type or json.loads(manifest).get("mediaType", OCI_MANIFEST)
        return self.client.put(
            f"/{name}/manifests/{reference}", content=manifest, headers={"Content-Type": kind}, params=query
        )

    def push(self, name: str, reference: str, *layers: bytes, **fields: Any) -> bytes:
        """Push an image, blobs first; its manifest."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "layers": len(layers)}).encode()
        for blob in (config, *layers):
            self.upload(name, blob)
        manifest = image(config, *layers, **fields)
        answer = self.put(name, reference, manifest)
        assert answer.status_code == 201, answer.text
        return manifest


def below(answer: httpx.Response) -> str:
    """An answer's Location, as the client takes paths."""
    return answer.headers["Location"].removeprefix("/v2")


def code(answer: httpx.Response) -> str:
    """The first error's code; the answer has the form that the specification gives to errors."""
    document: Mapping[str, Any] = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert document.keys() == {"errors"}
    for entry in document["errors"]:
        assert entry.keys() <= {"code", "message", "detail"}
        assert set(entry["code"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
    return str(document["errors"][0]["code"])
