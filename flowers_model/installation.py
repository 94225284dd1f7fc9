"""Where the project's files are, how its commands are started, and how its extras are installed."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
# An installed package keeps in a folder of its own what lies beside it in a clone: a `train` or an
# `app` in site-packages would be in the way of other people's.
PROJECT = HERE / "project"
IN_CLONE = not PROJECT.is_dir()
ROOT = HERE.parent if IN_CLONE else PROJECT
DISTRIBUTION = "flowers-model"


class Command(NamedTuple):
    """What `flowers NAME` starts, as `python FILE` or `python -m MODULE` does in a clone."""

    place: str  # a file below ROOT, or a module
    about: str


COMMANDS = {
    "train": Command("train/run.py", "train a network, and leave a bundle"),
    "app": Command("app.py", "show the page of a model in the browser"),
    "predict": Command("train.predict", "name the flowers in many photos"),
    "explain": Command("flowers_model.explain", "show where in a photo the network looked"),
    "teach": Command("flowers_model.teach", "teach a model new classes from a few photos"),
    "evaluate": Command("train.evaluate", "measure models on photos"),
    "calibrate": Command("train.calibrate", "fit probabilities, refusal and label sets anew"),
    "explore": Command("train.explore", "look at a collection of photos before training"),
    "relabel": Command("train.relabel", "find labels that are probably wrong"),
    "convert": Command("train.convert", "convert photos to TFRecords, or back to folders"),
    "sweep": Command("train.sweep", "train a grid of settings, and compare the runs"),
    "plan": Command("train.plan", "plan training on TPU v5e chips, without one"),
    "export": Command("flowers_model.export", "write a network as ONNX, or LiteRT for phones"),
    "deploy": Command("spaces/deploy.py", "make a Hugging Face Space of the page"),
    "static": Command("spaces/static_site.py", "write the page that runs in the browser alone"),
    "release": Command("train.release", "make a bundle the model that comes with the code"),
}

# What starts without the extra `train`; `teach` asks for two of its packages by name.
SERVING = {"app", "predict", "explain", "teach", "deploy", "static"}

# `flowers`, where this process was started so.
started_as: str | None = None


def spoken(command: str) -> str:
    """How a person starts one of `COMMANDS` here.

    >>> spoken("evaluate")
    'python -m train.evaluate'

    After `flowers …` it is `'flowers evaluate'`.
    """
    if started_as:
        return f"{started_as} {command}"
    place = COMMANDS[command].place
    return f"python {place}" if place.endswith(".py") else f"python -m {place}"


def install_line(extra: str) -> str:
    """The command that installs one of the project's extras, such as `gpu`, where it is installed.

    In a clone it is that of a requirements file; else it names the place that the package was
    installed from, as pip has noted it.
    """
    if IN_CLONE:
        return f"pip install -r requirements{'' if extra == 'train' else f'-{extra}'}.txt"
    return f'pip install "{DISTRIBUTION}[{extra}]{_origin()}"'


def _origin() -> str:
    """` @ URL` of an installation from a folder, a file or a repository; empty from an index.

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
