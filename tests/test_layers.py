"""The layers of the project: who may import whom, over all imports, wherever they stand.

Imports inside functions and under TYPE_CHECKING count as well: they tie two modules together just
the same. The code is read, not imported.
"""

import ast
import functools
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The layers of each package, from the top down. A module imports from its own layer and those
# below it.
LAYERS = {
    "train": (
        (
            "calibrate",
            "convert",
            "evaluate",
            "explore",
            "plan",
            "predict",
            "relabel",
            "release",
            "run",
            "sweep",
        ),
        ("job",),
        ("bundles", "plans"),
        ("reports",),
        ("loop",),
        ("evaluation", "experiment", "presets"),
        ("data",),
        ("sources",),
        ("devices", "optim"),
    ),
    "page": (
        ("",),  # build
        ("tabs",),
        ("context", "server", "theme"),
        ("examples", "frame", "guard", "verdict", "visit"),
        ("html",),
        ("words",),
    ),
}
COMMANDS = LAYERS["train"][0]


@functools.cache
def modules() -> dict[str, pathlib.Path]:
    """The file of each module of the project's packages, by dotted name."""
    found = {}
    for package in ("flowers_model", "page", "train"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found[
                ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            ] = path
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """The project's modules that each module imports."""
    found = {}
    for name, path in modules().items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}:{node.lineno} imports relatively"
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found[name].add(inner if inner in modules() else node.module)
        found[name] &= modules().keys() - {name}
    return found


def room(module: str) -> str:
    """The part of a module's name that `LAYERS` lists."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("package", LAYERS)
def test_modules_import_from_their_own_layer_or_from_those_below(package):
    layer = {name: number for number, names in enumerate(LAYERS[package]) for name in names}
    wrong = [
        f"{module} imports {other}"
        for module, others in imports().items()
        if module.startswith(f"{package}.") or (module == package and "" in layer)
        for other in others
        if other.split(".")[0] == package and layer[room(module)] > layer[room(other)]
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    try:
        graphlib.TopologicalSorter(imports()).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_packages_import_in_one_direction():
    allowed = {"flowers_model": {"flowers_model"}}
    allowed |= {name: {name, "flowers_model"} for name in ("page", "train")}
    wrong = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if other.split(".")[0] not in allowed[module.split(".")[0]]
    ]
    assert wrong == []


def test_nothing_imports_a_command():
    commands = {f"train.{name}" for name in COMMANDS}
    assert commands <= modules().keys()
    for module, others in imports().items():
        assert not others & commands, f"{module} imports a command"
    for name in COMMANDS:
        assert '__name__ == "__main__"' in modules()[f"train.{name}"].read_text("utf-8")
