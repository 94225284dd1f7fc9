"""Photos of other things than flowers: what a network is to say "I do not know this" to.

Some are drawn here, others are pictures that come inside this project's requirements. They come in
two groups that share no kind and no picture: one to choose by, one to measure with.
"""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flowers_model.photo import decode

SIDE = 256  # pixels of a drawn picture
DRAWN = 40  # pictures of each drawn kind
CUT = 20  # squares cut out of each picture that comes with a package

# Package, path inside it. A picture that a version of a package lacks is left out.
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


def others(group: str, flowers: np.ndarray | None = None) -> dict[str, list[np.ndarray]]:
    """Pictures of other things by kind, uint8 `(H, W, 3)` each; the same ones every time.

    Args:
        group: `"choose"` or `"measure"`.
        flowers: photos of flowers, uint8 `(N, S, S, 3)`, to scramble, where there are any.
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
    ImageDraw.Draw(picture).multiline_text((6, 6), "\n".join(lines), tuple(ink.tolist()), font)
    return np.asarray(picture)


def _scrambled(photo: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A photo cut into 16 by 16 tiles that change places."""
    side = len(photo) // 16
    if not side:
        return random.permutation(photo.reshape(-1, 3)).reshape(photo.shape)
    tiles = photo[: 16 * side, : 16 * side].reshape(16, side, 16, side, 3).swapaxes(1, 2)
    tiles = random.permutation(tiles.reshape(256, side, side, 3)).reshape(16, 16, side, side, 3)
    return np.ascontiguousarray(tiles.swapaxes(1, 2).reshape(16 * side, 16 * side, 3))


def _cut(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A square of 40 to 100 % of the short side from anywhere, mirrored half of the time."""
    height, width = picture.shape[:2]
    side = round(min(height, width) * random.uniform(0.4, 1))
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    square = picture[top : top + side, left : left + side]
    return np.ascontiguousarray(square[:, ::-1] if random.random() < 0.5 else square)


_DRAWN: dict[str, dict[str, Callable[[np.random.Generator], np.ndarray]]] = {
    "choose": {"noise": _noise, "gradients": _gradient, "shapes": _shapes},
    "measure": {"textures": _texture, "text": _text},
}
