"""Throws damaged Dockerfiles at the builder's parser: `python fuzz/fuzz_dockerfile.py --seconds 60 [--seed N]`.

Cases are made from a valid Dockerfile with every instruction, so that damage reaches deep: pieces cut out, doubled and
moved, and the worst characters put anywhere. The same seed makes the same cases. A case passes if it is read, expanded
and configured, or refused with one of the builder's own errors, within a second; the first other one is printed in
full and ends the run with exit code 1.
"""

import argparse
import contextlib
import random
import sys
import time
import traceback

from riverport.engine.build.config import begin, configured, expand_instruction, variables_of
from riverport.engine.build.dockerfile import parse
from riverport.engine.build.dockerignore import Ignore
from riverport.engine.build.expand import ExpansionError, expand
from riverport.engine.build.golang import BadPattern
from riverport.engine.build.instructions import Copy, Instruction, Run
from riverport.engine.build.lexer import DockerfileError
from riverport.engine.build.modes import parse_mode
from riverport.engine.build.mounts import parse_mount
from riverport.engine.build.stages import plan_stages
from riverport.engine.errors import InvalidParameter

SECONDS_PER_CASE = 1.0
SEED_TEXT = r"""# syntax=docker/dockerfile:1
# escape=\
ARG base=busybox tag
FROM --platform=$TARGETPLATFORM ${base:-alpine}:${tag} AS one
ENV A=1 B="two $A words" C=x\ y D='single $A'
ENV old form of it
ARG V=${A#1} W
RUN --mount=type=cache,target=/c,id=$A --mount=from=other,source=/a,target=/b --network=none echo \
  # comment
  ${V//a/b} && exit
RUN <<EOF
echo $A
EOF
RUN <<-"EOF" cat - <<two
	tabs
	EOF
second
two
COPY --from=some/image --chown=$A:2 --chmod=u=rwX,go=rX --exclude=**/*.[a-c] --link --parents a* [b-d] e.f /dir/
ADD ["with space", "/x"]
ADD --checksum=sha256:0 https://x/y /z
COPY <<a.txt <<'b.txt' /heredocs/
$A
a.txt
literal $A
b.txt
WORKDIR ${B%words}
LABEL "com.example"="x" other=$A
EXPOSE 80 8000-8010/udp $PORTS
VOLUME ["/v", "/w"]
USER ${USER:+nobody}
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=1m30s --retries=3 CMD curl http://x || exit 1
ONBUILD RUN <<E
trigger
E
ENTRYPOINT ["a", "b"]
CMD c d
MAINTAINER me
FROM one
FROM scratch AS last
COPY --from=one / /
"""
WORST = [
    "\\", "\\\n", "`", '"', "'", "[", "]", "$", "${", "}", "<<", "<<-", "--", "=", ",", "#", "\0", "\ufeff", "é",
    "\udcff", "**/", "*" * 40, "${a:-" * 60, "[" * 2000, " " * 3000, "\t", "\r", "%%", "//", "/./",
]  # fmt: skip
ENVIRONMENT = {"A": "1", "B": "two words", "PORTS": "80 443", "long": "a" * 3000}
# Of expansion, options and patterns; the builder's steps turn each into an answer.
REFUSALS = (DockerfileError, InvalidParameter, ExpansionError, BadPattern)


def damage(rng: random.Random, text: str) -> str:
    """One to six wounds, of characters or of lines."""
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at = rng.randint(0, len(text))
        lines = text.splitlines(keepends=True)
        match rng.randrange(6):
            case 0:
                text = text[:at] + text[at + rng.randint(1, 12) :]
            case 1:
                text = text[:at] + rng.choice(WORST) + text[at:]
            case 2:
                piece = text[at : at + rng.randint(1, 80)]
                to = rng.randint(0, len(text))
                text = text[:to] + piece + text[to:]
            case 3:
                rng.shuffle(lines)
                text = "".join(lines[: rng.randint(0, len(lines))])
            case 4:
                text = "".join(rng.sample(lines, min(len(lines), rng.randint(1, 6))))
            case _:
                text = text[:at] + text[at : at + 20] * rng.randint(1, 30) + text[at:]
    return text


def check(source: bytes) -> bool:
    """Whether the case was read. Raises what should not have been raised."""
    try:
        dockerfile = parse(source)
        bases = [expand(stage.origin.image, ENVIRONMENT, dockerfile.escape) for stage in dockerfile.stages]
        plan = plan_stages(dockerfile.stages, "", bases)
        for number in plan.order:
            draft = begin({"Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()]})
            for instruction in dockerfile.stages[number].instructions:
                variables = variables_of(draft.environment, {"V": "value"})
                instruction = expand_instruction(instruction, variables, dockerfile.escape)
                effect = configured(instruction, draft, variables, dockerfile.escape)
                draft = effect.draft if effect is not None else draft
                read_options(instruction)
    except REFUSALS:
        return False
    return True


def read_options(instruction: Instruction) -> None:
    """What a step reads of its own options; plain ValueErrors are their refusals."""
    with contextlib.suppress(ValueError):
        if isinstance(instruction, Run):
            for mount in instruction.mounts:
                parse_mount(mount, lambda word: word)
        if isinstance(instruction, Copy):
            Ignore(instruction.exclude).matches("a/b/c.txt" * 20)
            parse_mode(instruction.chmod or "755")(0o644, False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    rng = random.Random(given.seed)
    assert check(SEED_TEXT.encode()), "the undamaged Dockerfile is refused"
    end = time.monotonic() + given.seconds
    cases = read = 0
    while time.monotonic() < end:
        source = damage(rng, SEED_TEXT).encode("utf-8", "surrogateescape")
        began = time.process_time()
        try:
            read += check(source)
            assert time.process_time() - began < SECONDS_PER_CASE, "it took too long"
        except Exception:
            traceback.print_exc()
            print(f"fuzz_dockerfile: seed {given.seed}, case {cases}\n{source!r}", file=sys.stderr)
            return 1
        cases += 1
    print(f"{cases} cases, {read} of them read")
    return 0


if __name__ == "__main__":
    sys.exit(main())
