"""Out-of-distribution photos: to train on, to choose the refusal score, and to measure it.

Some are drawn here, and some come with packages that this project requires. They form two groups
that have no kind of picture in common: one to choose the score, one to measure it. Real photos come
from folders (`outliers`); 6 of 10 are for training, 2 to choose and 2 to measure.
"""

from __future__ import annotations

import importlib.util
import logging
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flowers_model.bundle import Manifest, photo_digest
from flowers_model.photo import decode
from train.data.decoding import decode_each
from train.sources.base import SourceError, Split
from train.sources.folder import open_photos

log = logging.getLogger("flowers")

_TENTHS = {"train": 6, "choose": 8, "measure": 10}  # where each part of the outliers ends
SIDE = 256  # pixels of a drawn picture
DRAWN = 40  # pictures of each drawn kind
CUT = 20  # squares cut out of each picture that comes with a package

# Package and path inside it. A picture that the installed version lacks is left out.
PICTURES = {
    "choose": {
        "city": ("sklearn", "datasets/images/china.jpg"),
        "cheetah": ("gradio", "media_assets/images/cheetah1.jpg"),
        "toy": ("gradio", "media_assets/images/groot.jpeg"),
    },
    "measure": {
        "person": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
        "lion": ("gradio", "media_assets/images/lion.jpg"),
        "tower": ("gradio", "media_assets/images/tower.jpg"),
    },
}


def outliers(folders: Sequence[str]) -> dict[str, Split]:
    """The photos of folders, at any depth, split into train (6 of 10), choose and measure.

    The bytes of a photo decide its split, so photos that are added change nothing for the others,
    and copies of a photo are in the same split.

    Returns:
        `train`, `choose` and `measure`; all labels are -1, the origins are the folders' names.

    Raises:
        SourceError: if a folder has no photos, or too few for three splits.
    """
    found = [open_photos(folder) for folder in folders]
    parts: dict[str, list[tuple[int, int]]] = {"train": [], "choose": [], "measure": []}
    for number, split in enumerate(found):
        for i in range(len(split)):
            tenth = int.from_bytes(photo_digest(split.read(i)), "big") % 10
            parts[next(p for p, end in _TENTHS.items() if tenth < end)].append((number, i))
    for part, places in parts.items():
        if folders and not places:
            raise SourceError(
                f"--outliers: {', '.join(folders)} has too few photos to split into "
                f"{', '.join(parts)}: none is left for {part}."
            )
    return {part: _chosen(found, places) for part, places in parts.items()}


def outlier_pictures(folders: Sequence[str], manifest: Manifest) -> dict[str, list[np.ndarray]]:
    """The decoded photos of folders that a model should refuse, by the folder's name.

    If the model was trained on a folder, these are only the photos held out to measure.
    """
    found: dict[str, list[np.ndarray]] = {}
    for folder in folders:
        split = open_photos(folder)
        [name] = set(split.origins)
        if name in manifest.provenance.outliers:
            count, split = len(split), outliers([folder])["measure"]
            log.info(
                "%s: the model was trained on this folder; of its %d photos, the %d held out to "
                "measure are used",
                folder,
                count,
                len(split),
            )
        found |= pictures(split)
    return found


def pictures(split: Split) -> dict[str, list[np.ndarray]]:
    """The decoded photos of a split by origin; unreadable ones are named in the log."""
    found: dict[str, list[np.ndarray]] = {}
    for i, photo, error in decode_each(split.read, range(len(split))):
        if error is None:
            found.setdefault(split.origins[i], []).append(photo)
        else:
            log.warning("skipped: %s: %s", split.names[i], error)
    return found


def _chosen(found: Sequence[Split], places: Sequence[tuple[int, int]]) -> Split:
    def read(i: int) -> bytes:
        number, place = places[i]
        return found[number].read(place)

    return Split(
        names=tuple(f"{found[number].origins[i]}/{found[number].names[i]}" for number, i in places),
        labels=np.full(len(places), -1, np.int32),
        read=read,
        origins=tuple(found[number].origins[i] for number, i in places),
    )


def ood_pictures(group: str, flowers: np.ndarray | None = None) -> dict[str, list[np.ndarray]]:
    """Out-of-distribution pictures by kind, uint8 `(H, W, 3)` each; always the same ones.

    Args:
        group: `"choose"` or `"measure"`.
        flowers: photos of flowers to scramble, uint8 `(N, S, S, 3)`; None for none.
    """
    random = np.random.default_rng(0)
    kinds: dict[str, list[np.ndarray]] = {}
    for kind, draw in _DRAWN[group].items():
        kinds[kind] = [draw(random) for _ in range(DRAWN)]
    if flowers is not None:
        chosen = random.choice(len(flowers), min(DRAWN, len(flowers)), replace=False)
        kinds["scrambled flowers"] = [_scrambled(flowers[i], random) for i in chosen]
    for kind, (package, path) in PICTURES[group].items():
        spec = importlib.util.find_spec(package)
        file = pathlib.Path(spec.submodule_search_locations[0], path) if spec else None
        if file is not None and file.is_file():
            picture = decode(file)
            kinds[kind] = [_cut(picture, random) for _ in range(CUT)]
    return kinds


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    return tuple(random.integers(0, 256, 3).tolist())


def _noise(random: np.random.Generator) -> np.ndarray:
    """Anything from fine grain to a few soft blobs."""
    cells = int(2 ** random.uniform(1.5, 8))
    grid = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    picture = Image.fromarray(grid).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _gradient(random: np.random.Generator) -> np.ndarray:
    """One colour turning into another, along a line or around a point."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    if random.random() < 0.5:
        angle = random.uniform(0, 2 * np.pi)
        share = x * np.cos(angle) + y * np.sin(angle)
    else:
        share = np.hypot(x - random.random(), y - random.random())
    share = ((share - share.min()) / np.ptp(share))[..., None]
    mixed = share * np.array(_colour(random)) + (1 - share) * np.array(_colour(random))
    return np.rint(mixed).astype(np.uint8)


def _shapes(random: np.random.Generator) -> np.ndarray:
    """Rectangles, ellipses and lines on a plain ground."""
    picture = Image.new("RGB", (SIDE, SIDE), _colour(random))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(2, 15)):
        corners = np.sort(random.integers(0, SIDE, (2, 2)), axis=0).ravel().tolist()
        kind = random.integers(3)
        if kind == 0:
            draw.rectangle(corners, _colour(random))
        elif kind == 1:
            draw.ellipse(corners, _colour(random))
        else:
            draw.line(corners, _colour(random), int(random.integers(1, 12)))
    return np.asarray(picture)


def _texture(random: np.random.Generator) -> np.ndarray:
    """Stripes, checks or waves in two colours."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    angle, period = random.uniform(0, np.pi), random.uniform(4, 60)
    u = (x * np.cos(angle) + y * np.sin(angle)) / period
    v = (y * np.cos(angle) - x * np.sin(angle)) / period
    kind = random.integers(3)
    if kind == 0:
        share = np.floor(u) % 2
    elif kind == 1:
        share = (np.floor(u) + np.floor(v)) % 2
    else:
        share = (2 + np.sin(2 * np.pi * u) + np.sin(2 * np.pi * v)) / 4
    mixed = share[..., None] * np.array(_colour(random))
    mixed = mixed + (1 - share[..., None]) * np.array(_colour(random))
    return np.rint(mixed).astype(np.uint8)


def _text(random: np.random.Generator) -> np.ndarray:
    """A page of made-up words, dark on light or light on dark."""
    dark, light = random.integers(0, 90, 3), random.integers(170, 256, 3)
    ink, paper = (dark, light) if random.random() < 0.7 else (light, dark)
    picture = Image.new("RGB", (SIDE, SIDE), tuple(paper.tolist()))
    size = int(random.integers(9, 30))
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    lines = [
        " ".join("".join(random.choice(letters, random.integers(2, 9))) for _ in range(12))
        for _ in range(SIDE // size)
    ]
    font = ImageFont.load_default(size)
    # A letter takes half of `size`; Pillow would render what lies beyond the edge, too.
    seen = "\n".join(line[: 3 * SIDE // size] for line in lines)
    ImageDraw.Draw(picture).multiline_text((6, 6), seen, tuple(ink.tolist()), font)
    return np.asarray(picture)


def _scrambled(photo: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A photo cut into 16 by 16 tiles in random order."""
    side = len(photo) // 16
    if not side:
        return random.permutation(photo.reshape(-1, 3)).reshape(photo.shape)
    tiles = photo[: 16 * side, : 16 * side].reshape(16, side, 16, side, 3).swapaxes(1, 2)
    tiles = random.permutation(tiles.reshape(256, side, side, 3)).reshape(16, 16, side, side, 3)
    return np.ascontiguousarray(tiles.swapaxes(1, 2).reshape(16 * side, 16 * side, 3))


def _cut(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A random square of 40 to 100 % of the short side, mirrored half of the time."""
    height, width = picture.shape[:2]
    side = round(min(height, width) * random.uniform(0.4, 1))
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    square = picture[top : top + side, left : left + side]
    return np.ascontiguousarray(square[:, ::-1] if random.random() < 0.5 else square)


_DRAWN: dict[str, dict[str, Callable[[np.random.Generator], np.ndarray]]] = {
    "choose": {"noise": _noise, "gradients": _gradient, "shapes": _shapes},
    "measure": {"textures": _texture, "text": _text},
}
