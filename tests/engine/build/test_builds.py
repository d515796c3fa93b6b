"""Whole builds on a daemon: what clients read, what images hold, what the cache spares. Outcomes are dockerd's."""

import bz2
import gzip
import lzma
import tarfile

import pytest
from tests.engine.build.kit import build, config, context, entry, history, run, send
from tests.engine.harness import Engine

SIX_LINES = """FROM busybox
ENV A=1
COPY f /f
RUN echo a > /a
RUN echo b; echo e >&2
CMD ["cat", "/f"]
"""


def test_the_stream_is_the_classic_builders(engine: Engine) -> None:
    built = build(engine, SIX_LINES, {"f": "hi"}, t="six", nocache="1")
    assert built.masked == (
        "Step 1/6 : FROM busybox\n ---> <id>\n"
        "Step 2/6 : ENV A=1\n ---> Running in <id>\n ---> Removed intermediate container <id>\n ---> <id>\n"
        "Step 3/6 : COPY f /f\n ---> <id>\n"
        "Step 4/6 : RUN echo a > /a\n ---> Running in <id>\n ---> Removed intermediate container <id>\n ---> <id>\n"
        "Step 5/6 : RUN echo b; echo e >&2\n ---> Running in <id>\nb\n\x1b[91me\n\x1b[0m"
        " ---> Removed intermediate container <id>\n ---> <id>\n"
        'Step 6/6 : CMD ["cat", "/f"]\n ---> Running in <id>\n ---> Removed intermediate container <id>\n ---> <id>\n'
        "Successfully built <id>\nSuccessfully tagged six:latest\n"
    )
    assert built.id == engine.client().images.get("six").id
    assert built.items[0] == {"stream": "Step 1/6 : FROM busybox"}
    assert built.items[1] == {"stream": "\n"}
    assert run(engine, "six") == "hi"


def test_the_same_build_is_cached_whatever_the_times_of_its_files(engine: Engine) -> None:
    dockerfile = "FROM busybox\nCOPY f /f\nRUN echo cached-1 > /a\nLABEL x=y\nWORKDIR /w\n"
    first = build(engine, dockerfile, {"f": "same"})
    again = send(engine, context({"f": "same", "Dockerfile": dockerfile}, mtime=1_800_000_000))
    assert (first.hits, again.hits) == (0, 4)
    assert first.id == again.id
    changed = build(engine, dockerfile, {"f": "other"})
    assert changed.hits == 0
    assert build(engine, dockerfile, {"f": "same"}, nocache="true").hits == 0
    assert build(engine, dockerfile + "RUN true\n", {"f": "same"}).hits == 4


def test_a_miss_makes_the_rest_miss(engine: Engine) -> None:
    build(engine, "FROM busybox\nENV a=1\nENV b=1\nENV c=1\n")
    assert build(engine, "FROM busybox\nENV a=1\nENV b=2\nENV c=1\n").hits == 1


def test_cache_from_counts_only_what_it_names(engine: Engine) -> None:
    dockerfile = "FROM busybox\nENV FOO=bar\nRUN touch baz\nRUN touch bax\n"
    build(engine, dockerfile, t="build1")
    assert build(engine, dockerfile, cachefrom='["build1"]').hits == 3
    assert build(engine, dockerfile, cachefrom='["nosuchtag"]').hits == 0


def test_an_image_from_elsewhere_is_a_cache_by_its_history(engine: Engine) -> None:
    """Loaded images have no parents here: commands and layers are all there is to go by."""
    dockerfile = 'FROM busybox\nENV E=1\nRUN echo elsewhere > /e\nCMD ["cat", "/e"]\n'
    build(engine, dockerfile, t="elsewhere", nocache="1")
    client = engine.client()
    saved = b"".join(client.images.get("elsewhere").save(named=True))
    client.images.remove("elsewhere")
    client.images.load(saved)
    built = build(engine, dockerfile, t="again", cachefrom='["elsewhere"]')
    assert built.hits == 3
    assert run(engine, "again") == "elsewhere\n"


def test_histories_and_configurations_are_dockers(engine: Engine) -> None:
    build(
        engine,
        "FROM busybox\nARG V=1\nENV A=$V B='x y'\nRUN echo $V > /v\nWORKDIR /w\nWORKDIR x\nEXPOSE 80 53/udp\n"
        "COPY --chown=1:2 f /f\nVOLUME /d\nENTRYPOINT e\nLABEL k=v\nUSER nobody\n",
        {"f": "hi\n"},
        t="facts",
        labels={"z": "1", "a": "2"},
        buildargs={"V": "2"},
    )
    digest = "8582af4daeaf0680f84231b3cb3c1b3f178576b5a6a8982837583d5676f28428"
    assert history(engine, "facts")[::-1] == [
        "/bin/sh -c #(nop)  ARG V=1",
        "/bin/sh -c #(nop)  ENV A=2 B=x y",
        "|1 V=2 /bin/sh -c echo $V > /v",
        "/bin/sh -c #(nop) WORKDIR /w",
        "/bin/sh -c #(nop) WORKDIR /w/x",
        "/bin/sh -c #(nop)  EXPOSE 53/udp 80",
        f"/bin/sh -c #(nop) COPY --chown=1:2 file:{digest} in /f ",
        "/bin/sh -c #(nop)  VOLUME [/d]",
        '/bin/sh -c #(nop)  ENTRYPOINT ["/bin/sh" "-c" "e"]',
        "/bin/sh -c #(nop)  LABEL k=v",
        "/bin/sh -c #(nop)  USER nobody",
        "/bin/sh -c #(nop)  LABEL a=2",
        "/bin/sh -c #(nop)  LABEL z=1",
    ]
    found = config(engine, "facts")
    assert found["Env"][1:] == ["A=2", "B=x y"]
    assert found["Labels"] == {"k": "v", "a": "2", "z": "1"}
    assert found["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert (found["WorkingDir"], found["User"], found["Volumes"]) == ("/w/x", "nobody", {"/d": {}})
    assert (found["Entrypoint"], found.get("Cmd")) == (["/bin/sh", "-c", "e"], None)


def test_arguments_are_part_of_a_commands_identity_but_proxies_are_not(engine: Engine) -> None:
    dockerfile = "FROM busybox\nARG V\nRUN echo $V-$HTTP_PROXY\n"
    first = build(engine, dockerfile, buildargs={"V": "1", "HTTP_PROXY": "http://secret:p@x"}, t="proxied")
    assert "1-http://secret:p@x\n" in first.text
    assert build(engine, dockerfile, buildargs={"V": "1", "HTTP_PROXY": "http://other"}).hits == 2
    assert build(engine, dockerfile, buildargs={"V": "2"}).hits == 1
    assert "secret" not in "".join(history(engine, "proxied"))


def test_arguments_that_nobody_takes_are_mentioned(engine: Engine) -> None:
    built = build(engine, "ARG base=busybox\nFROM $base\nENV a=b\n", buildargs={"x": "1", "base": "alpine", "n": None})
    assert "Step 1/3 : ARG base=busybox\nStep 2/3 : FROM $base\n" in built.text
    assert "[Warning] One or more build-args [n x] were not consumed\n" in built.text


def test_stages_give_files_to_later_ones_and_unneeded_ones_do_not_run(engine: Engine) -> None:
    built = build(
        engine,
        "FROM busybox AS one\nRUN mkdir /o && echo 1 > /o/f && chown 9:8 /o/f && ln -s f /o/l\n"
        "FROM busybox AS broken\nRUN exit 1\n"
        "FROM scratch\nCOPY --from=one /o /o\nCOPY --from=0 --chown=4:5 /o/l /f\nCOPY --from=busybox /bin /bin\n"
        'CMD ["/bin/stat", "-c", "%n %u:%g %F", "/o/f", "/o/l", "/f"]\n',
        t="staged",
    )
    assert "Step 1/7 : FROM busybox AS one" in built.text
    assert "broken" not in built.text
    assert run(engine, "staged") == "/o/f 9:8 regular file\n/o/l 0:0 symbolic link\n/f 4:5 regular file\n"


def test_independent_stages_run_at_once(engine: Engine) -> None:
    """Each waits for what the other writes: one after the other they would wait for ever."""
    wait = "RUN --mount=type=cache,id=meet,target=/m touch /m/{own} && until test -e /m/{other}; do sleep 0.01; done"
    dockerfile = (
        f"FROM busybox AS a\n{wait.format(own='a', other='b')}\n"
        f"FROM busybox AS b\n{wait.format(own='b', other='a')}\n"
        "FROM busybox\nCOPY --from=a /etc/passwd /1\nCOPY --from=b /etc/passwd /2\n"
    )
    built = build(engine, dockerfile, nocache="1")
    assert not built.error
    steps = [line.split(" ")[1] for line in built.text.splitlines() if line.startswith("Step ")]
    assert steps == [f"{number}/7" for number in range(1, 8)]


def test_a_target_ends_the_build_early(engine: Engine) -> None:
    dockerfile = "FROM busybox AS first\nLABEL at=first\nFROM busybox\nRUN exit 1\n"
    built = build(engine, dockerfile, target="first", t="early")
    assert not built.error
    assert config(engine, "early")["Labels"] == {"at": "first"}
    assert build(engine, dockerfile, target="nope").error == 'target stage "nope" could not be found'


def test_a_failing_command_ends_the_stream_with_its_code(engine: Engine) -> None:
    built = build(engine, "FROM busybox\nRUN echo out; exit 7\nRUN echo never\n")
    assert built.status == 200
    assert built.error == "The command '/bin/sh -c echo out; exit 7' returned a non-zero code: 7"
    assert built.code == 7
    assert "out\n" in built.text
    assert "never" not in built.text
    assert 'exec: "nosuch": executable file not found in $PATH' in build(engine, 'FROM busybox\nRUN ["nosuch"]\n').error


@pytest.mark.parametrize(
    ("dockerfile", "error"),
    [
        ("FROM busybox\nFOO bar\n", "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)"),
        ("FROM busybox\nENV a\n", "failed to parse Dockerfile: ENV must have two arguments"),
        ("", "the Dockerfile (Dockerfile) cannot be empty"),
        ("RUN x\n", "no build stage in current context"),
        ("FROM busybox AS a\nFROM busybox AS a\n", "a stage name already used"),
        ("FROM busybox\nCOPY --from=9 a b\n", "invalid from flag value 9: index out of bounds"),
    ],
)
def test_a_wrong_dockerfile_is_refused_before_anything_is_done(engine: Engine, dockerfile: str, error: str) -> None:
    built = build(engine, dockerfile)
    assert (built.status, built.error) == (400, error)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"squash": "1"}, "squash is only supported with experimental mode"),
        ({"t": "some/Case"}, "invalid reference format: repository name (some/Case) must be lowercase"),
        ({"buildargs": "[1]"}, "error reading build args: json: a map of strings is needed"),
        (
            {"platform": "a b"},
            '"a b" is an invalid OS component of "a b": OSAndVersion specifier component must match '
            r'"^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.-]*)\\))?$": invalid argument',
        ),
        ({"version": "2"}, "BuildKit is not available here: set DOCKER_BUILDKIT=0 to use the classic builder"),
    ],
)
def test_a_wrong_query_is_refused(engine: Engine, query: dict[str, str], error: str) -> None:
    built = build(engine, "FROM busybox\n", **query)
    assert (built.status, built.error) == (400, error)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("COPY nope /x", "COPY failed: file not found in build context or excluded by .dockerignore: "
                         "stat nope: file does not exist"),
        ("COPY nope* /x", "COPY failed: no source files were specified"),
        ("COPY f Dockerfile /x", "When using COPY with more than one source file, the destination must be a directory "
                                 "and end with a /"),
        ("COPY http://x/y /z", "COPY failed: source can't be a URL for COPY"),
        ("COPY --chown=nosuch f /x", "unable to convert uid/gid chown string to host mapping: "
                                     "can't find uid for user nosuch: no such user: nosuch"),
        ("COPY f /etc/passwd/x", "failed to copy files: /etc/passwd: not a directory"),
        ("WORKDIR /etc/passwd", "Cannot mkdir: /etc/passwd is not a directory"),
        ("USER nosuch\nRUN id", "unable to find user nosuch: no matching entries in passwd file"),
        ("EXPOSE a", "invalid containerPort: a"),
        ("ENV A=${x:?needed}", 'failed to process "${x:?needed}": x: needed'),
        ("RUN --mount=type=bind,source=none,target=/m true", 'failed to compute cache key: "/none": not found'),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_done_says_so_in_the_stream(engine: Engine, line: str, error: str) -> None:
    built = build(engine, f"FROM busybox\n{line}\n", {"f": "x"})
    assert built.status == 200
    assert built.error == error


SESSION = (
    "secrets and ssh agents come with a BuildKit session, which the classic builder (DOCKER_BUILDKIT=0) does not have"
)


@pytest.mark.parametrize(
    ("mount", "name"),
    [
        ("type=secret,id=token,required", "secret token"),
        ("type=secret,target=/etc/keys/token,required=true", "secret token"),
        ("type=secret,source=token,target=/t,required=true", "secret token"),
        ("type=ssh,required=true", "ssh default"),
    ],
)
def test_a_secret_that_must_be_there_is_missed_before_the_first_step(engine: Engine, mount: str, name: str) -> None:
    built = build(engine, f"FROM busybox AS one\nRUN true\nFROM one\nRUN --mount={mount} true\n")
    assert (built.status, built.error) == (400, f"{name}: not found: {SESSION}")


def test_a_secret_that_is_required_by_a_variable_is_missed_at_its_step(engine: Engine) -> None:
    built = build(engine, "FROM busybox\nARG ID=token\nRUN --mount=type=secret,id=$ID,required true\n")
    assert (built.status, built.error) == (200, f"secret token: not found: {SESSION}")


def test_a_stage_that_is_not_built_needs_no_secret(engine: Engine) -> None:
    dockerfile = "FROM busybox AS one\nRUN --mount=type=secret,id=token,required true\nFROM busybox\nENV A=1\n"
    assert not build(engine, dockerfile).error


def test_secrets_and_agents_that_need_not_be_there_are_not(engine: Engine) -> None:
    mounts = "--mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=other --mount=type=ssh"
    script = 'test ! -e /run/secrets/other -a ! -e /run/secrets/token && echo "token=$TOKEN agent=$SSH_AUTH_SOCK"'
    built = build(engine, f"FROM busybox\nRUN {mounts} {script}\n", nocache="1")
    assert "token= agent=\n" in built.text
    assert not built.error


def test_a_quiet_build_says_only_the_id_or_everything_if_it_fails(engine: Engine) -> None:
    built = build(engine, "FROM busybox\nENV q=1\n", q="1", t="quiet")
    assert built.items == [{"stream": engine.client().images.get("quiet").id + "\n"}]
    failed = build(engine, "FROM busybox\nRUN echo why; exit 3\n", q="1")
    assert "why\n" in failed.text
    assert failed.code == 3


def test_mounts_show_the_context_stages_and_caches_and_leave_no_trace(engine: Engine) -> None:
    dockerfile = (
        "FROM busybox AS tools\nRUN mkdir /t && echo tool > /t/x && echo deep > /t/y\n"
        "FROM busybox\n"
        "RUN --mount=target=/ctx --mount=from=tools,source=/t,target=/tools "
        "--mount=type=tmpfs,target=/mem,size=1m --mount=type=cache,id=mounts,target=/cache "
        "--mount=from=tools,source=t/y,target=/one/file "
        "cat /ctx/d/f /tools/x /one/file; ! touch /ctx/no 2>/dev/null && touch /mem/m && "
        "echo $(($(cat /cache/n 2>/dev/null || echo 0) + 1)) > /cache/n && cat /cache/n\n"
        "RUN --mount=target=/ctx,rw --mount=from=tools,source=/t,target=/tools,rw "
        "echo w > /ctx/d/f && echo w > /tools/x\n"
        "RUN --mount=target=/ctx cat /ctx/d/f; ls -d /ctx /tools /mem /cache /one 2>/dev/null; true\n"
    )
    files = {"d/f": "from context\n"}
    first = build(engine, dockerfile, files, t="mounted", nocache="1")
    assert not first.error
    assert "from context\ntool\ndeep\n1\n" in first.text
    assert "\nfrom context\n/ctx\n" in first.text
    assert "2\n ---> Removed" in build(engine, dockerfile, files, nocache="1").text
    assert run(engine, "mounted", "sh", "-c", "ls / | grep -e ctx -e tools -e mem -e cache -e one; true") == ""
    assert build(engine, dockerfile, files).hits == 4
    assert build(engine, dockerfile, {"d/f": "changed\n"}).hits == 1


def test_here_documents(engine: Engine) -> None:
    built = build(
        engine,
        "FROM busybox\nENV who=world\n"
        "RUN <<EOF\necho hello $who\nfalse || echo second line\nEOF\n"
        "RUN <<EOF\n#!/bin/cat\nthis is the program\nEOF\n"
        "RUN cat <<one - <<two\nfirst\none\nsecond\ntwo\n"
        "COPY --chmod=750 <<config.txt <<'raw.txt' /etc/app/\nname=$who\nconfig.txt\nname=$who\nraw.txt\n"
        'CMD ["sh", "-c", "cat /etc/app/config.txt /etc/app/raw.txt; stat -c %a /etc/app/raw.txt"]\n',
        t="here",
    )
    assert not built.error
    assert "hello world\nsecond line\n" in built.text
    assert "#!/bin/cat\nthis is the program\n" in built.text
    assert run(engine, "here") == "name=world\nname=$who\n750\n"


def test_copy_with_modes_exclusions_and_parents(engine: Engine) -> None:
    built = build(
        engine,
        "FROM busybox\nCOPY --chmod=u=rwX,go=rX --exclude=*.log --link d /a\nCOPY --parents x/./y/z/*.c /b\n"
        "COPY --parents x/y/z d/keep /p/\nCOPY --chmod=4711 d/keep /suid\n"
        'CMD ["find", "/a", "/b", "/p", "/suid", "-type", "f", "-exec", "stat", "-c", "%n %a", "{}", "+"]\n',
        {"d/keep": "k", "d/drop.log": "l", "x/y/z/m.c": "c", "x/y/z/n.h": "h"},
        t="flags",
    )
    assert not built.error
    assert sorted(run(engine, "flags").splitlines()) == [
        "/a/keep 644", "/b/y/z/m.c 644", "/p/d/keep 644", "/p/x/y/z/m.c 644", "/p/x/y/z/n.h 644", "/suid 4711",
    ]  # fmt: skip


def test_add_unpacks_archives_by_content_and_copy_does_not(engine: Engine) -> None:
    archive = gzip.compress(context({"in/a": "A", "in/b": "B"}))
    built = build(
        engine,
        "FROM busybox\nADD named.like.a.picture.png /u\nADD plain.tar /p/\nCOPY named.like.a.picture.png /c.gz\n"
        'CMD ["sh", "-c", "cat /u/in/a /u/in/b; ls /p; head -c2 /c.gz | od -An -tx1"]\n',
        {"named.like.a.picture.png": archive, "plain.tar": "no archive"},
        t="added",
    )
    assert not built.error
    assert run(engine, "added") == "ABplain.tar\n 1f 8b\n"


def test_changes_below_a_volume_are_lost_but_copies_are_kept(engine: Engine) -> None:
    build(
        engine,
        "FROM busybox\nRUN mkdir /d && echo 1 > /d/before\nVOLUME /d\n"
        "RUN cat /d/before && echo 2 > /d/run\nCOPY f /d/copied\n",
        {"f": "x"},
        t="volumes",
    )
    assert engine.client().volumes.list() == []
    assert run(engine, "volumes", "ls", "/d").split() == ["before", "copied"]


def test_triggers_run_in_the_child(engine: Engine) -> None:
    build(engine, "FROM busybox\nONBUILD ENV T=1\nONBUILD COPY f /f\nONBUILD RUN echo $T >> /f\n", t="parent")
    assert config(engine, "parent")["OnBuild"] == ["ENV T=1", "COPY f /f", "RUN echo $T >> /f"]
    built = build(engine, 'FROM parent\nCMD ["cat", "/f"]\n', {"f": "f\n"}, t="child")
    assert "Step 1/2 : FROM parent\n# Executing 3 build triggers\n" in built.text
    assert run(engine, "child") == "f\n1\n"
    assert not config(engine, "child").get("OnBuild")


def test_commands_run_as_the_user_in_the_directory_with_the_limits_and_hosts_asked_for(engine: Engine) -> None:
    built = build(
        engine,
        'FROM busybox\nUSER nobody\nWORKDIR /w/x\nSHELL ["/bin/sh", "-ec"]\n'
        "RUN id -un; pwd; grep made-up /etc/hosts; stat -c %u /w/x; "
        "df /dev/shm | tail -1 | awk '{print $2}'; ulimit -n\n"
        "RUN --network=none ls /sys/class/net\n",
        nocache="1",
        extrahosts="made-up:10.1.2.3",
        shmsize=str(8 << 20),
        ulimits='[{"Name":"nofile","Soft":77,"Hard":88}]',
        memory=str(64 << 20),
    )
    assert "nobody\n/w/x\n10.1.2.3\tmade-up\n0\n8192\n77\n" in built.text
    assert "\nlo\n" in built.text
    assert (
        build(engine, "FROM busybox\nRUN ls /sys/class/net; cat /etc/hosts | wc -l\n", networkmode="none").error == ""
    )


def test_a_step_that_changes_nothing_adds_no_layer(engine: Engine) -> None:
    build(engine, "FROM busybox\nRUN true\nWORKDIR /tmp\nWORKDIR /\nENV a=b\nRUN echo x > /x\n", t="layers")
    client = engine.client()
    base = client.images.get("busybox").attrs["RootFS"]["Layers"]
    assert len(client.images.get("layers").attrs["RootFS"]["Layers"]) == len(base) + 1


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_contexts_come_packed(engine: Engine, pack: object) -> None:
    assert callable(pack)
    built = send(engine, pack(context({"Dockerfile": "FROM busybox\nCOPY f /f\n", "f": "x"})))
    assert not built.error


@pytest.mark.parametrize(
    "member",
    [
        entry("../outside"),
        entry("/../../outside"),
        entry("hard", kind=tarfile.LNKTYPE, link="../../../etc/passwd"),
        entry("disk", kind=tarfile.BLKTYPE),
    ],
)
def test_contexts_that_reach_outside_are_refused(engine: Engine, member: tarfile.TarInfo) -> None:
    built = send(engine, context({"Dockerfile": "FROM busybox\n", "evil": member}))
    assert built.status == 400


def test_links_in_a_context_do_not_show_the_hosts_files(engine: Engine) -> None:
    link = entry("secret", kind=tarfile.SYMTYPE, link="/etc/hostname")
    upward = entry("up", kind=tarfile.SYMTYPE, link="../../../../../../..")
    built = build(engine, "FROM busybox\nCOPY secret /s\n", {"secret": link})
    assert "stat secret: file does not exist" in built.error
    assert "stat up/etc: file does not exist" in build(engine, "FROM busybox\nCOPY up/etc /s\n", {"up": upward}).error
    as_file = entry("Dockerfile", kind=tarfile.SYMTYPE, link="/etc/passwd")
    assert "Cannot locate" in send(engine, context({"Dockerfile": as_file})).error


def test_rubbish_is_no_context(engine: Engine) -> None:
    assert send(engine, b"this is no archive at all" * 100).status == 400
    assert send(engine, b"").error == "Cannot locate specified Dockerfile: Dockerfile"
    assert send(engine, gzip.compress(b"neither")[:-6]).status == 400


def test_ignored_files_of_the_build_itself_are_not_in_the_context(engine: Engine) -> None:
    built = build(
        engine,
        "FROM busybox\nCOPY . /c\nRUN ls -A /c\n",
        {".dockerignore": "Dockerfile\n.dockerignore\n", "f": "x"},
        nocache="1",
    )
    assert "Running in" in built.text
    assert "\nf\n ---> Removed" in built.text


def test_a_dockerfile_in_lower_case_will_do(engine: Engine) -> None:
    assert not send(engine, context({"dockerfile": "FROM busybox\nENV lower=1\n"})).error
    assert not send(engine, context({"sub/Other": "FROM busybox\nENV other=1\n"}), dockerfile="sub/Other").error
    assert send(engine, context({"f": ""}), dockerfile="Other").error == "Cannot locate specified Dockerfile: Other"


def test_an_image_is_tagged_with_every_name(engine: Engine) -> None:
    built = build(engine, "FROM busybox\nENV tagged=1\n", t=["one/name:1", "other"])
    assert built.text.endswith("Successfully tagged one/name:1\nSuccessfully tagged other:latest\n")
    client = engine.client()
    assert client.images.get("one/name:1").id == client.images.get("other").id == built.id
    assert build(engine, "FROM scratch\n").error == "No image was generated. Is your Dockerfile empty?"


def test_the_client_takes_the_code_of_the_command_as_its_own(engine: Engine) -> None:
    done = engine.cli("build", "-", input="FROM busybox\nRUN exit 42\n", check=False)
    assert done.returncode == 42
    assert "The command '/bin/sh -c exit 42' returned a non-zero code: 42" in done.stderr
