"""The gallery of a bundle: held-out photos with their labels."""

from __future__ import annotations

import pathlib

import numpy as np

from flowers_model import bundle
from flowers_model.photo import PhotoError, decode, reduced
from train.experiment import Experiment
from train.sources import Source, Split


def write_gallery(room: pathlib.Path, source: Source, name: str, experiment: Experiment) -> None:
    """Write the same number of photos of each class, drawn at random from a held-out split."""
    split: Split = source.splits[name]
    random = np.random.default_rng([experiment.seed, 0x6A11E])
    photos, failed = [], None
    for label, class_name in enumerate(source.class_names):
        kept = 0
        for i in random.permutation(np.flatnonzero(split.labels == label)):
            if kept == experiment.gallery:
                break
            try:
                photo = decode(split.read(int(i)))
            except (PhotoError, OSError) as error:
                failed = error
                continue  # reported when the split was read
            file = f"{label:03}-{kept}.jpg"
            (room / "gallery").mkdir(exist_ok=True)
            data = reduced(photo, bundle.GALLERY_SIDE, quality=88)
            (room / "gallery" / file).write_bytes(data)
            photos.append(bundle.GalleryPhoto(file=file, label=class_name))
            kept += 1
    if failed is not None and not photos:
        raise failed  # the photos were deleted in the meantime
    bundle.write_json(
        room / "gallery/index.json", bundle.Gallery(credits=source.credits, photos=photos)
    )
