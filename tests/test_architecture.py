"""The import contract. Think hard before editing this file: the layout is the architecture.

Imports point down: faces, products, assemblies, cores, formats, base. Products meet at protocols, never at each other's
internals. Cores decide and shells act, so a core imports nothing that has time, chance, threads or sockets in it.
"""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "riverport"

LAYERS = [
    ["riverport.sim"],
    ["riverport.cli", "riverport.console", "riverport.testing"],
    ["riverport.aws"],
    ["riverport.kube", "riverport.connect", "riverport.schemas"],
    ["riverport.engine", "riverport.kafka.server"],
    [
        "riverport.kafka.groups",
        "riverport.kafka.transactions",
        "riverport.kafka.share",
        "riverport.kafka.security",
        "riverport.kafka.quota",
        "riverport.kafka.admin",
    ],
    ["riverport.kafka.controller", "riverport.kafka.replica"],
    ["riverport.kafka.raft", "riverport.kafka.log"],
    ["riverport.kafka.client"],
    ["riverport.kafka.records", "riverport.kafka.wire"],
    ["riverport.base"],
]
"""From the top down. A package may import its own layer and those below it."""

SHOWS_THE_SIMULATOR = ["riverport.cli", "riverport.testing"]
"""The simulator may import anything, and only these import it, where it is asked for."""

PRODUCTS = ["kafka", "connect", "schemas", "engine", "kube", "aws"]
"""None of these imports another; `kafka.client` is the one part of Kafka that other products use."""

CORES = [
    "riverport.kafka.wire",
    "riverport.kafka.records",
    "riverport.kafka.raft",
    "riverport.kafka.log",
    "riverport.kafka.replica",
    "riverport.kafka.controller",
    "riverport.kafka.groups",
    "riverport.kafka.transactions",
    "riverport.kafka.share",
    "riverport.kafka.security",
    "riverport.kafka.quota",
    "riverport.kafka.admin",
]
FORBIDDEN_IN_CORES = {"asyncio", "socket", "os", "time", "random", "uuid", "threading"}


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def layer_of(module: str) -> int | None:
    for depth, packages in enumerate(LAYERS):
        if any(belongs(module, package) for package in packages):
            return depth
    return None


@pytest.mark.parametrize(("module", "path"), modules())
def test_imports_point_down(module: str, path: Path) -> None:
    own = layer_of(module)
    if own is None:
        return
    for name in imports_of(path):
        other = layer_of(name)
        if belongs(name, "riverport.sim") and any(belongs(module, face) for face in SHOWS_THE_SIMULATOR):
            continue
        assert other is None or other >= own, f"{module} imports {name}, which lies above it"


@pytest.mark.parametrize(("module", "path"), modules())
def test_products_meet_at_protocols(module: str, path: Path) -> None:
    product = next((p for p in PRODUCTS if belongs(module, f"riverport.{p}")), None)
    if product is None:
        return
    for name in imports_of(path):
        for other in PRODUCTS:
            inside = other != product and belongs(name, f"riverport.{other}")
            assert not inside or belongs(name, "riverport.kafka.client"), f"{module} imports {name}"


@pytest.mark.parametrize(("module", "path"), [(m, p) for m, p in modules() if any(belongs(m, c) for c in CORES)])
def test_cores_have_no_time_chance_threads_or_sockets(module: str, path: Path) -> None:
    # `python -m` generators beside the code are tools, not part of the core.
    if module == "riverport.kafka.wire.stubs":
        return
    found = {name.split(".")[0] for name in imports_of(path)} & FORBIDDEN_IN_CORES
    assert not found, f"{module} imports {', '.join(sorted(found))}"


def test_every_package_explains_itself() -> None:
    silent = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("__init__.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent, f"packages without a docstring: {silent}"


def test_no_two_test_modules_have_one_name() -> None:
    """pytest imports them by their names alone."""
    names = sorted(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, following in pairwise(names) if name == following] == []
