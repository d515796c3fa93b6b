"""`RUN --mount`: options, defaults per type, and what is refused."""

import pytest

from riverport.engine.build.mounts import Mount, check_mount, parse_mount


def mount(text: str) -> Mount:
    return parse_mount(text, lambda value: value.replace("$x", "expanded"))


def test_a_bind_is_the_default_and_read_only() -> None:
    assert mount("target=/a,source=b,from=stage") == Mount(source="b", target="/a", from_="stage")
    assert not mount("dst=/a,rw").read_only
    assert not mount("dst=/a,ro=false").read_only


def test_caches_are_writable_and_carry_an_identity() -> None:
    found = mount("type=cache,id=$x,target=/c,sharing=Locked,mode=0755,uid=1000,gid=0")
    assert found == Mount(
        type="cache", identity="expanded", target="/c", sharing="locked", mode=0o755, uid=1000, gid=0, read_only=False
    )


def test_secrets_and_memory() -> None:
    secret = mount("type=secret,id=token,required,env=TOKEN,mode=0400")
    assert (secret.identity, secret.required, secret.env, secret.mode) == ("token", True, "TOKEN", 0o400)
    assert mount("type=tmpfs,target=/t,size=64m").size_bytes == 64 << 20
    assert mount('"target=/with,comma"').target == "/with,comma"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("type=bnd", 'unsupported mount type "bnd" (did you mean bind?)'),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("taret=/x", "unexpected key 'taret' in 'taret=/x' (did you mean target?)"),
        ("type=bind,mode=1", 'mode not allowed for "bind" type mounts'),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("type=cache,sharing=all", 'unsupported sharing value "all"'),
        ("type=bind,sharing=shared", "invalid cache sharing set for bind mount"),
        ("type=bind,required", "unexpected key 'required' for mount type 'bind'"),
        ("type=cache,size=1", "unexpected key 'size' for mount type 'cache'"),
        ("type=tmpfs,size=big", "invalid value for size: big"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("ro=maybe", "invalid value for ro: maybe"),
    ],
)
def test_faults(text: str, fault: str) -> None:
    with pytest.raises(ValueError) as raised:
        mount(text)
    assert str(raised.value) == fault


def test_the_origin_of_a_mount_is_fixed_before_variables_are_known() -> None:
    check_mount("type=cache,id=$later")
    with pytest.raises(ValueError, match="doesn't support variable expansion"):
        check_mount("from=$stage")
