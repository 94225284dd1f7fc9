"""Figures of a survey."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Callable

import matplotlib.figure
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flowers_model.photo import decode, fit
from train.data.decoding import training_photos
from train.data.survey import Survey
from train.experiment import Experiment
from train.reports.style import finish, plain
from train.sources import Split

SAMPLES = 24
DRAWS = 5
SPLIT_COLOURS = {"train": "#3b6fb6", "valid": "#d9702b", "test": "#4a9a5b"}


def class_figure(found: Survey, path: pathlib.Path) -> None:
    """Photos per class, the largest class on top."""
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


def size_figure(found: Survey, path: pathlib.Path) -> None:
    """Width against height, and a histogram of the shorter sides."""
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


def samples_of(found: Survey, seed: int) -> list[int]:
    """Readable photos, from as many classes as possible."""
    order = np.random.default_rng(seed).permutation(len(found.photos))
    taken = collections.Counter()
    rank = {}
    for i in order.tolist():
        if not found.photos[i].problem:
            rank[i] = taken[found.photos[i].label]
            taken[found.photos[i].label] += 1
    return sorted(rank, key=rank.get)[:SAMPLES]


def sample_figure(found: Survey, samples: list[int], path: pathlib.Path) -> None:
    columns = 6
    rows = max(-(-len(samples) // columns), 1)
    figure = matplotlib.figure.Figure(figsize=(9, 1.75 * rows), layout="constrained")
    for ax in figure.subplots(rows, columns, squeeze=False).flat:
        ax.axis("off")
    for ax, i in zip(figure.axes, samples, strict=False):
        ax.imshow(fit(decode(found.read(i)), 192))
        ax.set_title(plain(found.class_of(i))[:24], fontsize=7)
    finish(figure, path)


def sample_gif(found: Survey, samples: list[int], path: pathlib.Path) -> None:
    """The samples one after another as a GIF, with their classes."""
    frames = []
    for i in samples:
        frame = Image.new("RGB", (192, 212), "white")
        frame.paste(Image.fromarray(fit(decode(found.read(i)), 192)))
        draw = ImageDraw.Draw(frame)
        draw.text((4, 194), plain(found.class_of(i)), "black", ImageFont.load_default(13))
        frames.append(frame.quantize(128))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=700, loop=0)


# From decoded photos, one-hot labels and a seed to augmented photos and labels.
Draw = Callable[[list[np.ndarray], np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def augmentation(names: str) -> Draw:
    """A function that applies steps of `--augment` to a few photos.

    Raises:
        UserError: if a step does not exist.
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


def augment_figure(
    found: Survey, chosen: list[int], name: str, draw: Draw, seed: int, path: pathlib.Path
) -> None:
    """Each photo without augmentation, and some augmented views of it."""
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
    figure.suptitle(f"{name}: the photo, and {DRAWS} views", fontsize=9)
    finish(figure, path)
