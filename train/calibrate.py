"""Calibrate and measure a bundle anew: `python -m train.calibrate --model BUNDLE|REPO --data SPEC`.

Every training run calibrates its bundle; this command is for older bundles and for other photos.
`--earlier BUNDLE` names the model that this one continued from, if that one held back more
validation photos: its answers to the further ones are added. See `train.evaluation.calibration`.
"""

from __future__ import annotations

import logging
import os
import pathlib
import sys
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output
from flowers_model.installation import spoken
from train.devices import environment
from train.evaluation.calibration import Measured, Outputs

if TYPE_CHECKING:
    import argparse

    from flowers_model.bundle import Manifest
    from train.data.decoding import Photos


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("calibrate"), description=__doc__)
    parser.add_argument("--model", required=True, metavar="BUNDLE|USER/MODEL[@REVISION]")
    parser.add_argument(
        "--data",
        required=True,
        action="append",
        metavar="SPEC",
        help="as for train/run.py; several are merged as by --classes known, and each source has "
        "the same weight",
    )
    parser.add_argument(
        "--outliers",
        action="append",
        default=[],
        metavar="PATH",
        help="a folder of out-of-distribution photos, split as for train/run.py",
    )
    parser.add_argument(
        "--earlier",
        metavar="BUNDLE|USER/MODEL[@REVISION]",
        help="the model that this one continued from, trained on fewer of the valid photos",
    )
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser.parse_args(arguments)
    environment.check()
    _recalibrate(options)
    print(f"bundle: {options.output}")
    return 0


def _recalibrate(options: argparse.Namespace) -> None:
    from flowers_model import bundle, hub
    from train.bundles.writer import recalibrate
    from train.data.outliers import outliers

    if options.output.exists():
        raise UserError(f"--output {str(options.output)!r} is there already; give a new folder")
    check_output(options.output)
    folder = hub.fetch(options.model)
    manifest = bundle.check(folder)
    strange = outliers(options.outliers)
    # A mistake in --earlier is reported before the photos of --data are decoded.
    earlier = _earlier(options.earlier, folder, manifest, options.data) if options.earlier else None
    recalibrate(folder, options.output, _photos(folder, manifest, options.data), strange, earlier)


def _photos(
    folder: pathlib.Path,
    manifest: Manifest,
    data: Sequence[str],
    splits: Container[str] = ("train", "valid", "test"),
) -> dict[str, Photos]:
    """Evaluation photos of `splits`, labels in the order of the model's classes."""
    import dataclasses

    from flowers_model.bundle import read_splits
    from train.data.decoding import evaluation_photos
    from train.evaluation.ensemble import open_to_calibrate

    given = manifest.input
    source, places = open_to_calibrate(manifest, data, read_splits(folder))
    photos = {}
    for name, split in source.splits.items():
        if name not in splits:
            continue
        read = evaluation_photos(split, name, given.size, given.crop)
        photos[name] = dataclasses.replace(read, labels=places[read.labels])
    return photos


def _earlier(name: str, model: pathlib.Path, manifest: Manifest, data: Sequence[str]) -> Measured:
    """The predecessor's outputs for the validation photos that only it was not trained on.

    Raises:
        UserError: if it knows other classes, or there is no such photo.
    """
    from flowers_model import bundle, hub
    from flowers_model.engine import open_engine
    from train.evaluation.ensemble import open_to_calibrate

    folder = hub.fetch(name)
    theirs = bundle.check(folder)
    if theirs.class_names != manifest.class_names:
        raise UserError(f"--earlier {name} knows other classes than the model")
    # The further photos are of the first source.
    data = data[:1]
    source, _ = open_to_calibrate(manifest, data, bundle.read_splits(model))
    photos = _photos(folder, theirs, data, ("train", "valid"))
    further = ~np.isin(photos["valid"].names, source.splits["valid"].names)
    if not further.any():
        raise UserError(
            f"--earlier {name} has no valid photo of its own: it held back no more than the model"
        )
    engine = open_engine(folder)
    outputs = Outputs(*engine.run(photos["valid"].array[further], ("logits", "embedding")))
    train = Outputs(*engine.run(photos["train"].array, ("logits", "embedding")))
    labels = photos["valid"].labels[further]
    return Measured(outputs, labels, train, photos["train"].labels)


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
