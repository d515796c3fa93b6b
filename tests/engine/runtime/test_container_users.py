"""Who a container runs as."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.errors import InvalidParameter
from riverport.engine.linux.inroot import Root
from riverport.engine.runtime.users import User, look_up, resolve

PASSWD = """root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:App:/home/app:/bin/sh
1000:x:7:8:a name of digits:/seven:
bad line
half:x:abc:1::/:
"""
GROUP = """root:x:0:
staff:x:50:app,other
1001:x:99:
audio:x:63:app
"""


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", User(0, 0, (0,), "/root")),
        ("root", User(0, 0, (0,), "/root")),
        ("0", User(0, 0, (0,), "/root")),
        ("app", User(1000, 1001, (1001, 50, 63), "/home/app")),
        ("1000", User(7, 8, (8,), "/seven")),  # a name wins over a number
        ("app:staff", User(1000, 50, (50,), "/home/app")),
        ("app:1001", User(1000, 99, (99,), "/home/app")),
        ("app:77", User(1000, 77, (77,), "/home/app")),
        ("4711", User(4711, 0, (0,), "/")),
        ("4711:50", User(4711, 50, (50,), "/")),
        (":50", User(0, 50, (50,), "/root")),
    ],
)
def test_users_and_groups_by_name_and_number(user: str, expected: User) -> None:
    assert resolve(user, PASSWD, GROUP) == expected


def test_added_groups_come_after_the_users_own() -> None:
    assert resolve("app", PASSWD, GROUP, ["audio", "12345"]).additional_gids == (1001, 50, 63, 12345)


@pytest.mark.parametrize(
    ("user", "added", "words"),
    [
        ("nosuch", [], "unable to find user nosuch: no matching entries in passwd file"),
        ("app:nosuch", [], "unable to find group nosuch: no matching entries in group file"),
        ("app", ["nosuch"], "unable to find group nosuch: no matching entries in group file"),
        ("2147483648", [], "uids and gids must be in range 0-2147483647"),
        ("1:2147483648", [], "uids and gids must be in range 0-2147483647"),
        ("half", [], "unable to find user half: no matching entries in passwd file"),
    ],
)
def test_what_cannot_be_found_is_told_in_dockers_words(user: str, added: list[str], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        resolve(user, PASSWD, GROUP, added)


@given(st.text(max_size=12), st.text(max_size=60), st.text(max_size=60))
def test_no_file_of_an_image_breaks_the_look_up(user: str, passwd: str, group: str) -> None:
    try:
        found = resolve(user, passwd, group)
    except InvalidParameter:
        return
    assert found.gid in found.additional_gids


def test_files_are_read_inside_the_root_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("evil:x:1:1::/:\n")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").symlink_to(outside)
    with Root(root) as opened:
        with pytest.raises(InvalidParameter):
            look_up(opened, "evil")
        (root / "etc/passwd").unlink()
        (root / "etc/passwd").symlink_to("/etc/real")
        (root / "etc/real").write_text("good:x:5:6::/g:\n")
        assert look_up(opened, "good") == User(5, 6, (6,), "/g")
