"""`riverport registry`: a registry of container images, and the collector of what nothing in it names."""

import argparse
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riverport.cli.command import Problem, UsageProblem, at_least, guarded, make_parser

if TYPE_CHECKING:
    import ssl

    from riverport.engine.registry.access import Access
    from riverport.engine.registry.proxy import Upstream
    from riverport.engine.registry.rules import Rules
    from riverport.engine.registry.settings import Settings

DEFAULT_LISTEN = "127.0.0.1:5000"

EXAMPLES = (
    "riverport registry start --root images                       # http://127.0.0.1:5000",
    "riverport registry start --root images --listen 0.0.0.0:443 --tls-cert c.pem --tls-key k.pem",
    "riverport registry start --root mirror --proxy https://registry-1.docker.io",
    "riverport registry garbage-collect --root images --delete-untagged",
)


def parser() -> argparse.ArgumentParser:
    made = make_parser("registry", "A registry for container images and other OCI artifacts.", EXAMPLES)
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    start = verbs.add_parser("start", help="run a registry in the foreground", allow_abbrev=False)
    start.add_argument(
        "--listen",
        action="append",
        metavar="HOST:PORT",
        help=f"where clients connect; may be repeated, port 0 is any free one ({DEFAULT_LISTEN})",
    )
    start.add_argument("--root", type=Path, required=True, metavar="DIR", help="where the content is kept")
    start.add_argument("--json", action="store_true", help="say that the registry is ready in one JSON line")
    start.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    _add_content(start)
    _add_access(start)
    _add_proxy(start)
    collect = verbs.add_parser(
        "garbage-collect", help="free what nothing names, also while a registry runs", allow_abbrev=False
    )
    collect.add_argument("--root", type=Path, required=True, metavar="DIR", help="the registry's content")
    collect.add_argument("--delete-untagged", action="store_true", help="also manifests that no tag leads to")
    collect.add_argument(
        "--grace",
        type=at_least(0),
        default=3600,
        metavar="SECONDS",
        help="keep what is younger: clients may be about to name it (3600)",
    )
    collect.add_argument("--json", action="store_true", help="print one JSON document")
    return made


def _add_content(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("content")
    group.add_argument("--no-delete", action="store_true", help="refuse to delete manifests, tags and blobs")
    group.add_argument("--sparse", action="store_true", help="take manifests some of whose parts are not here")
    group.add_argument("--blob-limit", type=at_least(1), metavar="BYTES", help="the largest blob that is taken (1 TiB)")
    group.add_argument(
        "--manifest-limit", type=at_least(1), metavar="BYTES", help="the largest manifest that is taken (4 MiB)"
    )
    group.add_argument("--uploads", type=at_least(1), metavar="N", help="uploads that may be under way (1000)")
    group.add_argument(
        "--upload-expiry", type=at_least(1), metavar="SECONDS", help="end uploads that nobody goes on with (86400)"
    )
    group.add_argument(
        "--collect-every", type=at_least(0), default=0, metavar="SECONDS", help="collect garbage so often (0: never)"
    )
    group.add_argument("--metrics", action="store_true", help="serve /metrics, for Prometheus")


def _add_access(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("access")
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="the certificate, with its chain, in PEM")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its key")
    group.add_argument(
        "--auth",
        metavar="htpasswd=FILE|token",
        help="users with bcrypt passwords (htpasswd -B), or tokens that prove what their bearer may do",
    )
    group.add_argument("--rules", type=Path, metavar="FILE", help="who may do what: lines of USER REPOSITORIES ACTIONS")
    group.add_argument(
        "--token-users", type=Path, metavar="FILE", help="issue tokens at /token to the users of this htpasswd file"
    )
    group.add_argument(
        "--token-key",
        type=Path,
        metavar="FILE",
        help="RSA or elliptic key in PEM, or a shared secret; without it the registry makes one for itself",
    )
    group.add_argument("--token-realm", default="", metavar="URL", help="where clients get tokens, if not from here")
    group.add_argument("--token-issuer", default="riverport", metavar="NAME", help="who signs them (riverport)")
    group.add_argument(
        "--token-service", default="riverport-registry", metavar="NAME", help="whom they are for (riverport-registry)"
    )


def _add_proxy(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pull-through cache")
    group.add_argument("--proxy", metavar="URL", help="serve what this registry has, and keep what was pulled")
    group.add_argument(
        "--proxy-credentials", type=Path, metavar="FILE", help="USER:PASSWORD for it; without: anonymous"
    )
    group.add_argument(
        "--proxy-ttl",
        type=at_least(0),
        default=60,
        metavar="SECONDS",
        help="how long a tag is believed without asking (60)",
    )
    group.add_argument("--proxy-ca", type=Path, metavar="FILE", help="trust these certificates for it, too")


def run(words: list[str]) -> int:
    given = parser().parse_args(words)
    return guarded(lambda: _collect(given) if given.verb == "garbage-collect" else _start(given))


def _collect(given: argparse.Namespace) -> int:
    import dataclasses
    import time

    from riverport.engine.registry.blobs import BlobFiles
    from riverport.engine.registry.collector import Collector
    from riverport.engine.registry.index import Index

    if not (given.root / "index.db").exists():
        raise Problem(f"{given.root} holds no registry", "name the directory that `registry start --root` was given")
    index = Index(given.root / "index.db")
    try:
        collector = Collector(index, BlobFiles(given.root), int(time.time()), given.grace)
        found = collector.run(untagged=given.delete_untagged)
    finally:
        index.close()
    if given.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        print(f"freed {found.bytes} bytes: {found.blobs} blobs, {found.manifests} manifests, {found.links} links")
    return 0


def _start(given: argparse.Namespace) -> int:
    from riverport.base.logging import configure

    configure(given.log_level.upper())
    _runner()(_serve(given))
    return 0


def _runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.run
    return uvloop.run


async def _serve(given: argparse.Namespace) -> None:
    import asyncio
    import signal

    from riverport.base.http.server import TcpListener
    from riverport.engine.registry.server import RegistryServer

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    tls = _tls(given)
    addresses = [_address(text) for text in given.listen or [DEFAULT_LISTEN]]
    listeners = [TcpListener(host, port, tls) for host, port in addresses]
    access = _access(given, "https" if tls else "http")
    try:
        server = await RegistryServer.start(_settings(given), listeners, access, _upstream(given))
    except BlockingIOError as error:
        raise Problem(f"{given.root}: another registry works in this directory") from error
    try:
        _ready(server.addresses, tls is not None, given.json)
        await stopping.wait()
    finally:
        await server.stop()


def _ready(addresses: list[str | tuple[str, int]], is_secure: bool, as_json: bool) -> None:
    import os

    scheme = "https" if is_secure else "http"
    urls = [f"{scheme}://{_shown(address)}" for address in addresses]
    if as_json:
        print(json.dumps({"ready": True, "urls": urls, "pid": os.getpid()}), flush=True)
    else:
        print(f"riverport registry is ready: {' '.join(urls)}", flush=True)
    sys.stdout.flush()


def _shown(address: str | tuple[str, int]) -> str:
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(text: str) -> tuple[str, int]:
    """Raises UsageProblem."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageProblem(f"--listen {text}: write HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _settings(given: argparse.Namespace) -> "Settings":
    from riverport.engine.registry.settings import MANIFEST_BYTES_MAX, Settings
    from riverport.engine.registry.uploads import Limits

    limits = {"sessions": given.uploads, "blob_bytes": given.blob_limit, "expiry_s": given.upload_expiry}
    return Settings(
        root=given.root,
        limits=Limits(**{name: value for name, value in limits.items() if value is not None}),
        manifest_bytes=given.manifest_limit or MANIFEST_BYTES_MAX,
        delete=not given.no_delete,
        sparse=given.sparse,
        metrics=given.metrics,
        collect_every_s=given.collect_every,
        proxy_ttl_s=given.proxy_ttl,
    )


def _tls(given: argparse.Namespace) -> "ssl.SSLContext | None":
    """Raises UsageProblem, Problem."""
    if given.tls_cert is None and given.tls_key is None:
        return None
    if given.tls_cert is None or given.tls_key is None:
        raise UsageProblem("--tls-cert and --tls-key go together")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(given.tls_cert, given.tls_key)
    except ssl.SSLError as error:
        raise Problem(f"{given.tls_cert}, {given.tls_key}: {error.reason or error}") from error
    return context


def _access(given: argparse.Namespace, scheme: str) -> "Access | None":
    """Raises UsageProblem, Problem."""
    kind, _, path = (given.auth or "").partition("=")
    if kind == "":
        return None
    if kind not in ("htpasswd", "token") or (kind == "htpasswd") != bool(path):
        raise UsageProblem(f"--auth {given.auth}: write htpasswd=FILE or token")
    try:
        return _basic(given, Path(path)) if kind == "htpasswd" else _tokens(given, scheme)
    except ImportError as error:
        raise Problem(f"{error.name} is not installed", "pip install 'riverport[registry-auth]'") from error


def _basic(given: argparse.Namespace, path: Path) -> "Access":
    from riverport.engine.registry.basic import Basic, Users, UsersInvalid

    try:
        return Basic(Users(path), _rules(given))
    except UsersInvalid as error:
        raise Problem(f"{path}: {error}") from error


def _tokens(given: argparse.Namespace, scheme: str) -> "Access":
    from riverport.engine.registry.basic import Users, UsersInvalid
    from riverport.engine.registry.tokens import Issuer, KeyInvalid, Tokens, load_key, own_key

    if given.token_users is None and (not given.token_realm or given.token_key is None):
        raise UsageProblem("--auth token needs --token-users, or --token-realm and --token-key of who issues tokens")
    try:
        if given.token_key is not None:
            key = load_key(given.token_key.read_bytes())
        else:
            given.root.mkdir(parents=True, exist_ok=True)
            key = own_key(given.root / "token-key.pem")
    except KeyInvalid as error:
        raise Problem(f"{given.token_key}: {error}") from error
    issuer = Issuer(key, given.token_issuer, given.token_service, given.token_realm, scheme)
    if given.token_users is None:
        return Tokens(issuer)
    if key.private is None:
        raise Problem(f"{given.token_key}: a public key cannot sign tokens")
    try:
        return Tokens(issuer, Users(given.token_users), _rules(given))
    except UsersInvalid as error:
        raise Problem(f"{given.token_users}: {error}") from error


def _rules(given: argparse.Namespace) -> "Rules":
    from riverport.engine.registry.rules import EVERYTHING, RulesInvalid, parse_rules

    if given.rules is None:
        return EVERYTHING
    try:
        return parse_rules(given.rules.read_text(encoding="utf-8").splitlines())
    except RulesInvalid as error:
        raise Problem(f"{given.rules}: {error}") from error


def _upstream(given: argparse.Namespace) -> "Upstream | None":
    if given.proxy is None:
        return None
    from riverport.engine.registry.upstream import RemoteRegistry

    user, password = "", ""
    if given.proxy_credentials is not None:
        user, _, password = given.proxy_credentials.read_text(encoding="utf-8").strip().partition(":")
    try:
        return RemoteRegistry(given.proxy, user, password, given.proxy_ca)
    except ValueError as error:
        raise UsageProblem(f"--proxy {given.proxy}: {error}") from error
