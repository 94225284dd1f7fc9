"""How the cost of a training step and of reading grows with devices and hosts: counts, not times.

    python benchmarks/scaling.py [--preset oxford_flowers102] [--batch-size 32] [--json FILE]

Virtual devices on two cores make nothing faster, so this counts instead. The preset's training step
is compiled for 1, 2, 4 and 8 virtual CPU devices: FLOPs, collectives and their bytes per device,
with a fixed global batch size and with a fixed batch size per device. With 1, 2 and 4 processes,
each reading as a host does, it counts the records that each reads in two epochs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pathlib
import socket
import subprocess
import sys

DEVICES = (1, 2, 4, 8)
HOSTS = (1, 2, 4)
RECORDS, HOST_BATCH, EPOCHS = 512, 32, 2


def steps(preset: str, batch: int) -> list[dict]:
    """The work of each device in a step, per number of devices."""
    import jax

    from train.experiment import load_preset
    from train.plans.step import analyze, lower

    experiment = load_preset(preset).EXPERIMENT
    kept_for_all = [(count, batch) for count in DEVICES]
    kept_for_each = [(count, batch // max(DEVICES) * count) for count in DEVICES[:-1]]
    rows = []
    for count, photos in kept_for_all + kept_for_each:
        lowered, sizes = lower(experiment, 102, jax.devices()[:count], photos)
        step = analyze(lowered.compile(), photos, count, sizes)
        rows.append(
            {
                "devices": count,
                "photos": photos,
                "flops": step.flops,
                "collectives": sum(step.collectives.values()),
                "collective_bytes": step.collective_bytes,
            }
        )
    return rows


def read_as_host(coordinator: str, hosts: int, host: int) -> list[int]:
    """Run the input pipeline of one host; the records it reads at the start and in each epoch."""
    import numpy as np
    from PIL import Image

    from train.data import pipeline
    from train.data.augment import policy
    from train.data.decoding import training_photos
    from train.devices import processes
    from train.sources import Split

    if hosts > 1:
        processes.join(coordinator, hosts, host)
    file = io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, "JPEG")
    reads: list[int] = []

    def read(number: int) -> bytes:
        reads.append(number)
        return file.getvalue()

    names = tuple(f"{number}.jpg" for number in range(RECORDS))
    split = Split(names, np.arange(RECORDS, dtype=np.int32) % 4, read)
    photos = training_photos(split, "train", 32)
    counts = [len(reads)]
    for epoch in range(EPOCHS):
        batches = pipeline.training_batches(
            photos,
            4,
            pipeline.Order(HOST_BATCH, seed=0, first_epoch=epoch, epochs=epoch + 1),
            pipeline.Views(policy("light", 32, 0.35), 32, seed=0),
        )
        for _ in batches:
            pass
        counts.append(len(reads) - sum(counts))
    processes.leave()
    return counts


def hosts(count: int) -> list[list[int]]:
    """Run `read_as_host` in `count` processes at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "--host", coordinator, str(count), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        sys.exit("a host failed; see above")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="oxford_flowers102")
    parser.add_argument("--batch-size", type=int, default=32, help="a multiple of 8 (32)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--host", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        print(json.dumps(read_as_host(options.host[0], *map(int, options.host[1:]))))
        return

    by_step = steps(options.preset, options.batch_size)
    print(f"{options.preset}, per step and device:")
    print(f"{'devices':>8} {'batch':>8} {'GFLOP':>10} {'collectives':>12} {'their MB':>10}")
    for row in by_step:
        print(
            f"{row['devices']:8} {row['photos']:8} {row['flops'] / 1e9:10.3f} "
            f"{row['collectives']:12} {row['collective_bytes'] / 1e6:10.2f}"
        )
    by_hosts = {count: hosts(count) for count in HOSTS}
    print(f"\nof {RECORDS} records, each host reads at the start, in epoch 1, in epoch 2:")
    for count, reads in by_hosts.items():
        print(f"{count:8} hosts: " + "; ".join(", ".join(map(str, each)) for each in reads))
    if options.json:
        from flowers_model.files import replacing

        with replacing(options.json) as temporary:
            found = {"preset": options.preset, "steps": by_step, "reads": by_hosts}
            temporary.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
    os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={max(DEVICES)}"
    main()
