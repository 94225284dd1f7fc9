"""The same training on one of the Hub's machines: `python train/run.py … --on-hub FLAVOR`.

A job (https://huggingface.co/docs/hub/jobs) finds the project in a private dataset repo,
installs what it needs, trains, and publishes the bundle. All else is gone when it ends.
"""

from __future__ import annotations

import os
import pathlib
import shlex
from collections.abc import Sequence

from flowers_model import hub
from flowers_model.errors import UserError
from flowers_model.hub import jobs

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES = ["flowers_model/*.py", "train/*.py", "train/*.json", "train/*.csv", "requirements*.txt"]
REPO = "flowers-training"  # of the user's, for the project
IMAGE = "python:3.12"  # of the Docker Hub
HERE = "/project"  # where a job finds the project, which it cannot write to
HOURS = 12.0


def start(
    arguments: Sequence[str], flavor: str, push_to: str | None, hours: float, dry: bool
) -> None:
    """Run the training as a job, and print its log; or print what would be asked of the Hub.

    Args:
        arguments: of `train/run.py`, without those that are of the job itself.
        flavor: the machine.
        push_to: where the bundle goes, `USER/MODEL`.
        hours: after so many the Hub stops it.
        dry: ask the Hub for nothing but the machine's price.

    Raises:
        UserError: for a training that has to happen here.
        HubError: for what the Hub does not do.
    """
    if not push_to:
        raise UserError("--on-hub needs --push-to USER/MODEL: the machine keeps nothing")
    if not (ROOT / "requirements.txt").is_file():
        raise UserError("--on-hub needs a clone of the project, whose files it uploads")
    if not 0 < hours <= 24 * 7:
        raise UserError(f"--hours is above 0 and at most {24 * 7}, not {hours:g}")
    for argument in arguments:
        for part in (argument, argument.partition("=")[2], argument.partition(":")[2]):
            if os.sep in part and os.path.exists(part):
                raise UserError(
                    f"{part!r} is on this machine alone: publish it, and give its name on the Hub"
                )
    hub.check_may_write(push_to)
    machine = jobs.find_machine(flavor)
    needs = "requirements-gpu.txt" if machine.has_gpu else "requirements.txt"
    training = shlex.join(["python", "train/run.py", *arguments])
    script = (
        f"cp -r {HERE} /tmp/flowers && cd /tmp/flowers && "
        f"pip install --quiet --root-user-action ignore -r {needs} && exec {training}"
    )
    repo_id = f"{push_to.partition('/')[0]}/{REPO}"
    print(
        f"machine: {machine.name} ({machine.about}), ${machine.price:.2f} an hour, at most "
        f"${machine.price * hours:.2f} for {hours:g} hours\n"
        f"project: to the private dataset repo {repo_id}\n"
        f"command: {script}\n"
        f"image: {IMAGE}, with your token as its secret HF_TOKEN\n"
        f"bundle: to {push_to}"
    )
    if dry:
        return
    sha = jobs.upload_project(ROOT, repo_id, FILES)
    backend = {"KERAS_BACKEND": os.environ["KERAS_BACKEND"]}
    jobs.run(flavor, IMAGE, ["bash", "-c", script], hours, {HERE: (repo_id, sha)}, backend)
