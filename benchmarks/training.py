"""Training speed on this machine: JAX with the settings of `train/run.py`, and other frameworks.

    pip install -r benchmarks/requirements.txt
    python benchmarks/training.py [MODEL …] [--rounds 7] [--batch-size 32 256] [--json FILE]

On a CPU the contenders are Keras on JAX with default settings, and with `environment.py` and
`xla_cpu.py` of `train/devices/`; Keras on TensorFlow; and PyTorch with timm's equivalent network in
channels-last. On an NVIDIA GPU they are JAX with default settings (float32, which JAX computes in
TF32) and in the precision that `--precision auto` chooses, and PyTorch in bfloat16 autocast,
without and with torch.compile; the CPU build of TensorFlow is left out.

Each contender runs in its own process. All get the same photos and take turns, so that other load
on the machine affects all of them alike. A turn is two steps, of which only the second is timed:
virtual machines reclaim memory from processes that wait for their turn. The results are the median
photos per second, the seconds of the first step (compilation), and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZE, CLASSES = 224, 102
MODELS = {  # the names in Keras and in timm
    "MobileNetV3Small": "mobilenetv3_small_100",
    "MobileNetV2": "mobilenetv2_100",
    "EfficientNetV2B0": "tf_efficientnetv2_b0",
    "MobileNet075": "mobilenetv1_075",
}
CONTENDERS = ("jax_stock", "jax_fast", "tensorflow", "torch")
ON_A_CARD = ("jax_stock", "jax_fast", "torch", "torch_compiled")


def photos(batch_size: int):
    import numpy as np

    draw = np.random.default_rng(0)
    x = draw.uniform(0, 255, (batch_size, SIZE, SIZE, 3)).astype("float32")
    return x, draw.integers(0, CLASSES, batch_size)


def keras_network(model: str, fast: bool):
    """The network with random weights; `fast` gives it the settings of `train/run.py`."""
    import keras

    from flowers_model import network as networks
    from train.devices import precision

    if fast:
        keras.config.set_dtype_policy(precision.policy("auto"))
    alpha = {"MobileNet075": 0.75}.get(model)
    backbone = model.removesuffix("075")
    network = networks.build(backbone, CLASSES, SIZE, alpha=alpha)
    if fast:
        from train.devices import xla_cpu

        xla_cpu.speed_up(network)
    return network


def keras_contender(model: str, batch_size: int, fast: bool):
    """A forward pass and a training step, as functions."""
    import keras

    network = keras_network(model, fast)
    network.compile(
        optimizer=keras.optimizers.AdamW(1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() == "jax",  # XLA slows TensorFlow down on CPUs
    )
    x, y = photos(batch_size)
    return lambda: network.predict_on_batch(x), lambda: network.train_on_batch(x, y)


def torch_contender(model: str, batch_size: int, compiled: bool):
    import timm
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    if model == "MobileNet075":  # timm has no registered model of this width
        network = timm.models.efficientnet._gen_mobilenet_v1(
            "mobilenetv1_100", 0.75, num_classes=CLASSES
        )
    else:
        network = timm.create_model(MODELS[model], num_classes=CLASSES)
    network = network.to(device, memory_format=torch.channels_last)
    if compiled:
        network = torch.compile(network)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    loss = torch.nn.CrossEntropyLoss()
    x, y = photos(batch_size)
    y = torch.from_numpy(y).to(device)

    def batch():
        scaled = torch.from_numpy(x).to(device).permute(0, 3, 1, 2) / 127.5 - 1
        return scaled.contiguous(memory_format=torch.channels_last)

    def forward():
        network.eval()
        with torch.inference_mode(), autocast:
            return network(batch()).float().cpu().numpy()

    def step():
        network.train()
        optimizer.zero_grad()
        with autocast:
            value = loss(network(batch()), y)
        value.backward()
        optimizer.step()
        return value.item()

    return forward, step


def work(contender: str, model: str, batch_size: int) -> None:
    """Run a contender: for each line, "forward" or "step", print its seconds and peak memory."""
    out, sys.stdout = sys.stdout, sys.stderr
    if contender.startswith("torch"):
        forward, step = torch_contender(model, batch_size, contender == "torch_compiled")
    else:
        forward, step = keras_contender(model, batch_size, contender == "jax_fast")
    functions = {"forward": forward, "step": step}
    for line in sys.stdin:
        started = time.perf_counter()
        functions[line.strip()]()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux
        print(json.dumps([seconds, peak / 1024]), file=out, flush=True)


class Contender:
    """A process that waits for its turn."""

    def __init__(self, name: str, model: str, batch_size: int):
        self.name = name
        self.seconds = {"forward": [], "step": []}
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        for variable in ("XLA_FLAGS", "GLIBC_TUNABLES", "JAX_COMPILATION_CACHE_DIR"):
            environment.pop(variable, None)
        environment["KERAS_BACKEND"] = name.split("_")[0]
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the processes share the GPU
        command = [sys.executable, __file__, "--work", name, model, str(batch_size)]
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def turn(self, what: str) -> float:
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} failed; see: {' '.join(self.process.args)}")
        seconds, self.peak = json.loads(line)
        return seconds


def compare(model: str, contenders: list[str], rounds: int, batch_size: int) -> dict[str, float]:
    """Time all contenders on a network; the figures by name."""
    running = [Contender(name, model, batch_size) for name in contenders]
    figures = {}
    for what in ("forward", "step"):
        for contender in running:
            figures[f"{contender.name}_first_{what}_seconds"] = contender.turn(what)
            contender.turn(what)
        for _ in range(rounds):
            for contender in running:
                contender.turn(what)
                contender.seconds[what].append(contender.turn(what))
        for contender in running:
            rate = batch_size / statistics.median(contender.seconds[what])
            figures[f"{contender.name}_{what}"] = rate
    for contender in running:
        figures[f"{contender.name}_peak_mb"] = contender.peak
        contender.process.stdin.close()
        contender.process.wait()
        if contender.name != "jax_fast":
            for what in ("forward", "step"):
                ratio = figures[f"jax_fast_{what}"] / figures[f"{contender.name}_{what}"]
                figures[f"jax_fast_over_{contender.name}_{what}"] = ratio
    return figures


def installed(contenders: Sequence[str]) -> list[str]:
    """The contenders that can be imported here; one line says why others cannot."""
    try:
        import timm  # noqa: F401
        import torch  # noqa: F401
    # If torchvision, which timm imports, was built for another PyTorch, it raises a RuntimeError.
    except (ImportError, RuntimeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "pip install -r benchmarks/requirements.txt"
        print(f"without PyTorch ({reason}): {remedy}", file=sys.stderr)
        return [name for name in contenders if not name.startswith("torch")]
    return list(contenders)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps per contender (7)")
    parser.add_argument(
        "--batch-size", type=int, nargs="+", help="(32; on a GPU 32 and 256)", metavar="N"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    arguments = parser.parse_args()
    for model in arguments.models:
        if model not in MODELS:
            parser.error(f"unknown model {model!r}; choose from {', '.join(MODELS)}")
    card = shutil.which("nvidia-smi") is not None
    contenders = installed(ON_A_CARD if card else CONTENDERS)
    sizes = arguments.batch_size or ([32, 256] if card else [32])

    results = {}
    for model, size in itertools.product(arguments.models, sizes):
        figures = compare(model, contenders, arguments.rounds, size)
        title = f"{model}, {size} a batch"
        results[title] = figures
        print(f"\n{title:40} {'forward/s':>9} {'step/s':>8} {'first step s':>13} {'peak MB':>8}")
        for name in contenders:
            print(
                f"  {name:23} {figures[f'{name}_forward']:25.1f} {figures[f'{name}_step']:8.1f}"
                f" {figures[f'{name}_first_step_seconds']:13.1f} {figures[f'{name}_peak_mb']:8.0f}"
            )
        for name, value in figures.items():
            if "_over_" in name:
                print(f"  {name:40} {value:5.2f}", flush=True)
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    if "--work" in sys.argv:
        contender, model, batch_size = sys.argv[2:]
        if contender == "jax_fast":
            from train.devices import environment

            environment.prepare()
            # Compilation is timed too, so no earlier run's compilation cache may be used.
            os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        work(contender, model, int(batch_size))
    else:
        main()
