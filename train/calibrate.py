"""Recalibrate a bundle: its probabilities, its refusals and its label sets.

    python -m train.calibrate --model MODEL --data SOURCE --output DIR

Every training run calibrates its bundle. This command is for bundles of earlier versions, for
taught models, and for calibration on other photos; it measures the new bundle as well.
"""

from __future__ import annotations

import logging
import os
import pathlib
import sys
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.command import MODEL_HELP, Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output
from flowers_model.installation import spoken
from train.devices import environment
from train.evaluation.calibration import Measured, Outputs
from train.sources import forms

if TYPE_CHECKING:
    import argparse

    from flowers_model.bundle import Manifest
    from train.data.decoding import Photos


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("calibrate"), description=__doc__)
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--data",
        required=True,
        action="append",
        metavar="SOURCE",
        help=f"photo source: {forms()}; several are merged as by --classes known of training, and "
        "count equally",
    )
    parser.add_argument(
        "--outliers",
        action="append",
        default=[],
        metavar="PATH",
        help="folder of out-of-distribution photos, split as in training; repeatable",
    )
    parser.add_argument(
        "--earlier",
        metavar="MODEL",
        help="the model whose training this one continued, if more validation photos were held out "
        "from it: its outputs for those photos are used, too",
    )
    parser.add_argument(
        "--output", required=True, type=pathlib.Path, metavar="DIR", help="new folder of the bundle"
    )
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
        raise UserError(f"--output {str(options.output)!r} exists already; give a new folder")
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
    """The photos of `splits` as the model sees them, labelled in the order of its classes."""
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
    """The outputs of the model `--earlier` for photos that were held out from it alone.

    Raises:
        UserError: if its classes are others, or there is no such photo.
    """
    from flowers_model import bundle, hub
    from flowers_model.engine import open_engine
    from train.evaluation.ensemble import open_to_calibrate

    folder = hub.fetch(name)
    theirs = bundle.check(folder)
    if theirs.class_names != manifest.class_names:
        raise UserError(f"--earlier {name} does not have the classes of the model")
    # Only the first source has such photos.
    data = data[:1]
    source, _ = open_to_calibrate(manifest, data, bundle.read_splits(model))
    photos = _photos(folder, theirs, data, ("train", "valid"))
    further = ~np.isin(photos["valid"].names, source.splits["valid"].names)
    if not further.any():
        raise UserError(
            f"--earlier {name} adds nothing: the model holds out the same validation photos"
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
