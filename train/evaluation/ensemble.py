"""Average the calibrated probabilities of several models, or of several views of a photo."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from flowers_model.bundle import Manifest, Splits, read_splits
from flowers_model.classifier import Answers, FlowerClassifier, Photo
from flowers_model.ensemble import average
from flowers_model.errors import UserError
from flowers_model.photo import fit
from train.data.decoding import CHUNK, decode_each
from train.data.digests import as_trained
from train.data.outliers import ood_pictures
from train.devices.progress import progress
from train.sources import Source, Split, open_source, train_on_valid
from train.sources.base import plain_name
from train.sources.merge import hold_back, merge

log = logging.getLogger("flowers")

TTA = ("none", "flips", "crops")
TTA_HELP = (
    "test-time augmentation: average over each photo and its mirror image (flips), or over several "
    "crops as well (crops)"
)


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """One or more models with the same classes, applied to one or more views of each photo."""

    models: list[FlowerClassifier]
    tta: str = "none"

    @classmethod
    def open(cls, names: Sequence[str], tta: str = "none") -> Ensemble:
        """Open bundles, folders or Hub repos.

        Raises:
            UserError: if one cannot be opened, or their classes differ.
        """
        models = [FlowerClassifier.from_pretrained(name) for name in names]
        for name, model in zip(names[1:], models[1:], strict=True):
            if different := set(model.label_names) ^ set(models[0].label_names):
                raise UserError(
                    f"{name} and {names[0]} do not have the same classes: only one of them has "
                    f"{min(different)!r}"
                )
        return cls(models, tta)

    @property
    def label_names(self) -> list[str]:
        return self.models[0].label_names

    @property
    def title(self) -> str:
        """The title of a report."""
        made = [model.manifest.provenance for model in self.models]
        title = " + ".join(f"{one.preset} ({one.backbone}, seed {one.seed})" for one in made)
        return title if self.tta == "none" else f"{title}, {self.tta} averaged"

    def records(self) -> list[Splits | None]:
        """The splits of each model's photos in training; None for a model that has no record."""
        return [read_splits(model.folder) for model in self.models]

    def picture(self, photo: Photo) -> np.ndarray:
        """A photo as the first model sees it, uint8 `(S, S, 3)`."""
        return self.models[0].prepare(photo)

    def answer(self, photos: Sequence[np.ndarray]) -> Answers:
        """The averaged answers to N decoded photos, uint8 `(H, W, 3)` each."""
        parts = []
        for model in self.models:
            seen = [views(photo, model.manifest.input, self.tta) for photo in photos]
            parts.append([model.answer(np.stack(inputs)) for inputs in zip(*seen, strict=True)])
        return average(self.models, parts)

    def answer_split(self, split: Split, title: str) -> tuple[list[int], Answers]:
        """Answer a split; returns the indices of its readable photos, and the answers.

        Raises:
            UserError: if no photo can be read.
        """
        kept, parts, photos = [], [], []
        decoded = decode_each(split.read, range(len(split)))
        for i, photo, error in progress(decoded, f"answering {title}", len(split), "photos"):
            if error is None:
                kept.append(i)
                photos.append(photo)
            else:
                log.warning("skipped: %s: %s", split.names[i], error)
            if photos and (len(photos) == CHUNK or i == len(split) - 1):
                parts.append(self.answer(photos))
                photos = []
        if not kept:
            raise UserError(f"none of the photos of {title} can be read")
        return kept, _concatenate(parts)

    def ood_scores(self, further: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
        """Refusal scores of out-of-distribution photos by kind: the built-in ones and `further`."""
        kinds = ood_pictures("measure") | further
        answers = {kind: self.answer(photos) for kind, photos in kinds.items()}
        return {
            kind: one.refusal_scores
            for kind, one in answers.items()
            if one.refusal_scores is not None
        }


def views(photo: np.ndarray, given, tta: str) -> list[np.ndarray]:
    """The views of a photo that are averaged, uint8 `(S, S, 3)` each.

    Args:
        photo: decoded, uint8 `(H, W, 3)`.
        given: the manifest's `Input`.
        tta: `"none"` for the view that serving uses; `"flips"` to add its mirror image; `"crops"`
            to add squares of the full short side at both ends and in the middle of the long side,
            and their mirror images.
    """
    squares = [fit(photo, given.size, given.crop)]
    if tta == "crops":
        height, width = photo.shape[:2]
        side = min(height, width)
        for share in (0, 0.5, 1):
            top, left = round(share * (height - side)), round(share * (width - side))
            squares.append(fit(photo[top : top + side, left : left + side], given.size))
    if tta != "none":
        squares += [square[:, ::-1] for square in squares]
    return squares


def open_for(
    manifest: Manifest, data: str, split: str | None = None, records: Sequence[Splits | None] = ()
) -> tuple[Source, np.ndarray]:
    """Open a source to evaluate a model on.

    A source that the model was trained on is split as it was then. Any other is used as it is: it
    may have only some of the model's classes, and keeps the splits that it comes with.

    Args:
        records: as for `train.data.digests.as_trained`.

    Returns:
        The source, and the index of each of its classes among those of the model, int
        `(classes of the source,)`.

    Raises:
        UserError: if the source cannot be opened, lacks the split, or has a class that the model
            does not know.
    """
    made = manifest.provenance
    # For merged sources, the manifest lists their photos by split.
    first = next(iter(made.sources), made.data)
    source = open_source(data, made.seed, manifest.input.size, cut=False)
    if source.name == first:
        source = open_source(data, made.seed, manifest.input.size)
        # The model was trained on a part of valid.
        source = train_on_valid(source, made.valid_share, made.seed)
    elif "valid" in made.sources.get(source.name, {}):
        source = hold_back(source, made.seed)
    elif source.splits.keys() == {"train"}:
        # No model was trained on it, so all of it is test.
        source = dataclasses.replace(source, splits={"test": source.splits["train"]})
    source = as_trained(source, records)
    if split is not None and split not in source.splits:
        raise UserError(f"--split: {data} has no {split!r}, only {', '.join(source.splits)}")
    return source, _places(manifest, source)


def open_to_calibrate(
    manifest: Manifest, data: Sequence[str], record: Splits | None
) -> tuple[Source, np.ndarray]:
    """Open the sources to calibrate a model on, merged as by `known`; see `open_for`."""
    made = manifest.provenance
    sources = [
        open_source(spec, made.seed, manifest.input.size, cut=number == 0)
        for number, spec in enumerate(data)
    ]
    if sources[0].name == next(iter(made.sources), made.data):
        sources[0] = train_on_valid(sources[0], made.valid_share, made.seed)
    source = merge(sources, "known", made.seed) if len(sources) > 1 else sources[0]
    source = as_trained(source, [record])
    return source, _places(manifest, source)


def _places(manifest: Manifest, source: Source) -> np.ndarray:
    places = {plain_name(name): i for i, name in enumerate(manifest.class_names)}
    if unknown := [name for name in source.class_names if name not in places]:
        raise UserError(
            f"the model does not know {len(unknown)} of the {len(source.class_names)} classes of "
            f"{source.name}, such as {unknown[0]!r}"
        )
    return np.array([places[name] for name in source.class_names])


def _concatenate(parts: list[Answers]) -> Answers:
    values = {}
    for field in dataclasses.fields(Answers):
        arrays = [getattr(part, field.name) for part in parts]
        values[field.name] = None if arrays[0] is None else np.concatenate(arrays)
    return Answers(**values)
