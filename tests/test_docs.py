"""The project's pages agree with the code: links, commands, flags, paths, messages, the API."""

import argparse
import ast
import functools
import importlib.util
import itertools
import pathlib
import re
import shlex
from collections.abc import Iterator

import pytest

from flowers_model.installation import COMMANDS
from train.data.augment import STEPS
from train.experiment import Experiment, add_settings, load_preset

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
# Folders whose files the pages name.
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."}
FOLDERS -= {"runs", "report"}
# Flags of programs that are not ours.
FOREIGN = {"--help", "--data-binary"}
# Programs that take a preset and the settings of training.
TRAINING = {
    "train/run.py", "train/sweep.py", "benchmarks/head_stage.py", "benchmarks/large_set.py",
}  # fmt: skip

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def fences(text: str) -> list[tuple[str, str]]:
    """The language and the text of each code block."""
    return re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text)


def prose(text: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def spans(text: str) -> list[str]:
    """The text between backticks in a page's prose."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found = set()
    for title in re.findall(r"(?m)^#+ (.+)$", prose(text)):
        title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        names = (f"{slug}-{number}" if number else slug for number in itertools.count())
        found.add(next(name for name in names if name not in found))
    return found


def commands(text: str) -> list[list[str]]:
    """The words of each Python command in a page's code blocks and prose."""
    lines = [span for span in spans(text) if span.startswith(("python ", "flowers ", "KERAS_"))]
    for language, block in fences(text):
        if not language:
            lines += block.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        words.whitespace_split = True
        for operator, part in itertools.groupby(words, lambda word: word in ("&&", "|", ";")):
            part = list(itertools.dropwhile(re.compile(r"[A-Z_]+=").match, part))
            if not operator and part[:1] == ["python"]:
                found.append(part[1:])
            elif not operator and part[:1] == ["flowers"] and part[1] not in ("COMMAND", "--help"):
                place = COMMANDS[part[1]].place
                found.append([*([] if place.endswith(".py") else ["-m"]), place, *part[2:]])
    return found


@functools.cache
def flags(path: str) -> frozenset[str]:
    """The flags that a command's file adds to its parser, read off its source."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
        for argument in node.args
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("-")
    )


def settings() -> argparse.ArgumentParser:
    """A parser of the settings of an experiment."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_settings(parser)
    return parser


def all_flags() -> set[str]:
    files = [*ROOT.glob("*.py"), *(file for name in FOLDERS for file in ROOT.glob(f"{name}/*.py"))]
    known = {flag for file in files for flag in flags(str(file.relative_to(ROOT)))}
    return known | set(settings()._option_string_actions)


def test_the_readme_is_short_and_has_its_two_lines():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    assert "pip install -r requirements.txt && KERAS_BACKEND=jax python train/run.py" in lines
    assert "pip install -r requirements-dev.txt && pytest" in lines


def test_every_command_of_flowers_is_in_the_page_on_installing():
    said = spans((ROOT / "docs/install.md").read_text("utf-8"))
    assert {f"flowers {name}" for name in COMMANDS} <= set(said)


@pages
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), target


@pages
def test_commands_exist_and_take_their_flags(page):
    for words in commands(page.read_text("utf-8")):
        if words[0] == "-m":
            name, words = words[1], words[2:]
            if name.split(".")[0] not in FOLDERS:
                continue  # python -m venv
            path = f"{name.replace('.', '/')}.py"
        else:
            path, *words = words
        assert (ROOT / path).is_file(), path
        known = flags(path)
        if path in TRAINING:
            known |= {"--preset"}
            values, words = settings().parse_known_args(words)
            preset = words[words.index("--preset") + 1] if "--preset" in words else "quickstart"
            experiment: Experiment = load_preset(preset).EXPERIMENT
            experiment.changed(vars(values))
        assert {word for word in words if word.startswith("--")} <= known | FOREIGN, path


@pages
def test_flags_in_the_text_exist(page):
    said = {
        word.rstrip(",.")
        for span in spans(page.read_text("utf-8"))
        for word in span.split()
        if word.startswith("--")
    }
    assert {flag.partition("=")[0] for flag in said} <= all_flags() | FOREIGN


@pages
def test_files_in_the_text_exist(page):
    for span in spans(page.read_text("utf-8")):
        if "/" in span and span.split("/")[0] in FOLDERS and re.fullmatch(r"[\w./-]+", span):
            assert (ROOT / span).exists(), span


def messages(file: pathlib.Path) -> Iterator[str]:
    """The strings in a module, with its own constants filled in."""
    tree = ast.parse(file.read_text("utf-8"))
    known: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names, values = ast.unparse(node.targets[0]), ast.unparse(node.value)
            known |= zip(
                names.strip("()").split(", "), values.strip("()").split(", "), strict=False
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [getattr(part, "value", part) for part in node.values]
            yield "".join(
                part if isinstance(part, str) else known.get(ast.unparse(part), "…").strip("'")
                for part in parts
            )


def test_quoted_messages_are_the_programs_own():
    """Messages quoted in troubleshooting.md, split at values and punctuation, are in the code."""
    sources = [file for name in FOLDERS - {"tests"} for file in ROOT.glob(f"{name}/**/*.py")]
    known = "\n".join(text for file in sources for text in messages(file))
    known += (ROOT / "page/words.json").read_text("utf-8")
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    quoted = [block for language, block in fences(page) if language == "text"]
    quoted += [span for span in spans(page) if re.match("[a-z' ]+ [a-z' ]+ [a-z' ]+$", span)]
    parts = [part.strip(" ();:,.") for part in re.split("[…\n;:]", "\n".join(quoted))]
    assert [part for part in parts if part not in known] == []


def test_the_api_reference_is_what_its_command_writes():
    spec = importlib.util.spec_from_file_location("build_api", ROOT / "docs/build_api.py")
    build_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build_api)
    written = (ROOT / "docs/api.md").read_text("utf-8")
    assert written == build_api.build(), "run python docs/build_api.py"


def test_the_table_of_augmentation_steps_is_that_of_the_help():
    text = (ROOT / "docs/training.md").read_text("utf-8")
    rows = dict(re.findall(r"(?m)^\| `(\w+)`[^|]* \| (.*?)(?: \(\[.*)? \|$", text))
    assert {name: rows.get(name) for name in STEPS} == STEPS
