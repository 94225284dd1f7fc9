"""How much faster the head stage gets when the frozen backbone's features are cached.

    KERAS_BACKEND=… python benchmarks/head_stage.py [train/run.py's settings] [--epochs-head 10]

Trains the head three times with the same settings: without `--cache-features`, with it, and again
with the features that the second run left on disk. Prints the wall time of each, including reading
and compiling, and the speedups.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

SCRIPT = """
import dataclasses, json, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from train import run
settings = vars(run._parser().parse_args(json.loads(sys.argv[3])))
fields = {name: value for name, value in settings.items() if name in run.Experiment.__annotations__}
preset = run.load_preset(settings["preset"]).EXPERIMENT
experiment = dataclasses.replace(preset, **fields, epochs_finetune=0)
from train import job
from train.loop import stages
started = time.perf_counter()
job.train(experiment, pathlib.Path(sys.argv[2]))
seconds = time.perf_counter() - started
row = stages.read_history(pathlib.Path(sys.argv[2]))[-1]
print(json.dumps({"seconds": seconds, "valid": row["val_accuracy"], "epochs": row["epoch"] + 1}))
"""


def train(flags: list[str], cache: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SCRIPT, str(ROOT), folder, json.dumps(flags)]
        environment = os.environ | {"FLOWERS_DATA": cache}
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=environment
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        runs = {
            "each epoch": train([*sys.argv[1:], "--no-cache-features"], cache),
            "once": train([*sys.argv[1:], "--cache-features"], cache),
            "kept": train([*sys.argv[1:], "--cache-features"], cache),
        }
    plain = runs["each epoch"]["seconds"]
    print(f"{'features':10} {'seconds':>8} {'valid top-1':>12} {'speedup':>8}")
    for name, figures in runs.items():
        seconds = figures["seconds"]
        print(f"{name:10} {seconds:8.1f} {figures['valid']:12.3f} {plain / seconds:8.1f}")


if __name__ == "__main__":
    main()
