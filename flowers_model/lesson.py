"""Teach a model classes from a few photos of each, without training.

`flowers_model.statistics` has the statistics of the old photos, `flowers_model.few_shot` computes
new columns, and `flowers_model.grow` writes them. This module combines them into a lesson: the
taught model, remarks about its photos, and its bundle.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import hashlib
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Protocol

import huggingface_hub
import numpy as np

from flowers_model import bundle
from flowers_model.calibration import (
    auroc,
    fit_temperature,
    label_set_limit,
    large_sources,
    refusal_bounds,
)
from flowers_model.engine import Engine
from flowers_model.errors import UserError
from flowers_model.few_shot import learn
from flowers_model.files import check_output, legible, replacing
from flowers_model.grow import Head, read_head, write_head
from flowers_model.installation import spoken
from flowers_model.photo import Photo, PhotoError, decode, reduced
from flowers_model.statistics import Statistics, read_statistics, write_statistics
from flowers_model.uncertainty import SCORES, refused, softmax

FEW = 3  # fewer photos of a new class than this give a warning
TAUGHT = "## Taught from a few photos"


class Teachable(Protocol):
    """The interface of `flowers_model.FlowerClassifier`, which imports this module."""

    folder: pathlib.Path
    manifest: bundle.Manifest
    engine: Engine


@dataclasses.dataclass(frozen=True)
class Example:
    """A photo that a class is taught from.

    Attributes:
        title: its name in messages, such as the name of its file.
        pixels: the decoded photo, uint8 `(H, W, 3)`.
        digest: the digest of its bytes, as in `splits.json`; None if it was not a file.
    """

    title: str
    pixels: np.ndarray
    digest: str | None = None


@dataclasses.dataclass(frozen=True)
class Lesson:
    """The result of teaching; nothing is written before `write`.

    Attributes:
        classifier: the taught model; it shares the network of the original model.
        head: the network's new last layer.
        statistics: statistics for further teaching.
        classes: the manifest's entries for the classes taught in this lesson.
        notes: remarks about the photos, one sentence each.
        examples: the photos by class.
        answers: for each photo, the name that a model taught without it gives, and whether that
            model would refuse it; None for a class's only photo.
    """

    classifier: Teachable
    head: Head
    statistics: Statistics
    classes: list[bundle.Taught]
    notes: list[str]
    examples: dict[str, list[Example]]
    answers: dict[str, list[tuple[str, bool] | None]]

    def write(self, output: str | pathlib.Path, gallery: int = 2) -> Teachable:
        """Write the bundle of the taught model and open it.

        >>> lesson.write("tulips").classify("photo.jpg")

        Args:
            output: a folder that does not exist yet.
            gallery: number of photos of each taught class to add to the gallery.

        Raises:
            UserError: if `output` exists or cannot be written.
        """
        output = pathlib.Path(output)
        if output.exists():
            raise UserError(f"{str(output)!r} exists already; give a new folder")
        check_output(output)
        source = self.classifier.folder
        with replacing(output) as room:
            shutil.copytree(source, room)
            write_head(room, self.head)
            write_statistics(room, self.statistics)
            if (room / bundle.REFUSAL_FILE).exists():
                with replacing(room / bundle.REFUSAL_FILE) as temporary:
                    np.save(temporary, self.statistics.means)
            manifest = self.classifier.manifest
            bundle.write_json(room / bundle.MANIFEST, manifest)
            self._write_splits(room)
            self._write_gallery(room, gallery)
            _write_card(room, manifest)
            bundle.check(room)
        return type(self.classifier).from_pretrained(output)

    def _write_splits(self, room: pathlib.Path) -> None:
        """Record the taught photos as training photos, so that no evaluation uses them."""
        splits = bundle.read_splits(room)
        if splits is None:
            return
        taught = [one.digest for those in self.examples.values() for one in those if one.digest]
        photos = {
            split: [digest for digest in digests if split == "train" or digest not in taught]
            for split, digests in splits.photos.items()
        }
        train = photos.get("train", [])
        photos["train"] = [*train, *(one for one in taught if one not in set(train))]
        names = self.classifier.manifest.class_names
        bundle.write_json(room / bundle.SPLITS, bundle.Splits(class_names=names, photos=photos))

    def _write_gallery(self, room: pathlib.Path, count: int) -> None:
        index = bundle.read_gallery(room)
        embeddings = bundle.read_embeddings(room, index)
        photos, shown = list(index.photos), []
        for name, examples in self.examples.items():
            for example in examples[:count]:
                file = f"taught-{len(photos):03}.jpg"
                data = reduced(example.pixels, bundle.GALLERY_SIDE, quality=88)
                (room / "gallery" / file).write_bytes(data)
                photos.append(bundle.GalleryPhoto(file=file, label=name))
                shown.append(self.classifier.prepare(example.pixels))
        if not shown:
            return
        gallery = bundle.Gallery(credits=index.credits, photos=photos)
        bundle.write_json(room / "gallery/index.json", gallery)
        if embeddings is not None:
            [more] = self.classifier.engine.run(np.stack(shown), ("embedding",))
            with replacing(room / "gallery/embeddings.npy") as temporary:
                np.save(temporary, np.vstack([embeddings, more]).astype(np.float16))


class TaughtEngine:
    """Runs a network with another last layer."""

    def __init__(self, engine: Engine, head: Head):
        self._engine = engine
        self._head = head

    def run(self, photos: np.ndarray, outputs: Sequence[str] = ("logits",)) -> list[np.ndarray]:
        """Same as in `flowers_model.engine.Engine`."""
        made_of = {"logits": "embedding", "class_maps": "features"}
        needed = list(dict.fromkeys(made_of.get(name, name) for name in outputs))
        values = dict(zip(needed, self._engine.run(photos, needed), strict=True))
        return [
            values[made_of[name]] @ self._head.kernel + self._head.bias
            if name in made_of
            else values[name]
            for name in outputs
        ]


def teach(
    classifier: Teachable,
    photos: Mapping[str, Sequence[Photo | Example]],
    data: str = "photos",
) -> Lesson:
    """Teach a model classes from a few photos of each.

    >>> lesson = teach(FlowerClassifier.from_pretrained(), {"tulip": ["a.jpg", "b.jpg", "c.jpg"]})
    >>> print(*lesson.notes, sep="\\n")
    >>> lesson.write("tulips")

    Args:
        photos: photos by class name. A class that the model already knows is improved.
        data: where the photos come from, for the manifest.

    Raises:
        UserError: if there is no photo, or the model cannot be taught.
        PhotoError: if a photo cannot be read.
    """
    before, statistics = _head_and_statistics(classifier)
    examples, notes = _examples(photos)
    known = classifier.manifest.class_names
    names = [*known, *(name for name in examples if name not in known)]
    flat = [one for those in examples.values() for one in those]
    labels = np.repeat([names.index(name) for name in examples], [*map(len, examples.values())])
    [embeddings] = classifier.engine.run(
        np.stack([classifier.prepare(one.pixels) for one in flat]), ("embedding",)
    )

    # Classes taught in earlier lessons are learned again, together with the new photos.
    rows = np.vstack([statistics.taught, embeddings])
    classes = np.concatenate([statistics.taught_labels, labels])
    calibration = classifier.manifest.calibration
    learned = learn(before, statistics, calibration.temperature, rows, classes)
    statistics = _with_taught(statistics, len(names), rows, classes, len(embeddings))

    # A class with a single photo cannot be taught without it.
    told = np.isfinite(learned.taught).all(axis=1)
    held_out = Judged(
        np.vstack([learned.held_out, learned.taught[told]]),
        np.vstack([statistics.held_out, rows[told]]),
        np.concatenate([statistics.held_out_labels, classes[told]]),
        # The taught photos form a source.
        np.concatenate([statistics.held_out_sources, np.full(told.sum(), -1)]),
    )
    calibration = _recalibrated(calibration, held_out, learned.strangers, statistics)
    manifest = classifier.manifest.model_copy(
        update={"class_names": names, "calibration": calibration, "by_source": {}}
    )
    taught = type(classifier)(
        classifier.folder, manifest, TaughtEngine(classifier.engine, learned.head), statistics.means
    )
    guesses, strange = _without_each(taught, learned.taught, embeddings)
    lessons = _entries(classifier.manifest, names, labels, guesses, data)
    manifest.taught = [*manifest.taught, *lessons]
    manifest.metrics = {"valid": _metrics(taught, held_out)}
    notes += _remarks(lessons, flat, names, labels, guesses, strange)
    without = {
        name: [
            None if guesses[i] < 0 else (names[guesses[i]], bool(strange[i]))
            for i in np.flatnonzero(labels == names.index(name))
        ]
        for name in examples
    }
    return Lesson(taught, learned.head, statistics, lessons, notes, examples, without)


def _head_and_statistics(classifier: Teachable) -> tuple[Head, Statistics]:
    if isinstance(classifier.engine, TaughtEngine):
        raise UserError("this model has just been taught; write it first, or teach all at once")
    statistics = read_statistics(classifier.folder)
    if statistics is None:
        raise UserError(
            f"this model comes without {bundle.STATISTICS}, which teaching needs; "
            f"{spoken('calibrate')} --model MODEL --data SOURCE --output DIR adds it"
        )
    head = read_head(classifier.folder)
    if statistics.means.shape != head.kernel.T.shape:
        raise bundle.BundleError(f"{bundle.STATISTICS} and model.onnx differ in their classes")
    return head, statistics


def _entries(
    manifest: bundle.Manifest,
    names: Sequence[str],
    labels: np.ndarray,
    guesses: np.ndarray,
    data: str,
) -> list[bundle.Taught]:
    """The entries of a lesson in the manifest, a class each.

    Args:
        manifest: that of the original model.
        names: all classes, those of the original model first.
        labels: those of the N new photos, int `(N,)`, a class after the other.
        guesses: as `_without_each` gives them, int `(N,)`.
    """
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return [
        bundle.Taught(
            name=names[label],
            photos=int((labels == label).sum()),
            new=label >= len(manifest.class_names),
            right=_share_right(guesses[labels == label], label),
            data=data,
            model=f"{manifest.provenance.preset}, {manifest.headline}",
            created=created,
        )
        for label in dict.fromkeys(labels.tolist())
    ]


def _without_each(
    taught: Teachable, answers: np.ndarray, embeddings: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the model says of each new photo if it has not been taught that photo.

    Args:
        answers: logits `(N, C)`, of the taught photos of before, too; the new ones are the last.

    Returns:
        The class, int `(N,)`, -1 where a class has no other photo; whether it is refused.
    """
    answers = answers[-len(embeddings) :]
    told = np.isfinite(answers).all(axis=1)
    said = taught.judge(answers[told], embeddings[told])
    guesses, strange = np.full(len(told), -1), np.zeros(len(told), bool)
    guesses[told] = said.probabilities.argmax(axis=1)
    if said.refusal_scores is not None:
        strange[told] = refused(said.refusal_scores)
    return guesses, strange


@dataclasses.dataclass(frozen=True)
class Judged:
    """Held-out outputs for N photos, to calibrate on."""

    logits: np.ndarray  # (N, C)
    embeddings: np.ndarray  # (N, D)
    labels: np.ndarray  # int (N,)
    sources: np.ndarray  # int (N,)


def _examples(
    photos: Mapping[str, Sequence[Photo | Example]],
) -> tuple[dict[str, list[Example]], list[str]]:
    """The decoded photos without duplicates, and remarks about the duplicates."""
    found: dict[str, list[Example]] = {}
    notes = []
    seen: dict[bytes, tuple[str, str]] = {}
    for name, those in photos.items():
        if not name.strip():
            raise UserError("a class needs a name")
        for number, photo in enumerate(those, 1):
            one = photo if isinstance(photo, Example) else example(photo, f"photo {number}")
            key = hashlib.blake2b(one.pixels.tobytes(), digest_size=16).digest()
            if key in seen:
                first, owner = seen[key]
                of = "" if owner == name else f" of {owner}"
                notes.append(f"{one.title} is the same photo as {first}{of}: it counts once.")
                continue
            seen[key] = one.title, name
            found.setdefault(name, []).append(one)
    if not found:
        raise UserError("there is no photo to learn from")
    return found, notes


def example(photo: Photo, title: str) -> Example:
    """An example made from a photo; the title of a file is its name."""
    if isinstance(photo, bytes):
        return Example(title, decode(photo), bundle.photo_digest(photo).hex())
    if isinstance(photo, str | pathlib.Path):
        path = pathlib.Path(photo)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PhotoError(f"{legible(path)} cannot be read: {error.strerror}") from None
        try:
            return Example(legible(path.name), decode(data), bundle.photo_digest(data).hex())
        except PhotoError as error:
            raise PhotoError(f"{legible(path)}: {error}") from None
    return Example(title, decode(photo))


def _recalibrated(
    calibration: bundle.Calibration,
    held_out: Judged,
    strangers: np.ndarray,
    statistics: Statistics,
) -> bundle.Calibration:
    """Fit temperature, refusal threshold and limit of the label sets again.

    As in `train.evaluation.calibration`, all old sources have the same weight, and the promises
    hold for every source with at least 20 photos. `strangers` are the logits of the statistics'
    out-of-distribution photos, from heads that were fitted without them.
    """
    numbers, counts = np.unique(held_out.sources, return_counts=True)
    sources = [np.flatnonzero(held_out.sources == number) for number in numbers]
    old = max((numbers >= 0).sum(), 1)
    weights = np.ones(len(held_out.labels))
    for number, rows in zip(numbers, sources, strict=True):
        if number >= 0:
            weights[rows] = counts[numbers >= 0].sum() / (old * len(rows))
    temperature = fit_temperature(held_out.logits, held_out.labels, weights)
    large = large_sources(sources)

    refusal = calibration.refusal
    if refusal is not None:
        kinds = statistics.stranger_kinds
        areas = {}
        for kind in refusal.auroc | {refusal.score: 0.5}:
            score = SCORES[kind](statistics.means)
            raw = score.score(held_out.logits, held_out.embeddings, temperature)
            others = score.score(strangers, statistics.strangers, temperature)
            areas[kind] = float(
                np.mean(
                    [auroc(raw[r], others[kinds == k]) for r in large for k in np.unique(kinds)]
                    or [refusal.auroc.get(kind, 0.5)]
                )
            )
            if kind == refusal.score:
                center, threshold = refusal_bounds(raw, large, refusal.keeps)
        refusal = refusal.model_copy(
            update={"center": center, "threshold": threshold, "auroc": areas}
        )
    sets = calibration.label_sets
    if sets is not None:
        probabilities = softmax(held_out.logits, temperature)
        limit = label_set_limit(probabilities, held_out.labels, large, sets.coverage)
        sets = bundle.LabelSets(coverage=sets.coverage, limit=limit)
    taught = (held_out.sources == -1).sum()
    return bundle.Calibration(
        temperature=temperature,
        fitted_on="valid",
        method=(
            "Classes were taught after training. The calibration was fitted anew on the "
            f"embeddings of {len(held_out.labels) - taught} validation photos and on {taught} "
            "taught photos, each answered by a head that was fitted without it."
        ),
        refusal=refusal,
        label_sets=sets,
    )


def _with_taught(
    statistics: Statistics, count: int, rows: np.ndarray, classes: np.ndarray, new: int
) -> Statistics:
    """Statistics for further teaching; the last `new` rows are the new photos."""
    depth = rows.shape[1]
    known = len(statistics.means)
    counts = np.concatenate([statistics.counts, np.zeros(count - known, int)])
    means = np.vstack([statistics.means, np.zeros((count - known, depth))])
    for label in np.unique(classes[-new:]):
        own = rows[-new:][classes[-new:] == label]
        total = counts[label] + len(own)
        means[label] = (counts[label] * means[label] + own.sum(axis=0)) / total
        counts[label] = total
    return dataclasses.replace(
        statistics,
        means=means.astype(np.float32),
        counts=counts,
        taught=rows.astype(np.float32),
        taught_labels=classes,
    )


def _share_right(guesses: np.ndarray, label: int) -> float | None:
    """The fraction of a class's photos that are classified correctly; None without answers."""
    return None if (guesses < 0).any() else float((guesses == label).mean())


def _metrics(classifier: Teachable, held_out: Judged) -> bundle.Metrics:
    """The metrics on the photos that the model was calibrated on."""
    answers = classifier.judge(held_out.logits, held_out.embeddings)
    labels = held_out.labels
    rows = np.arange(len(labels))
    order = np.argsort(-answers.probabilities, axis=1, kind="stable")
    right = order[:, 0] == labels
    picked = np.maximum(answers.probabilities[rows, labels], 1e-300)
    sure = answers.probabilities.max(axis=1) > 0.8
    scores, sets = answers.refusal_scores, answers.label_sets
    strange = None if scores is None else refused(scores)
    return bundle.Metrics(
        top1=float(right.mean()),
        top5=float((order[:, :5] == labels[:, None]).any(axis=1).mean()),
        loss=float(-np.log(picked).mean()),
        nll=float(-np.log(picked).mean()),
        count=len(labels),
        sure_wrong=float((sure & ~right).mean()),
        refused=None if strange is None else float(strange.mean()),
        kept_right=None if strange is None else float((right & ~strange).mean()),
        coverage=None if sets is None else float(sets[rows, labels].mean()),
        set_size=None if sets is None else float(sets.sum(axis=1).mean()),
    )


def _remarks(
    lessons: Sequence[bundle.Taught],
    photos: Sequence[Example],
    names: Sequence[str],
    labels: np.ndarray,
    guesses: np.ndarray,
    strange: np.ndarray,
) -> list[str]:
    """Remarks for the person who teaches, one sentence each.

    Args:
        photos: the N taught photos, with their `labels`, int `(N,)`.
        guesses: the label that a model taught without the photo gives, int `(N,)`; -1 for a class's
            only photo.
        strange: whether that model would refuse the photo, bool `(N,)`.
    """
    new = {lesson.name for lesson in lessons if lesson.new}
    notes = []
    for lesson in lessons:
        label = names.index(lesson.name)
        own = np.flatnonzero(labels == label)
        if lesson.new and len(own) < FEW:
            some = "1 photo is" if len(own) == 1 else f"{len(own)} photos are"
            notes.append(f"{lesson.name}: {some} few; {FEW} make a start, 10 are good.")
        for other, count in collections.Counter(guesses[own].tolist()).most_common():
            if other in (label, -1):
                continue
            wrong = own[guesses[own] == other]
            if count > 1 and 3 * count >= len(own):
                alike = (
                    f"{lesson.name} and {names[other]} look alike"
                    if names[other] in new
                    else f"{lesson.name} looks like {names[other]}, which it knows"
                )
                notes.append(f"{alike}: {count} of {len(own)} photos ({_titles(photos, wrong)}).")
            elif len(own) < FEW:
                notes += [f"{photos[i].title} looks like {names[other]}." for i in wrong]
            else:
                notes += [
                    f"{photos[i].title} does not fit the other photos of {lesson.name}; without "
                    f"it, the model says {names[other]}. Is that photo right?"
                    for i in wrong
                ]
        unsure = own[strange[own] & (guesses[own] == label)]
        if len(unsure):
            notes.append(
                f"{lesson.name}: {len(unsure)} of {len(own)} photos would be refused as unknown "
                f"({_titles(photos, unsure)}); more photos help."
            )
    return notes


def _titles(photos: Sequence[Example], rows: np.ndarray) -> str:
    titles = [photos[i].title for i in rows]
    more = f" and {len(titles) - 5} more" if len(titles) > 5 else ""
    return ", ".join(titles[:5]) + more


def _write_card(room: pathlib.Path, manifest: bundle.Manifest) -> None:
    """Add the taught classes to the card; its other figures are those of the original model."""
    path = room / "README.md"
    card = huggingface_hub.RepoCard(path.read_text("utf-8"), ignore_metadata_errors=True)
    vars(card.data).pop("model-index", None)  # measured on the original model
    body = re.sub(rf"{TAUGHT}\n.*?(?=\n## |\Z)", "", card.text, flags=re.DOTALL).strip()
    before, mark, after = body.partition("\n## ")
    rows = "\n".join(
        f"| {one.name} | {one.photos} | {'new' if one.new else 'known'} | "
        f"{'' if one.right is None else f'{one.right:.0%}'} | {one.data} | {one.model} |"
        for one in manifest.taught
    )
    measured = manifest.metrics["valid"]
    section = f"""{TAUGHT}

After training, classes were taught by adding columns to the last layer: the model now knows
{len(manifest.class_names)} classes. "Right" is the fraction of photos that are classified correctly
by a model taught without them.

| class | photos | class was | right | photos from | taught to |
|---|---|---|---|---|---|
{rows}

Top-1 accuracy on {measured.count} photos (validation photos, and taught photos that were left out)
is {measured.top1:.1%}. The figures below and in `report/` are those of the original model."""
    text = f"{before.strip()}\n\n{section}\n{mark}{after}\n"
    header = f"---\n{card.data.to_yaml()}\n---\n" if card.data.to_dict() else ""
    path.write_text(header + text, "utf-8")
