"""Train a flower classifier and write its bundle.

    KERAS_BACKEND=jax python train/run.py --preset oxford_flowers102

A bundle is a folder with the network, its model card and a report; it can be served, published and
fine-tuned. A preset changes some of the defaults listed below; flags override the preset.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import itertools
import logging
import math
import os
import pathlib
import shlex
import signal
import sys
import traceback

# `python train/run.py` puts train/ on the path; imports need the project's root.
sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, is_full, legible
from flowers_model.installation import spoken
from train.devices import environment, hub_job, processes
from train.experiment import (
    AFTERWARDS,
    Experiment,
    add_settings,
    flag_of,
    holds_run,
    load_preset,
    preset_names,
    read_settings,
    write_settings,
)
from train.loop.tracking import TRACK_HELP, tracker_spec

log = logging.getLogger("flowers")


def _parser() -> Parser:
    parser = Parser(spoken("train"), description=__doc__)
    parser.add_argument(
        "--preset",
        default="quickstart",
        help=f"the settings to start from: {', '.join(preset_names())}",
        metavar="NAME",
    )
    add_settings(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output", metavar="DIR", help="folder of the run (default: runs/PRESET-TIME)"
    )
    output.add_argument(
        "--resume",
        metavar="RUN",
        help="folder of an earlier run: continue it if it was interrupted; write its bundle again "
        "if it is finished, for example with another --monitor, --serve-size or --average",
    )
    output.add_argument("--push-to", metavar="USER/MODEL", help="publish the bundle on the Hub")
    output.add_argument("--private", action="store_true", help="make the repo private")
    output.add_argument("--tag", metavar="NAME", help="tag of the published revision")
    output.add_argument("--track", type=tracker_spec, help=TRACK_HELP, metavar="mlflow[:URI]")
    output.add_argument(
        "--find-learning-rate",
        nargs="?",
        const=100,
        type=int,
        metavar="STEPS",
        help="learning rate range test instead of training: take STEPS steps (default: 100) of the "
        "first stage at increasing rates, and write the losses and a suggested rate",
    )
    remote = parser.add_argument_group(
        "Hugging Face Jobs", "train on a machine of the Hub, which costs credits by the minute"
    )
    remote.add_argument("--on-hub", metavar="FLAVOR", help="the machine, such as t4-small")
    remote.add_argument(
        "--hours",
        type=float,
        default=hub_job.HOURS,
        metavar="N",
        help="time limit of the job in hours (default: %(default)g)",
    )
    remote.add_argument(
        "--dry-run", action="store_true", help="print the job and its price, and start nothing"
    )
    hosts = parser.add_argument_group(
        "several hosts",
        "JAX only: start the same command on every host, with an --output that all of them share",
    )
    hosts.add_argument(
        "--coordinator",
        default=os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"),
        help="address of process 0; auto on TPU pods (default: $KERAS_DISTRIBUTION_JOB_ADDRESSES)",
        metavar="HOST:PORT",
    )
    hosts.add_argument(
        "--processes",
        type=int,
        default=os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES"),
        help="number of processes (default: $KERAS_DISTRIBUTION_NUM_PROCESSES)",
        metavar="N",
    )
    hosts.add_argument(
        "--process-id",
        type=int,
        default=os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID"),
        help="index of this process, from 0 (default: $KERAS_DISTRIBUTION_PROCESS_ID)",
        metavar="I",
    )
    return parser


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    try:
        settings = vars(_parser().parse_args(arguments))
        options = {
            name: settings.pop(name)
            for name in (
                *("preset", "output", "resume", "push_to", "private", "tag", "track"),
                "find_learning_rate",
            )
        }
        if options["find_learning_rate"] is not None and options["find_learning_rate"] < 10:
            raise UserError(
                "--find-learning-rate needs at least 10 steps to see where the loss rises"
            )
        group = [settings.pop(name) for name in ("coordinator", "processes", "process_id")]
        flavor, hours, dry = (settings.pop(name) for name in ("on_hub", "hours", "dry_run"))
        if flavor is not None:
            _start_on_hub(arguments, flavor, hours, dry, settings, options)
            return 0
        if dry:
            raise UserError("--dry-run needs --on-hub FLAVOR")
        if group[0] and not (options["output"] or options["resume"]):
            raise UserError("several processes need --output DIR, the same folder for all")
        environment.check()
        processes.join(*group)
        environment.check_devices()
        folder, preset, experiment, command = _assemble(settings, options, arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        processes.give_up(2)
        return 2
    _log_to(folder / "run.log")
    try:
        again = _again(folder, settings, options)
        status = _run(folder, preset, experiment, command, options, again)
    except Exception:
        if processes.processes() > 1:
            try:
                traceback.print_exc()
            finally:
                processes.give_up(1)
        raise
    if status:
        processes.give_up(status)
    return status


def _start_on_hub(
    arguments: list[str], flavor: str, hours: float, dry: bool, settings: dict, options: dict
) -> None:
    """Check the settings, and start the training on a machine of the Hub."""
    for name in ("output", "resume", "find_learning_rate"):
        if options[name] is not None:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} needs a folder of this machine: leave it out with --on-hub")
    load_preset(options["preset"]).EXPERIMENT.changed(settings)
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--on-hub")
    own.add_argument("--hours")
    own.add_argument("--dry-run", action="store_true")
    rest = own.parse_known_args(arguments)[1]
    hub_job.start(rest, flavor, options["push_to"], hours, dry)


def _run(
    folder: pathlib.Path,
    preset: str,
    experiment: Experiment,
    command: str,
    options: dict,
    again: str,
) -> int:
    from train.job import Publication, find_learning_rate, run
    from train.loop.finishing import UnfinishedError, reason
    from train.loop.preflight import room_needed
    from train.loop.task import TrainingError

    publication = None
    if options["push_to"]:
        publication = Publication(options["push_to"], options["private"], options["tag"])
    try:
        if options["find_learning_rate"] is not None:
            find_learning_rate(experiment, folder, options["find_learning_rate"])
            return 0
        run(
            experiment,
            folder,
            preset=preset,
            command=command,
            publication=publication,
            track=options["track"],
        )
    except UserError as error:
        log.error("error: %s", error)
        return 2
    except TrainingError as error:
        log.error("stopped: %s", error)
        return 1
    except (UnfinishedError, OSError) as error:
        if is_full(error):
            again += f" (make room for about {math.ceil(room_needed(folder) / 1e6)} MB first)"
        log.error("stopped: %s; resume with: %s", reason(error), again)
        log.debug("what failed:", exc_info=True)
        return 2 if isinstance(error.__cause__, UserError) else 1
    except processes.GroupError as error:
        log.error("stopped: %s; resume, on all hosts, with: %s", error, again)
        return 1
    except processes.Preempted:
        log.error("stopped by SIGTERM, all is saved; resume with: %s", again)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        log.error("interrupted; resume with: %s", again)
        return 130
    return 0


def _assemble(
    settings: dict, options: dict, arguments: list[str]
) -> tuple[pathlib.Path, str, Experiment, str]:
    """Folder, preset, experiment and command of a new run, or of the run to resume."""
    if options["resume"]:
        if settings.keys() - AFTERWARDS or options["output"]:
            raise UserError("--resume takes all settings from the run; leave the other flags out")
        folder = pathlib.Path(options["resume"])
        preset, experiment, command = read_settings(folder)
        check_output(folder / "experiment.json")
        command = " ".join([command, *map(shlex.quote, _flags(settings))])
        return folder, preset, dataclasses.replace(experiment, **settings), command
    preset = options["preset"]
    experiment = load_preset(preset).EXPERIMENT.changed(settings)
    folder = pathlib.Path(options["output"] or _new_folder(preset))
    if processes.is_first() and holds_run(folder):
        raise UserError(f"{str(folder)!r} holds a run; --resume it, or choose another --output")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {str(folder)!r} is a file; give a folder")
    command = legible(f"{spoken('train')} {shlex.join(arguments)}".rstrip())
    if processes.is_first():
        check_output(folder / "experiment.json")
        write_settings(folder, preset, experiment, command)
    return folder, preset, experiment, command


def _again(folder: pathlib.Path, settings: dict, options: dict) -> str:
    """The command that resumes the run and publishes as this one would have."""
    words = ["--resume", str(folder)]
    words += _flags(settings if options["resume"] else {})  # else the run's folder has them
    words += _flags({name: options[name] for name in ("push_to", "tag") if options[name]})
    words += ["--private"] * options["private"]
    backend = os.environ["KERAS_BACKEND"]
    start = spoken("train") if backend == "jax" else f"KERAS_BACKEND={backend} {spoken('train')}"
    return f"{start} {shlex.join(words)}"


def _flags(settings: dict) -> list[str]:
    words = []
    for name, value in settings.items():
        if isinstance(value, bool):
            words.append(flag_of(name) if value else f"--no-{flag_of(name)[2:]}")
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [flag_of(name), str(each)]
    return words


def _new_folder(preset: str) -> pathlib.Path:
    """A new folder under runs/."""
    name = f"{preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(path for path in map(pathlib.Path("runs").joinpath, names) if not path.exists())


def _log_to(path: pathlib.Path) -> None:
    shown = logging.StreamHandler(sys.stdout)
    shown.setLevel(logging.INFO)
    shown.handleError = lambda record: None  # the reader may be gone, as after `| head`
    log.handlers[:] = [shown]
    if not processes.is_first():
        log.setLevel(logging.ERROR)
        return
    log.setLevel(logging.DEBUG)  # run.log has tracebacks as well
    try:
        kept = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): check its owner and permissions"
        ) from error
    kept.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    kept.handleError = lambda record: None  # a full disk must not flood the terminal with errors
    log.handlers.append(kept)


if __name__ == "__main__":
    environment.prepare()
    signal.signal(signal.SIGTERM, processes.stop)
    status = main(sys.argv[1:])
    if status > 128:
        # Threads of XLA and tf.data may still be working on the interrupted step, and crash now
        # and then when the interpreter shuts down.
        processes.end_at_once(status)
    sys.exit(status)
