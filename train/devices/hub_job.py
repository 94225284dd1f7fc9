"""Training on a machine of the Hub: `python train/run.py --on-hub FLAVOR --push-to USER/MODEL`.

A job (https://huggingface.co/docs/hub/jobs) takes the project from a private dataset repo, installs
its requirements, trains, and publishes the bundle. Nothing else is kept when it ends.
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
REPO = "flowers-training"  # the user's dataset repo for the project
IMAGE = "python:3.12"  # on the Docker Hub
HERE = "/project"  # where the job has the project, read-only
HOURS = 12.0


def start(
    arguments: Sequence[str], flavor: str, push_to: str | None, hours: float, dry: bool
) -> None:
    """Run the training as a job and print its log; with `dry`, only print the job and its price.

    Args:
        arguments: the arguments of `train/run.py`, without those of the job itself.
        flavor: name of the machine.
        push_to: where to publish the bundle, `USER/MODEL`.
        hours: time limit, after which the Hub stops the job.

    Raises:
        UserError: if the job cannot do this training, for example because it needs local files.
        HubError: if the Hub rejects the job.
    """
    if not push_to:
        raise UserError("--on-hub needs --push-to USER/MODEL: the machine keeps nothing")
    if not (ROOT / "requirements.txt").is_file():
        raise UserError("--on-hub needs a clone of the project, whose files it uploads")
    if not 0 < hours <= 24 * 7:
        raise UserError(f"--hours must be above 0 and at most {24 * 7}, not {hours:g}")
    for argument in arguments:
        for part in (argument, argument.partition("=")[2], argument.partition(":")[2]):
            if os.sep in part and os.path.exists(part):
                raise UserError(
                    f"{part!r} exists only on this machine: publish it and give its Hub name"
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
