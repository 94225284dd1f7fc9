"""What `pip install` of the project gives: the lists of packages, the wheel, the command."""

import ast
import functools
import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from helpers import ROOT, link_distributions, requirements
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

import flowers_model
from flowers_model import installation
from flowers_model.__main__ import main

METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = METADATA["project"]
EXTRAS = PROJECT["optional-dependencies"]


def installed(extras: list[str]) -> set[str]:
    """All requirements of installing the project with these extras."""
    lines = set(PROJECT["dependencies"])
    for extra in extras:
        for line in EXTRAS[extra]:
            one = Requirement(line)
            lines |= installed(sorted(one.extras)) if one.name == PROJECT["name"] else {line}
    return lines


# The lists.


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("spaces/requirements.txt", []),
        ("requirements.txt", ["train"]),
        ("requirements-gpu.txt", ["gpu"]),
        ("requirements-tpu.txt", ["tpu"]),
        ("requirements-dev.txt", ["dev"]),
    ],
)
def test_a_requirements_file_asks_for_what_the_extra_does(file, extras):
    assert sorted(requirements(file)) == sorted(installed(extras))


@pytest.mark.parametrize("extra", ["track", "backbones"])
def test_the_file_of_an_addition_asks_for_what_its_extra_does(extra):
    assert requirements(f"requirements-{extra}.txt") == EXTRAS[extra]


# Imported without being listed: modules from a folder on the path, and what ZeroGPU provides.
LOCAL = {"app", "flowers_model", "page", "train", "spaces"}
LOCAL |= {file.stem for folder in ("spaces", "tests") for file in (ROOT / folder).glob("*.py")}


@pytest.mark.parametrize(
    ("place", "extras"),
    [
        ("app.py", []),
        ("page", []),
        ("spaces", []),
        # It also builds the networks for training.
        ("flowers_model", ["train", "backbones"]),
        ("train", ["train", "track"]),
        ("tests", ["dev"]),
    ],
)
def test_what_is_imported_is_asked_for_by_name(place, extras):
    """Required directly, and not just by another package that happens to need it."""
    names = {canonical(Requirement(line).name) for line in installed(extras)}
    distributions = packages_distributions()
    files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
    assert files
    unnamed = [
        f"{file.relative_to(ROOT)}: {module}"
        for file in files
        for module in imported(file) - sys.stdlib_module_names - LOCAL
        # A package that is not installed, often keras-hub, is assumed to have the same name.
        if not names & {canonical(name) for name in distributions.get(module, [module])}
    ]
    assert unnamed == []


packages_distributions = functools.cache(importlib.metadata.packages_distributions)  # a second


def imported(file: pathlib.Path) -> set[str]:
    """The top-level modules that a file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    return modules


# The command.


def test_the_commands_are_those_of_a_clone_and_name_themselves_as_they_were_started():
    assert PROJECT["scripts"] == {"flowers": f"{main.__module__}:flowers"}
    files = set()
    for command, (place, _) in installation.COMMANDS.items():
        file = ROOT / (place if place.endswith(".py") else f"{place.replace('.', '/')}.py")
        assert f'spoken("{command}")' in file.read_text("utf-8"), file
        assert installation.spoken(command) in (f"python {place}", f"python -m {place}")
        files.add(file)
    started = 'if __name__ == "__main__":'
    for folder in (ROOT, ROOT / "train", ROOT / "spaces"):
        found = {file for file in folder.glob("*.py") if started in file.read_text("utf-8")}
        assert found - {ROOT / "spaces/zero.py"} == {
            file for file in files if file.parent == folder
        }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "error: there is no command 'trian'; did you mean train?"),
        ([], "error: the following arguments are required: COMMAND; see --help"),
    ],
)
def test_a_command_that_does_not_exist_is_one_line(arguments, line, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    said = capsys.readouterr().out
    assert re.findall(r"^  ([a-z]+)  ", said, re.MULTILINE) == list(installation.COMMANDS)


@pytest.mark.parametrize(
    ("noted", "origin"),
    [
        (None, ""),
        ({"url": "file:///home/ada/flowers", "dir_info": {}}, " @ file:///home/ada/flowers"),
        (
            {
                "url": "https://example.org/flowers.git",
                "vcs_info": {"vcs": "git", "requested_revision": "v1", "commit_id": "0" * 40},
            },
            " @ git+https://example.org/flowers.git@v1",
        ),
    ],
)
def test_what_is_missing_is_installed_from_where_the_package_came(
    noted, origin, tmp_path, monkeypatch
):
    assert installation.install_line("train") == "pip install -r requirements.txt"
    assert installation.install_line("gpu") == "pip install -r requirements-gpu.txt"
    folder = tmp_path / "flowers_model-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.4\nName: flowers-model\nVersion: 0.1.0\n")
    if noted:
        (folder / "direct_url.json").write_text(json.dumps(noted))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installation, "IN_CLONE", False)
    assert installation.install_line("gpu") == f'pip install "flowers-model[gpu]{origin}"'


# The wheel.


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> pathlib.Path:
    """A folder with what `pip install` of the project installs without any extra."""
    pytest.importorskip("hatchling", reason="pip install -r requirements-dev.txt")
    folder = tmp_path_factory.mktemp("packages")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder)
    wheel.unlink()
    link_distributions(folder, PROJECT["dependencies"])
    return folder


def python(packages: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python with only these packages installed, in an empty folder."""
    environment = os.environ | {"PYTHONPATH": str(packages)}
    command = [sys.executable, "-S", *arguments]
    folder = packages.parent
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def flowers(packages: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    start = "from flowers_model.__main__ import flowers; flowers()"
    return python(packages, "-c", start, *arguments)


def test_the_wheel_holds_the_project_and_puts_one_name_into_site_packages(packages):
    unwanted = {"__pycache__"}
    for folder in ("flowers_model", "page", "spaces", "train"):
        for file in (path for path in (ROOT / folder).rglob("*") if path.is_file()):
            if unwanted.isdisjoint(file.parts):
                place = file.relative_to(ROOT)
                inside = place if folder == "flowers_model" else "flowers_model/project" / place
                assert (packages / inside).is_file(), inside
    names = {path.name for path in packages.iterdir() if not path.is_symlink()}
    version = flowers_model.__version__
    assert names == {"flowers_model", f"flowers_model-{version}.dist-info"}
    assert not {"keras", "jax", "tensorflow"} & {path.name for path in packages.iterdir()}
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_installed_without_extras_it_names_a_flower(packages):
    done = python(
        packages,
        "-c",
        "import flowers_model, json, pathlib\n"
        "model = flowers_model.FlowerClassifier.from_pretrained()\n"
        "gallery = model.folder / 'gallery'\n"
        "first = json.loads((gallery / 'index.json').read_text())['photos'][0]\n"
        "print(flowers_model.__file__)\n"
        "print(model.classify(gallery / first['file'])[0].labels[0] == first['label'])",
    )
    assert done.stdout.splitlines() == [str(packages / "flowers_model/__init__.py"), "True"]


def test_installed_without_extras_it_names_many_photos(packages, tmp_path):
    default = packages / "flowers_model/default"
    rest = ["--model", str(default), "--output", str(tmp_path / "answers.csv")]
    done = flowers(packages, "predict", str(default / "gallery/rose-1.jpg"), *rest)
    assert done.returncode == 0, done.stderr
    assert "rose-1.jpg,,rose," in (tmp_path / "answers.csv").read_text("utf-8")


@pytest.mark.parametrize("arguments", ["train", "predict --model {} --data tfrecord:photos"])
def test_installed_without_extras_training_is_one_line_that_says_what_to_install(
    packages, arguments
):
    done = flowers(packages, *arguments.format(packages / "flowers_model/default").split())
    assert done.returncode == 2
    assert done.stdout + done.stderr == (
        f"error: flowers {arguments.split()[0]} needs the packages for training: "
        'pip install "flowers-model[train]"\n'
    )


@pytest.mark.slow
def test_a_space_deployed_by_an_installed_command_is_the_one_of_a_clone(packages, tmp_path):
    rest = ["ada/which-flower", "--model", "ada/flowers", "--dry-run"]
    done = flowers(packages, "deploy", *rest, str(tmp_path / "installed"))
    assert done.returncode == 0, done.stderr
    assert flowers(packages, "deploy", "--help").stdout.startswith(
        "usage: flowers deploy [options]"
    )
    command = [sys.executable, "spaces/deploy.py", *rest, str(tmp_path / "clone")]
    subprocess.run(command, cwd=ROOT, check=True)
    installed, clone = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "installed", tmp_path / "clone")
    )
    assert installed == clone
