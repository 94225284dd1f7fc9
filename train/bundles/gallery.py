"""The gallery of a bundle: held-out photos with their labels."""

from __future__ import annotations

import io
import pathlib

import numpy as np
from PIL import Image

from flowers_model import bundle
from flowers_model.photo import PhotoError, decode
from train.experiment import Experiment
from train.sources import Source, Split

GALLERY_SIDE = 384  # pixels, the longer side of a gallery photo


def write_gallery(room: pathlib.Path, source: Source, name: str, experiment: Experiment) -> None:
    """The same number of photos of each class, drawn with the seed from a held-out split."""
    split: Split = source.splits[name]
    random = np.random.default_rng([experiment.seed, 0x6A11E])
    photos, failed = [], None
    for label, class_name in enumerate(source.class_names):
        kept = 0
        for i in random.permutation(np.flatnonzero(split.labels == label)):
            if kept == experiment.gallery:
                break
            try:
                picture = Image.fromarray(decode(split.read(int(i))))
            except (PhotoError, OSError) as error:
                failed = error
                continue  # counted and named when the split was read
            picture.thumbnail((GALLERY_SIDE, GALLERY_SIDE))
            file = f"{label:03}-{kept}.jpg"
            encoded = io.BytesIO()
            picture.save(encoded, "JPEG", quality=88)
            (room / "gallery").mkdir(exist_ok=True)
            (room / "gallery" / file).write_bytes(encoded.getvalue())
            photos.append(bundle.GalleryPhoto(file=file, label=class_name))
            kept += 1
    if failed is not None and not photos:
        raise failed  # the data has gone since
    bundle.write_json(
        room / "gallery/index.json", bundle.Gallery(credits=source.credits, photos=photos)
    )
