"""Names of what is fetched, texts told from archives, logins of registries."""

import gzip

import pytest

from riverport.engine.build.base_images import _credentials
from riverport.engine.build.downloads import _file_name, is_url
from riverport.engine.build.remote import _is_text, is_git_url


@pytest.mark.parametrize(
    ("url", "disposition", "name"),
    [
        ("http://x/a/b.tar?query=1", "", "b.tar"),
        ("http://x/a%20b", "", "a b"),
        ("http://x/", "", ""),
        ("http://x/dir/", 'attachment; filename="c.txt"', "c.txt"),
        ("http://x/dir/", 'attachment; filename="../../etc/passwd"', "passwd"),
        ("http://x/dir/", 'attachment; filename="dir/"', ""),
        ("http://x/a/..", "", ""),
        ("http://x/a%2f..%2fb", "", "b"),
    ],
)
def test_the_name_of_a_download_is_one_part_of_a_path(url: str, disposition: str, name: str) -> None:
    assert _file_name(url, disposition) == name


def test_texts_are_told_from_archives() -> None:
    assert _is_text(b"FROM busybox\n\tRUN x\r\n")
    assert _is_text("# é\n".encode())
    assert not _is_text(gzip.compress(b"FROM busybox"))
    assert not _is_text(b"name" + bytes(508))


@pytest.mark.parametrize(
    ("text", "url", "git"),
    [
        ("https://x/y.tar", True, False),
        ("https://x/y.git", True, True),
        ("https://x/y.git#main:sub", True, True),
        ("git@x:y", False, True),
        ("github.com/x/y", False, True),
        ("ext::sh -c id", False, False),
        ("./local", False, False),
    ],
)
def test_kinds_of_addresses(text: str, url: bool, git: bool) -> None:
    assert (is_url(text), is_git_url(text)) == (url, git)


def test_a_login_is_found_under_any_name_of_its_registry() -> None:
    logins = {"https://index.docker.io/v1/": {"username": "hub"}, "reg:5000": {"username": "own", "password": "p"}}
    assert _credentials(logins, "docker.io").username == "hub"
    assert _credentials(logins, "reg:5000").password == "p"
    assert not _credentials(logins, "other")
