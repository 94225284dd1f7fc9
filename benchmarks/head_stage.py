"""What computing the frozen backbone's features once saves the head stage.

    KERAS_BACKEND=… python benchmarks/head_stage.py [train/run.py's settings] [--epochs-head 10]

Trains the head twice with the same settings, with and without `--cache-features`, and prints the
wall time of each, reading and compiling included, and their ratio.
"""

import json
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
from train import job, stages
started = time.perf_counter()
job.train(experiment, pathlib.Path(sys.argv[2]))
seconds = time.perf_counter() - started
row = stages.read_history(pathlib.Path(sys.argv[2]))[-1]
print(json.dumps({"seconds": seconds, "valid": row["val_accuracy"], "epochs": row["epoch"] + 1}))
"""


def train(flags: list[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SCRIPT, str(ROOT), folder, json.dumps(flags)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    plain = train([*sys.argv[1:], "--no-cache-features"])
    cached = train([*sys.argv[1:], "--cache-features"])
    print(f"{'features':10} {'seconds':>8} {'valid top-1':>12}")
    for name, figures in (("each epoch", plain), ("once", cached)):
        print(f"{name:10} {figures['seconds']:8.1f} {figures['valid']:12.3f}")
    ratio = plain["seconds"] / cached["seconds"]
    print(f"{plain['epochs']:.0f} epochs: {ratio:.1f} times faster")


if __name__ == "__main__":
    main()
