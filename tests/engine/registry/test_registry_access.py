"""Who may do what: rules, passwords, tokens."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.engine.registry.served import ServedRegistry, code

from riverport.engine.registry.access import CATALOG, Scope
from riverport.engine.registry.basic import Basic, Users, UsersInvalid, basic_credentials, parse_htpasswd
from riverport.engine.registry.rules import EVERYTHING, RulesInvalid, parse_rules
from riverport.engine.registry.tokens import Issuer, KeyInvalid, Tokens, load_key, own_key

RULES = """
alice      **          *
ci         team/**     pull,push
*          public/*    pull          # who has logged in
anonymous  open/*      pull
"""


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def pull(name: str) -> Scope:
    return Scope("repository", name, "pull")


def push(name: str) -> Scope:
    return Scope("repository", name, "push")


# --- rules


def test_rules_add_up() -> None:
    rules = parse_rules(RULES.splitlines())
    assert rules.allow("alice", push("anything/at/all"))
    assert rules.allow("alice", CATALOG)
    assert rules.allow("ci", push("team/a/b"))
    assert not rules.allow("ci", Scope("repository", "team/a", "delete"))
    assert not rules.allow("ci", push("public/a"))
    assert rules.allow("ci", pull("public/a"))
    assert not rules.allow("ci", pull("public/a/b"))
    assert not rules.allow("ci", CATALOG)
    assert rules.allow("", pull("open/a"))
    assert not rules.allow("", pull("public/a"))
    # Who has a name is not anonymous: the rule for that is another one.
    assert not rules.allow("ci", pull("open/a"))


def test_only_who_may_read_everything_may_mount_by_digest_alone() -> None:
    rules = parse_rules(RULES.splitlines())
    assert rules.allow("alice", pull("*"))
    assert not rules.allow("ci", pull("*"))
    assert EVERYTHING.allow("anybody", pull("*"))
    assert not EVERYTHING.allow("", pull("a"))


def test_dots_in_patterns_are_dots() -> None:
    rules = parse_rules(["ci a.b pull"])
    assert rules.allow("ci", pull("a.b"))
    assert not rules.allow("ci", pull("axb"))


@pytest.mark.parametrize("line", ["alice", "alice **", "alice ** pull push", "alice ** read"])
def test_what_is_no_rule_is_named_by_its_line(line: str) -> None:
    with pytest.raises(RulesInvalid, match="line 2"):
        parse_rules(["# fine", line])


# --- passwords


def test_an_htpasswd_file_has_bcrypt_only() -> None:
    assert set(parse_htpasswd(f"# users\n\na:{hashed('x')}\nb:{hashed('y')}\n")) == {"a", "b"}
    for bad in ("a:$apr1$x$y", "a", ":$2y$", "a:{SHA}x", "a:plain"):
        with pytest.raises(UsersInvalid, match="line 1"):
            parse_htpasswd(bad)


def test_credentials_are_read_or_not_there() -> None:
    def header(text: bytes) -> str:
        return "Basic " + base64.b64encode(text).decode()

    assert basic_credentials(header(b"a:b:c")) == ("a", "b:c")
    assert basic_credentials(header("ä:ö".encode())) == ("ä", "ö")
    for bad in ("", "Basic", "Basic !!!", "Bearer x", header(b"nocolon"), header(b"\xff:\xff")):
        assert basic_credentials(bad) is None


def test_passwords_are_checked_once_in_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users"
    file.write_text(f"a:{hashed('right')}\n")
    now = 0.0
    users = Users(file, lambda: now)
    checked: list[bytes] = []
    verify = users._verify

    def counted(password: bytes, wanted: bytes) -> bool:
        checked.append(password)
        return verify(password, wanted)

    monkeypatch.setattr(users, "_verify", counted)

    async def work() -> None:
        nonlocal now
        assert await users.check("a", "right")
        assert await users.check("a", "right")
        assert checked == [b"right"]
        now += 301
        assert await users.check("a", "right")
        assert len(checked) == 2
        for user, password in (("a", "wrong"), ("a", ""), ("b", "right"), ("a", "right\0"), ("b", "")):
            assert not await users.check(user, password)
        # Who does not exist takes as long as who has another password.
        assert len(checked) == 7

    asyncio.run(work())


def test_passwords_are_cut_to_what_bcrypt_sees(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"a:{hashed('x' * 72)}\n")
    users = Users(tmp_path / "users")
    assert asyncio.run(users.check("a", "x" * 100))


def test_a_changed_file_is_read_again_and_a_broken_one_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"a:{hashed('old')}\n")
    users = Users(file)

    async def work() -> None:
        assert await users.check("a", "old")
        file.write_text(f"a:{hashed('new')}\nb:{hashed('b')}\n")
        assert await users.check("b", "b")
        assert not await users.check("a", "old")
        file.write_text("a:plain")
        assert await users.check("a", "new")
        file.unlink()
        assert await users.check("a", "new")

    asyncio.run(work())


def test_a_registry_with_passwords(serve: Callable[..., ServedRegistry], tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"alice:{hashed('a')}\nci:{hashed('c')}\n")
    rules = parse_rules(RULES.splitlines())
    registry = serve(access=Basic(Users(tmp_path / "users"), rules))
    answer = registry.client.get("/")
    assert (answer.status_code, code(answer)) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Riverport registry"'
    assert registry.client.get("/", auth=("ci", "wrong")).status_code == 401
    assert registry.client.get("/", auth=("ci", "c")).status_code == 200
    registry.client.auth = ("alice", "a")
    registry.push("open/a", "v1", b"layer")
    registry.push("secret/a", "v1", b"secret")
    registry.client.auth = None
    assert registry.client.get("/open/a/manifests/v1").status_code == 200
    assert registry.client.get("/secret/a/manifests/v1").status_code == 401
    registry.client.auth = ("ci", "c")
    answer = registry.client.get("/secret/a/manifests/v1")
    assert (answer.status_code, code(answer)) == (403, "DENIED")
    assert registry.client.get("/_catalog").status_code == 403
    assert registry.client.post("/open/a/blobs/uploads/").status_code == 403
    registry.push("team/x", "v1", b"layer")
    assert registry.client.delete("/team/x/manifests/v1").status_code == 403


def test_a_blob_of_a_repository_that_one_may_not_read_is_not_mounted(
    serve: Callable[..., ServedRegistry], tmp_path: Path
) -> None:
    (tmp_path / "users").write_text(f"alice:{hashed('a')}\nci:{hashed('c')}\n")
    registry = serve(access=Basic(Users(tmp_path / "users"), parse_rules(RULES.splitlines())))
    registry.client.auth = ("alice", "a")
    digest = registry.upload("secret/a", b"secret")
    registry.client.auth = ("ci", "c")
    for query in ({"from": "secret/a"}, {}):
        answer = registry.client.post("/team/x/blobs/uploads/", params={"mount": digest, **query})
        assert answer.status_code == 202
    assert registry.client.get(f"/team/x/blobs/{digest}").status_code == 404


# --- tokens

SECRET = b"0123456789abcdef0123456789abcdef"


def pem(private: Any) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(private: Any) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture(scope="module")
def rsa_key() -> Any:
    return rsa.generate_private_key(65537, 2048)


def test_the_algorithm_is_the_keys(rsa_key: Any) -> None:
    assert load_key(SECRET).algorithm == "HS256"
    assert load_key(pem(rsa_key)).algorithm == "RS256"
    assert load_key(public_pem(rsa_key)).private is None
    for curve, algorithm in ((ec.SECP256R1(), "ES256"), (ec.SECP384R1(), "ES384"), (ec.SECP521R1(), "ES512")):
        assert load_key(pem(ec.generate_private_key(curve))).algorithm == algorithm


@pytest.mark.parametrize("content", [b"", b"short", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"])
def test_what_is_no_key_is_refused(content: bytes) -> None:
    with pytest.raises(KeyInvalid):
        load_key(content)


def test_a_registrys_own_key_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "token-key.pem"
    first = own_key(path)
    assert own_key(path).private.private_numbers() == first.private.private_numbers()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def with_tokens(serve: Callable[..., ServedRegistry], tmp_path: Path) -> ServedRegistry:
    (tmp_path / "users").write_text(f"alice:{hashed('a')}\nci:{hashed('c')}\n")
    issuer = Issuer(load_key(SECRET))
    return serve(access=Tokens(issuer, Users(tmp_path / "users"), parse_rules(RULES.splitlines())))


def challenge(answer: Any) -> dict[str, str]:
    kind, _, rest = answer.headers["WWW-Authenticate"].partition(" ")
    assert kind == "Bearer"
    return dict(part.split("=", 1) for part in rest.replace('"', "").split(",") if "=" in part)


def token_of(registry: ServedRegistry, user: tuple[str, str] | None, *scopes: str) -> str:
    query = {"service": "riverport-registry", "scope": list(scopes)}
    answer = registry.client.get(f"http://{registry.host}/token", params=query, auth=user)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 300
    return str(answer.json()["token"])


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_client_is_told_where_tokens_are_and_for_what(with_tokens: ServedRegistry) -> None:
    answer = with_tokens.client.post("/team/x/blobs/uploads/")
    assert (answer.status_code, code(answer)) == (401, "UNAUTHORIZED")
    header = answer.headers["WWW-Authenticate"]
    assert header == (
        f'Bearer realm="http://{with_tokens.host}/token",service="riverport-registry",'
        'scope="repository:team/x:pull,push"'
    )
    answer = with_tokens.client.get("/", headers={"Host": 'evil" realm="x'})
    assert 'realm="http://localhost/token"' in answer.headers["WWW-Authenticate"]
    answer = with_tokens.client.get("/", headers={"X-Forwarded-Proto": "https"})
    assert challenge(answer)["realm"] == f"https://{with_tokens.host}/token"


def test_a_token_opens_what_it_names(with_tokens: ServedRegistry) -> None:
    token = token_of(with_tokens, ("ci", "c"), "repository:team/x:pull,push")
    with_tokens.client.headers.update(bearing(token))
    with_tokens.push("team/x", "v1", b"layer")
    assert with_tokens.client.get("/team/x/manifests/v1").status_code == 200
    for answer in (with_tokens.client.get("/team/y/tags/list"), with_tokens.client.delete("/team/x/manifests/v1")):
        assert (answer.status_code, challenge(answer)["error"]) == (401, "insufficient_scope")


def test_a_token_has_what_the_rules_leave(with_tokens: ServedRegistry) -> None:
    def access(user: tuple[str, str] | None, *scopes: str) -> list[dict[str, Any]]:
        claims = jwt.decode(
            token_of(with_tokens, user, *scopes), SECRET, algorithms=["HS256"], audience="riverport-registry"
        )
        assert claims["iss"] == "riverport"
        assert claims["sub"] == (user[0] if user else "")
        found: list[dict[str, Any]] = claims["access"]
        return found

    assert access(("ci", "c"), "repository:team/x:pull,push,delete repository:public/p:push,pull") == [
        {"type": "repository", "name": "team/x", "actions": ["pull", "push"]},
        {"type": "repository", "name": "public/p", "actions": ["pull"]},
    ]
    assert access(("ci", "c"), "registry:catalog:*", "nonsense", "a:b", "repository::pull") == []
    assert access(("alice", "a"), "registry:catalog:*") == [{"type": "registry", "name": "catalog", "actions": ["*"]}]
    assert access(None, "repository:open/a:pull,push", "repository:public/a:pull") == [
        {"type": "repository", "name": "open/a", "actions": ["pull"]}
    ]
    assert access(("ci", "c")) == []


def test_a_wrong_password_gets_no_token(with_tokens: ServedRegistry) -> None:
    url = f"http://{with_tokens.host}/token"
    for auth in (("ci", "wrong"), ("nobody", "c")):
        assert with_tokens.client.get(url, auth=auth).status_code == 401
    form = {"grant_type": "password", "username": "ci", "password": "wrong"}
    assert with_tokens.client.post(url, data=form).status_code == 401
    assert with_tokens.client.post(url, data={"grant_type": "other"}).status_code == 401


def test_tokens_by_an_oauth_form(with_tokens: ServedRegistry) -> None:
    form = {"grant_type": "password", "username": "ci", "password": "c", "scope": "repository:team/x:pull"}
    answer = with_tokens.client.post(f"http://{with_tokens.host}/token", data=form)
    token = answer.json()["access_token"]
    answer = with_tokens.client.get("/team/x/tags/list", headers=bearing(token))
    assert (answer.status_code, code(answer)) == (404, "NAME_UNKNOWN")


def claims(now: float, **changes: Any) -> dict[str, Any]:
    access = [{"type": "repository", "name": "team/x", "actions": ["pull"]}]
    made = {"iss": "riverport", "aud": "riverport-registry", "exp": now + 60, "nbf": now, "access": access, **changes}
    return {key: value for key, value in made.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"aud": "other"},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": 10_000_000_000},
        {"access": None},
        {"access": "everything"},
        {"access": [{"type": "repository", "name": "team/x", "actions": "pull"}]},
        {"access": [{"type": "repository", "name": "team/y", "actions": ["pull", "*"]}]},
    ],
)
def test_tokens_that_open_nothing(with_tokens: ServedRegistry, changes: dict[str, Any]) -> None:
    token = jwt.encode(claims(2_000_000_000, **changes), SECRET, algorithm="HS256")
    assert with_tokens.client.get("/team/x/tags/list", headers=bearing(token)).status_code == 401


def test_a_token_says_nothing_of_how_it_is_checked(serve: Callable[..., ServedRegistry], rsa_key: Any) -> None:
    """A public key is no shared secret, and "none" no algorithm (RFC 8725)."""
    issuer = Issuer(load_key(public_pem(rsa_key)), realm="https://auth.example.com/token")
    registry = serve(access=Tokens(issuer, clock=lambda: 1_000.0))
    good = jwt.encode(claims(1_000), rsa_key, algorithm="RS256")
    assert registry.client.get("/team/x/tags/list", headers=bearing(good)).status_code == 404
    body = base64.urlsafe_b64encode(json.dumps(claims(1_000)).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode() + f".{body}."
    hmac = jwt.encode(claims(1_000), SECRET, algorithm="HS256")
    for token in (none, hmac, good[:-4] + "AAAA", "x", "a.b.c"):
        answer = registry.client.get("/team/x/tags/list", headers=bearing(token))
        assert answer.status_code == 401
    assert challenge(answer)["realm"] == "https://auth.example.com/token"
    assert registry.client.get(f"http://{registry.host}/token").status_code == 404


def test_an_issuer_may_be_slightly_ahead(serve: Callable[..., ServedRegistry]) -> None:
    now = 1_000.0
    registry = serve(access=Tokens(Issuer(load_key(SECRET)), clock=lambda: now))
    token = jwt.encode(claims(1_030), SECRET, algorithm="HS256")
    assert registry.client.get("/team/x/tags/list", headers=bearing(token)).status_code == 404
    now = 1_200.0
    assert registry.client.get("/team/x/tags/list", headers=bearing(token)).status_code == 401


def test_an_open_registry_has_no_tokens(registry: ServedRegistry) -> None:
    answer = registry.client.get(f"http://{registry.host}/token")
    assert answer.status_code == 404
