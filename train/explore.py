"""Look at a photo collection before training: `python -m train.explore --data SPEC --output DIR`.

Writes tables, pictures and one page, `index.html`, that shows it all. Photos are only read.
"""

from __future__ import annotations

import collections
import concurrent.futures
import csv
import dataclasses
import hashlib
import io
import os
import pathlib
import sys
from collections.abc import Callable, Iterable

import matplotlib.figure
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from flowers_model.photo import PhotoError, decode, fit
from train.data import duplicates
from train.data.duplicates import Pair
from train.data.pipeline import progress, training_photos
from train.experiment import Experiment
from train.reports.style import finish, plain
from train.reports.survey_page import write_page
from train.sources import Source, Split, open_source
from train.sources.split_list import write_split_list

TINY = 32  # pixels of the shorter side below which a photo counts as tiny
SAMPLES = 24
DRAWS = 5
AUGMENTED = 6  # photos that --augment shows
SPLIT_COLOURS = {"train": "#3b6fb6", "valid": "#d9702b", "test": "#4a9a5b"}


@dataclasses.dataclass(frozen=True)
class Photo:
    """What there is to know of one photo.

    Attributes:
        name, split, label: as in its source; label is an index into the class names.
        size: bytes of the file; 0 where it cannot be read.
        digest: SHA-256 of the file, hexadecimal; "" where it cannot be read.
        problem: why it cannot be decoded, else "" and what follows is there.
        width, height: of the upright photo, pixels.
        mode: Pillow's name for the pixel format in the file, as RGB or L.
        pixel_digest: the upright photo's shape and the SHA-256 of its pixels.
        perceptual_hash, thumbnail: see `train.data.duplicates`.
    """

    name: str
    split: str
    label: int
    size: int = 0
    digest: str = ""
    problem: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    pixel_digest: str = ""
    perceptual_hash: int = 0
    thumbnail: np.ndarray | None = None

    @property
    def status(self) -> str:
        """ok, tiny, or unreadable."""
        if self.problem:
            return "unreadable"
        return "tiny" if min(self.width, self.height) < TINY else "ok"


@dataclasses.dataclass(frozen=True)
class Survey:
    """A collection and what was found in it.

    Attributes:
        photos: split by split, in the order of the source.
        read: the encoded bytes of photo `i` of `photos`.
        pairs: duplicates, numbered as in `photos`; the gravest first.
    """

    source: Source
    photos: list[Photo]
    read: Callable[[int], bytes]
    pairs: list[Pair]

    def crosses_splits(self, pair: Pair) -> bool:
        return self.photos[pair.first].split != self.photos[pair.second].split

    def has_two_labels(self, pair: Pair) -> bool:
        return self.photos[pair.first].label != self.photos[pair.second].label

    def class_of(self, i: int) -> str:
        return self.source.class_names[self.photos[i].label]

    def counts(self) -> dict[str, np.ndarray]:
        """Photos a class in each split, int64 `(C,)`."""
        classes = len(self.source.class_names)
        return {
            name: np.bincount(split.labels, minlength=classes)
            for name, split in self.source.splits.items()
        }


def survey(source: Source) -> Survey:
    """Decode every photo of a source, in parallel, and find duplicates.

    Raises:
        UserError: no photo can be read.
    """
    places = [(name, i) for name, split in source.splits.items() for i in range(len(split))]

    def read(i: int) -> bytes:
        split, place = places[i]
        return source.splits[split].read(place)

    def look(i: int) -> Photo:
        split, place = places[i]
        name, label = source.splits[split].names[place], int(source.splits[split].labels[place])
        return _look(Photo(name, split, label), lambda: read(i))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(look, range(len(places)))
        photos = list(progress(answers, "looking", len(places), "photos"))
    readable = [i for i, photo in enumerate(photos) if not photo.problem]
    if not readable:
        raise UserError(
            f"none of the {len(photos)} photos of {source.name} can be read; the first, "
            f"{photos[0].name}: {photos[0].problem}"
        )
    found = [photos[i] for i in readable]
    pairs = [
        dataclasses.replace(pair, first=readable[pair.first], second=readable[pair.second])
        for pair in duplicates.find_pairs(
            [photo.digest for photo in found],
            [photo.pixel_digest for photo in found],
            np.array([photo.perceptual_hash for photo in found], np.uint64),
            [photo.thumbnail for photo in found],
        )
    ]
    unsorted = Survey(source, photos, read, pairs)

    def gravity(pair: Pair) -> tuple:
        grave = unsorted.has_two_labels(pair), unsorted.crosses_splits(pair)
        return *(not g for g in grave), -pair.correlation, pair.first, pair.second

    return dataclasses.replace(unsorted, pairs=sorted(pairs, key=gravity))


def kept_photos(found: Survey) -> tuple[list[int], dict[int, str]]:
    """What a cleaned collection keeps, and why it drops the others.

    Of photos that are one, the first in test stays, else the first in valid, else in train.
    Photos that cannot be read are dropped. The last photo of a class in a split always stays,
    since every split needs every class.
    """
    photos = found.photos
    reasons = {i: "unreadable" for i, photo in enumerate(photos) if photo.problem}
    order = {"test": 0, "valid": 1, "train": 2}
    for group in duplicates.groups(found.pairs):
        best, *others = sorted(group, key=lambda i: (order[photos[i].split], i))
        reasons |= {i: f"same as {photos[best].name}" for i in others}
    left = collections.Counter((photo.split, photo.label) for photo in photos)
    dropped = {}
    for i, reason in reasons.items():
        place = photos[i].split, photos[i].label
        if left[place] > 1:
            left[place] -= 1
            dropped[i] = reason
    return [i for i in range(len(photos)) if i not in dropped], dropped


def explore(
    spec: str,
    folder: pathlib.Path,
    *,
    clean: bool = False,
    augment: Iterable[str] = (),
    seed: int,
    skip_bad: bool = False,
) -> Survey:
    """Survey a source and write all there is to see to a new folder, whole or not at all.

    Args:
        spec: see `train.sources.open_source`.
        folder: must not exist yet, or be empty.
        clean: write `clean.txt`, too, for `--data-list` of `train/run.py`.
        augment: names of `train.data.augment`, policies or ways to mix, to be shown.
        seed: cuts splits as training with that seed does, and chooses samples.
        skip_bad: leave out what has no label or no photo, as training with that flag does.

    Raises:
        UserError: for a source that cannot be used, a folder in use, or an unknown augmentation.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"--output {str(folder)!r} is there already; give a new folder")
    check_output(folder / "index.html")
    policies = {name: _augmentation(name) for name in augment}
    source = open_source(spec, seed, skip_bad=skip_bad)
    found = survey(source)
    with replacing(folder) as room:
        room.mkdir()
        _write_tables(found, room)
        _class_figure(found, room / "classes.png")
        _size_figure(found, room / "sizes.png")
        samples = _samples(found, seed)
        _sample_figure(found, samples, room / "samples.jpg")
        _sample_gif(found, samples, room / "samples.gif")
        for name, draw in policies.items():
            chosen = samples[:AUGMENTED]
            _augment_figure(found, chosen, name, draw, seed, room / f"augment-{name}.jpg")
        dropped = None
        if clean:
            kept, dropped = kept_photos(found)
            write_split_list(
                room / "clean.txt",
                [(found.photos[i].split, found.photos[i].name) for i in kept],
                [f"Of --data {spec} with --seed {seed}: {len(kept)} of {len(found.photos)} photos"]
                + [f"without {found.photos[i].name}: {why}" for i, why in dropped.items()],
            )
        write_page(found, room, list(policies), dropped)
    return found


def _look(photo: Photo, read: Callable[[], bytes]) -> Photo:
    """Fill in what the photo's file says."""
    try:
        data = read()
    except OSError as error:
        return dataclasses.replace(photo, problem=error.strerror or str(error))
    digest = hashlib.sha256(data).hexdigest()
    photo = dataclasses.replace(photo, size=len(data), digest=digest)
    try:
        pixels = decode(data)
    except PhotoError as error:
        return dataclasses.replace(photo, problem=str(error))
    with Image.open(io.BytesIO(data)) as header:
        mode = header.mode
    height, width = pixels.shape[:2]
    thumbnail = duplicates.thumbnail(pixels)
    return dataclasses.replace(
        photo,
        width=width,
        height=height,
        mode=mode,
        pixel_digest=f"{width} {height} {hashlib.sha256(pixels).hexdigest()}",
        perceptual_hash=duplicates.perceptual_hash(thumbnail),
        thumbnail=thumbnail,
    )


def _write_tables(found: Survey, room: pathlib.Path) -> None:
    names = found.source.class_names
    counts = found.counts()
    _write_csv(
        room / "overview.csv",
        ["path", "split", "class", "width", "height", "mode", "bytes", "hash", "status"],
        (
            (
                *(p.name, p.split, names[p.label], p.width or "", p.height or "", p.mode),
                *(p.size, p.digest, p.status),
            )
            for p in found.photos
        ),
    )
    _write_csv(
        room / "classes.csv",
        ["class", *counts],
        ([name, *row] for name, *row in zip(names, *counts.values(), strict=True)),
    )
    _write_csv(
        room / "splits.csv",
        ["split", "photos", "smallest_class", "largest_class", "imbalance_ratio"],
        (
            [split, n.sum(), n.min(), n.max(), f"{n.max() / max(n.min(), 1):.2f}"]
            for split, n in counts.items()
        ),
    )
    of = {i: k for k, group in enumerate(duplicates.groups(found.pairs), 1) for i in group}
    _write_csv(
        room / "duplicates.csv",
        ["group", "kind", "distance", "correlation", "crosses_splits", "two_labels"]
        + [f"{column}_{n}" for n in (1, 2) for column in ("path", "split", "class")],
        (
            [of[pair.first], pair.kind, pair.distance, f"{pair.correlation:.3f}"]
            + ["yes" if mark else "no" for mark in _marks(found, pair)]
            + [
                value
                for i in (pair.first, pair.second)
                for value in (found.photos[i].name, found.photos[i].split, found.class_of(i))
            ]
            for pair in found.pairs
        ),
    )


def _marks(found: Survey, pair: Pair) -> tuple[bool, bool]:
    return found.crosses_splits(pair), found.has_two_labels(pair)


def _write_csv(path: pathlib.Path, header: list[str], rows: Iterable[Iterable]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _class_figure(found: Survey, path: pathlib.Path) -> None:
    """Photos a class, the largest class on top."""
    counts = found.counts()
    order = np.argsort(sum(counts.values()), kind="stable")
    height = min(1.2 + 0.17 * len(order), 300)
    figure = matplotlib.figure.Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for ax, (split, n) in zip(axes, counts.items(), strict=True):
        ax.barh(np.arange(len(order)), n[order], color=SPLIT_COLOURS[split])
        ax.set_title(f"{split}: {n.sum()}, ratio {n.max() / max(n.min(), 1):.1f}", fontsize=9)
        ax.set_xlabel("photos")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.margins(y=0.5 / len(order))
    names = [plain(found.source.class_names[i]) for i in order]
    axes[0].set_yticks(np.arange(len(order)), names, fontsize=7)
    finish(figure, path)


def _size_figure(found: Survey, path: pathlib.Path) -> None:
    """Width against height, and how many photos have which shorter side."""
    figure = matplotlib.figure.Figure(figsize=(9, 4), layout="constrained")
    plane, sides = figure.subplots(1, 2)
    short = {}
    for split, colour in SPLIT_COLOURS.items():
        sizes = [(p.width, p.height) for p in found.photos if p.split == split and not p.problem]
        if sizes:
            sizes = np.array(sizes)
            plane.scatter(*sizes.T, s=8, alpha=0.3, color=colour, label=split, linewidths=0)
            short[split] = sizes.min(axis=1)
    plane.set_xlabel("width, pixels")
    plane.set_ylabel("height, pixels")
    colours = [SPLIT_COLOURS[split] for split in short]
    sides.hist(list(short.values()), 30, stacked=True, color=colours, label=list(short))
    sides.set_xlabel("shorter side, pixels")
    sides.set_ylabel("photos")
    sides.legend(frameon=False)
    finish(figure, path)


def _samples(found: Survey, seed: int) -> list[int]:
    """Readable photos, each of another class as long as there are classes."""
    order = np.random.default_rng(seed).permutation(len(found.photos))
    taken = collections.Counter()
    rank = {}
    for i in order.tolist():
        if not found.photos[i].problem:
            rank[i] = taken[found.photos[i].label]
            taken[found.photos[i].label] += 1
    return sorted(rank, key=rank.get)[:SAMPLES]


def _sample_figure(found: Survey, samples: list[int], path: pathlib.Path) -> None:
    columns = 6
    rows = max(-(-len(samples) // columns), 1)
    figure = matplotlib.figure.Figure(figsize=(9, 1.75 * rows), layout="constrained")
    for ax in figure.subplots(rows, columns, squeeze=False).flat:
        ax.axis("off")
    for ax, i in zip(figure.axes, samples, strict=False):
        ax.imshow(fit(decode(found.read(i)), 192))
        ax.set_title(plain(found.class_of(i))[:24], fontsize=7)
    finish(figure, path)


def _sample_gif(found: Survey, samples: list[int], path: pathlib.Path) -> None:
    """The samples one after another, each with its class below."""
    frames = []
    for i in samples:
        frame = Image.new("RGB", (192, 212), "white")
        frame.paste(Image.fromarray(fit(decode(found.read(i)), 192)))
        draw = ImageDraw.Draw(frame)
        draw.text((4, 194), plain(found.class_of(i)), "black", ImageFont.load_default(13))
        frames.append(frame.quantize(128))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=700, loop=0)


# Takes photos as training reads them, one-hot labels, and a seed; gives images and labels.
_Draw = Callable[[list[np.ndarray], np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def _augmentation(names: str) -> _Draw:
    """The augmentation of that name, or comma list, made to work on a few photos at once.

    Raises:
        UserError: for a name that there is not.
    """
    from train.data import augment

    policy = augment.policy(names, Experiment.image_size, Experiment.crop_scale)
    mix = augment.mixing(names)

    def draw(photos: list[np.ndarray], labels: np.ndarray, seed: int):
        seeds = (np.array([seed, i], np.int32) for i in range(len(photos)))
        views = np.stack([np.asarray(policy(p, s)) for p, s in zip(photos, seeds, strict=True)])
        if mix is not None:
            views, labels = mix(views, labels, np.array([seed, 0], np.int32))
        return np.asarray(views), np.asarray(labels)

    return draw


def _augment_figure(
    found: Survey, chosen: list[int], name: str, draw: _Draw, seed: int, path: pathlib.Path
) -> None:
    """Each photo as it is, and a few draws of it."""
    labels = np.array([found.photos[i].label for i in chosen], np.int32)
    names = tuple(found.photos[i].name for i in chosen)
    split = Split(names, labels, lambda k: found.read(chosen[k]))
    photos = training_photos(split, "samples", Experiment.image_size)
    originals = [photos.read(k) for k in range(len(photos))]
    one_hot = np.eye(len(found.source.class_names), dtype=np.float32)[labels]
    draws = [draw(originals, one_hot, seed + k) for k in range(DRAWS)]

    figure = matplotlib.figure.Figure(figsize=(9, 1.65 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), 1 + DRAWS, squeeze=False)
    for row, (axes, original) in enumerate(zip(grid, originals, strict=True)):
        for ax in axes:
            ax.axis("off")
        axes[0].imshow(original)
        axes[0].set_title(plain(found.class_of(chosen[row]))[:24], fontsize=7)
        for ax, (views, shares) in zip(axes[1:], draws, strict=True):
            ax.imshow(np.rint(views[row]).clip(0, 255).astype(np.uint8))
            if not np.array_equal(shares[row], one_hot[row]):
                ax.set_title(f"{shares[row][labels[row]]:.0%} of it", fontsize=7)
    figure.suptitle(f"{name}: the photo, and {DRAWS} draws", fontsize=9)
    finish(figure, path)


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser("python -m train.explore", description=__doc__)
    parser.add_argument("--data", required=True, metavar="SPEC", help="as for train/run.py")
    parser.add_argument(
        "--output", required=True, metavar="DIR", type=pathlib.Path, help="a new folder"
    )
    parser.add_argument(
        "--clean",
        action="store_true",
        help="write clean.txt, photos without duplicates and unreadable ones, for --data-list",
    )
    parser.add_argument(
        "--augment",
        action="append",
        default=[],
        metavar="NAME",
        help="show what this augmentation does to photos; may be given several times",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of splits that are cut, and of samples"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out what has no label or no photo"
    )
    try:
        options = parser.parse_args(arguments)
        found = explore(
            options.data,
            options.output,
            clean=options.clean,
            augment=options.augment,
            seed=options.seed,
            skip_bad=options.skip_bad,
        )
    except OSError as error:  # Photos that cannot be read do not come here.
        raise UserError(f"{options.output} cannot be written: {error.strerror}") from error
    status = collections.Counter(photo.status for photo in found.photos)
    crossing = sum(found.crosses_splits(pair) for pair in found.pairs)
    double = sum(found.has_two_labels(pair) for pair in found.pairs)
    print(
        f"{len(found.photos)} photos, {status['unreadable']} unreadable, {status['tiny']} tiny; "
        f"{len(found.pairs)} pairs of duplicates, {crossing} across splits, "
        f"{double} with two labels"
    )
    print(f"look at {options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
