"""Jobs: commands on the Hub's own machines, paid by the minute.

An account needs credits for them (https://huggingface.co/docs/hub/jobs-pricing).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import huggingface_hub
from huggingface_hub import Volume

from flowers_model.hub.client import check_login, connect, persist
from flowers_model.hub.errors import TROUBLE, HubError, explain
from flowers_model.hub.publishing import commit, make_ready

SECONDS = {"second": 1, "minute": 60, "hour": 3600}


@dataclasses.dataclass(frozen=True)
class Machine:
    """A kind of machine that jobs run on.

    Attributes:
        name: the Hub's name of it, its flavor: `t4-small` for instance.
        about: its cores, memory and accelerator, for people.
        price: US dollars an hour.
        has_gpu: whether it has NVIDIA GPUs.
    """

    name: str
    about: str
    price: float
    has_gpu: bool


def find_machine(name: str) -> Machine:
    """Ask the Hub for one of its machines, and what it costs.

    >>> find_machine("t4-small").price
    0.4

    Raises:
        HubError: if there is none of that name, or the Hub cannot be asked.
    """
    api = connect()
    try:
        known = persist(api.list_jobs_hardware)
    except TROUBLE as error:
        explain(error, "cannot look up the machines for jobs", api, "jobs")
    found = next((one for one in known if one.name == name), None)
    if found is None:
        names = ", ".join(one.name for one in known)
        raise HubError(f"the Hub has no machine {name!r} for jobs: choose one of {names}")
    accelerator = found.accelerator
    about = f"{found.cpu}, {found.ram}"
    if accelerator is not None:
        about += f", {accelerator.quantity} x {accelerator.manufacturer} {accelerator.model}"
    price = found.unit_cost_usd * 3600 / SECONDS[found.unit_label]
    return Machine(name, about, price, accelerator is not None and accelerator.type == "gpu")


def upload_project(folder: pathlib.Path, repo_id: str, patterns: Sequence[str]) -> str:
    """Put the matching files of a folder into a private dataset repo; returns the commit's sha.

    Args:
        repo_id: `USER/NAME`, created if it does not exist.

    Raises:
        HubError: if it cannot be written to, or is public.
    """
    check_login(repo_id, "dataset")
    api = connect()
    try:
        persist(make_ready, api, repo_id, True, None, "dataset")
        persist(commit, api, folder, repo_id, "The project", {}, patterns, "dataset")
        return persist(api.repo_info, repo_id, repo_type="dataset").sha
    except TROUBLE as error:
        explain(error, f"cannot upload the project to {repo_id}", api, repo_id, None, "dataset")


def run(
    machine: str,
    image: str,
    command: Sequence[str],
    hours: float,
    volumes: Mapping[str, tuple[str, str]],
    environment: Mapping[str, str],
    say: Callable[[str], None] = print,
) -> None:
    """Run a command as a job and follow its log until it ends; it has the token as HF_TOKEN.

    Args:
        image: the Docker image.
        hours: after so many the Hub stops it.
        volumes: dataset repo and commit by the place where the job finds its files.
        environment: variables.
        say: is given the log, a line at a time.

    Raises:
        PlanError: without credits.
        HubError: if it cannot be started, or fails.
    """
    api = connect()
    mounted = [
        Volume(type="dataset", source=repo_id, revision=sha, mount_path=place)
        for place, (repo_id, sha) in volumes.items()
    ]
    try:
        job = api.run_job(
            image=image,
            command=list(command),
            flavor=machine,
            timeout=hours * 3600,
            env=dict(environment),
            secrets={"HF_TOKEN": huggingface_hub.get_token()},
            volumes=mounted,
            name="flowers-training",
        )
    except TROUBLE as error:
        explain(error, "cannot start the job", api, "jobs")
    say(f"{job.url} (hf jobs cancel {job.id} stops it)")
    try:
        for line in api.fetch_job_logs(job_id=job.id, follow=True):
            say(line.rstrip("\n"))
        status = persist(api.inspect_job, job_id=job.id).status
    except TROUBLE as error:
        explain(error, f"cannot follow the job, which goes on: see {job.url}", api, "jobs")
    except KeyboardInterrupt:
        say(f"the job goes on: hf jobs logs {job.id} follows it, hf jobs cancel {job.id} stops it")
        raise
    if status.stage != "COMPLETED":
        raise HubError(f"the job ended as {status.stage} ({status.message or 'see above'})")
