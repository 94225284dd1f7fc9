"""Where the project's files are, how its commands are started, and how its extras are installed."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
# Once installed, what lies beside the package in a clone is in a folder inside it: a `train` or an
# `app` in site-packages would clash with other projects.
PROJECT = HERE / "project"
IN_CLONE = not PROJECT.is_dir()
ROOT = HERE.parent if IN_CLONE else PROJECT
DISTRIBUTION = "flowers-model"


class Command(NamedTuple):
    """What `flowers NAME` starts; in a clone, `python FILE` or `python -m MODULE`."""

    place: str  # a file below ROOT, or a module
    about: str

    @property
    def in_clone(self) -> str:
        """How a clone of the project starts it."""
        return f"python {self.place}" if self.place.endswith(".py") else f"python -m {self.place}"


COMMANDS = {
    "train": Command("train/run.py", "train a classifier and write its bundle"),
    "app": Command("app.py", "serve the web page of a model"),
    "predict": Command("train.predict", "classify photos, and write a table of the answers"),
    "explain": Command("flowers_model.explain", "show which parts of a photo decided the answer"),
    "teach": Command("flowers_model.teach", "teach a model new classes from a few photos"),
    "evaluate": Command("train.evaluate", "evaluate models on photos"),
    "calibrate": Command("train.calibrate", "recalibrate probabilities, refusals and label sets"),
    "explore": Command("train.explore", "survey a dataset before training"),
    "relabel": Command("train.relabel", "find photos that are probably labelled wrong"),
    "convert": Command("train.convert", "convert photos to TFRecords, or TFRecords to folders"),
    "sweep": Command("train.sweep", "train a grid of settings and compare the runs"),
    "plan": Command("train.plan", "estimate what training on TPU v5e chips takes"),
    "export": Command("flowers_model.export", "export a bundle's network to ONNX or LiteRT"),
    "deploy": Command("spaces/deploy.py", "deploy the page as a Hugging Face Space"),
    "static": Command(
        "spaces/static_site.py", "write a static page that classifies in the browser"
    ),
    "release": Command("train.release", "make a bundle the default model of this project"),
}

# What starts without the extra `train`; `teach` itself names the two packages that it needs.
SERVING = {"app", "predict", "explain", "teach", "deploy", "static"}

# "flowers" if this process was started by it.
started_as: str | None = None


def spoken(command: str) -> str:
    """How one of `COMMANDS` is started here.

    >>> spoken("evaluate")
    'python -m train.evaluate'

    It is `'flowers evaluate'` if this process was started by `flowers`.
    """
    return f"{started_as} {command}" if started_as else COMMANDS[command].in_clone


def as_started(text: str) -> str:
    """A text whose example commands are written as in a clone, with commands as `spoken` here."""
    for name, command in COMMANDS.items() if started_as else ():
        text = text.replace(command.in_clone, spoken(name))
    return text


def install_line(extra: str) -> str:
    """The command that installs one of the project's extras, such as `gpu`, where it is installed.

    In a clone it installs a requirements file; else it names where the package was installed from,
    which pip has recorded.
    """
    if IN_CLONE:
        return f"pip install -r requirements{'' if extra == 'train' else f'-{extra}'}.txt"
    return f'pip install "{DISTRIBUTION}[{extra}]{_origin()}"'


def _origin() -> str:
    """` @ URL` if the package came from a folder, a file or a repository; empty if from an index.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    try:
        noted = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        noted = None
    if noted is None:
        return ""
    origin = json.loads(noted)
    if "vcs_info" not in origin:
        return f" @ {origin['url']}"
    revision = origin["vcs_info"].get("requested_revision")
    return f" @ {origin['vcs_info']['vcs']}+{origin['url']}" + (f"@{revision}" if revision else "")
