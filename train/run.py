"""Train a flower classifier and leave a bundle: `KERAS_BACKEND=jax python train/run.py`."""

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

# `python train/run.py` puts train/ on the path, and the project's root is what is wanted.
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
        "--preset", default="quickstart", help=f"one of {', '.join(preset_names())}", metavar="NAME"
    )
    add_settings(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--output", metavar="DIR", help="the run's folder (runs/PRESET-TIME)")
    output.add_argument(
        "--resume",
        metavar="RUN",
        help="resume an interrupted run's folder, or write the bundle of a finished run again, "
        "with another --monitor, --serve-size, --average or --storage",
    )
    output.add_argument("--push-to", metavar="USER/MODEL", help="publish the bundle on the Hub")
    output.add_argument("--private", action="store_true", help="publish it as a private repo")
    output.add_argument("--tag", help="tag the published revision")
    output.add_argument("--track", type=tracker_spec, help=TRACK_HELP, metavar="mlflow[:URI]")
    output.add_argument(
        "--find-learning-rate",
        nargs="?",
        const=100,
        type=int,
        metavar="STEPS",
        help="learning rate range test: train the first stage for this many steps (100) at "
        "increasing rates, write the losses and a suggested rate into the run's folder, and stop",
    )
    remote = parser.add_argument_group("the Hub's machines", "paid by the minute, with credits")
    remote.add_argument(
        "--on-hub", metavar="FLAVOR", help="train on one of them, such as t4-small, as a job"
    )
    remote.add_argument(
        "--hours",
        type=float,
        default=hub_job.HOURS,
        metavar="N",
        help="stop it after so many (default: %(default)g)",
    )
    remote.add_argument(
        "--dry-run", action="store_true", help="print what would be asked, with the price"
    )
    hosts = parser.add_argument_group(
        "several hosts", "the same command on each, under JAX, with one --output that all share"
    )
    hosts.add_argument(
        "--coordinator",
        default=os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"),
        help="address of process 0; auto on TPU pods ($KERAS_DISTRIBUTION_JOB_ADDRESSES)",
        metavar="HOST:PORT",
    )
    hosts.add_argument(
        "--processes",
        type=int,
        default=os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES"),
        help="number of processes ($KERAS_DISTRIBUTION_NUM_PROCESSES)",
        metavar="N",
    )
    hosts.add_argument(
        "--process-id",
        type=int,
        default=os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID"),
        help="number of this process, from 0 ($KERAS_DISTRIBUTION_PROCESS_ID)",
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
            raise UserError("--find-learning-rate needs 10 steps or more to see where it turns")
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
    """Check the settings here, and train on one of the Hub's machines."""
    for name in ("output", "resume", "find_learning_rate"):
        if options[name] is not None:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is for a folder here: leave it out with --on-hub")
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
    """Folder, preset, experiment and command: new from the flags, or those of the run to resume."""
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
    shown.handleError = lambda record: None  # nobody reads it any more, as after `| head`
    log.handlers[:] = [shown]
    if not processes.is_first():
        log.setLevel(logging.ERROR)
        return
    log.setLevel(logging.DEBUG)  # run.log has tracebacks as well
    try:
        kept = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make it yours") from error
    kept.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    kept.handleError = lambda record: None  # a full disk must not drown what is shown
    log.handlers.append(kept)


if __name__ == "__main__":
    environment.prepare()
    signal.signal(signal.SIGTERM, processes.stop)
    status = main(sys.argv[1:])
    if status > 128:
        # The threads of XLA and tf.data still work for the step that was interrupted; now and then
        # they crash where the interpreter is taken down under them.
        processes.end_at_once(status)
    sys.exit(status)
