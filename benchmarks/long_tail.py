"""A long-tailed subset of a balanced dataset, to study what helps rare classes.

    python benchmarks/long_tail.py --data SPEC --output LIST [--ratio 10] [--seed 0]
    python train/run.py --data SPEC --data-list LIST …

The classes are put in random order. The first keeps all its training photos, the last `1 / ratio`
of them, and the shares in between fall exponentially, as in CIFAR-LT (Cui et al., 2019,
https://arxiv.org/abs/1901.05555). The valid and test splits keep all photos and stay balanced.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, metavar="SPEC")
    parser.add_argument("--output", required=True, metavar="LIST")
    parser.add_argument("--ratio", type=float, default=10, help="largest class over smallest (10)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    from train.sources import open_source
    from train.sources.split_list import write_split_list

    source = open_source(arguments.data, arguments.seed)
    draw = np.random.default_rng(arguments.seed)
    classes = len(source.class_names)
    shares = arguments.ratio ** -(draw.permutation(classes) / max(classes - 1, 1))
    train = source.splits["train"]
    photos = []
    for label, share in enumerate(shares):
        own = draw.permutation(np.flatnonzero(train.labels == label))
        photos += [("train", train.names[i]) for i in own[: max(round(share * len(own)), 1)]]
    kept = len(photos)
    for name, split in source.splits.items():
        if name != "train":
            photos += [(name, photo) for photo in split.names]
    write_split_list(arguments.output, photos, [f"long tail of {arguments.data}"])
    print(f"{arguments.output}: {kept} of {len(train)} training photos")


if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
    main()
