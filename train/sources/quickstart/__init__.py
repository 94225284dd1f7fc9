"""The `quickstart` source: photos of flowers drawn by this code, for a first run without a dataset.

Photos are drawn as a shader would. Everything, from the seeds of a sunflower to a blade of grass,
is a batch of stamps with their own coordinates: `u` from base (0) to tip (1), `v` across (-1 to 1).
A small function gives how far inside the outline a pixel is; divided by its gradient, that is a
distance in pixels, which gives smooth edges, edges out of focus, and soft shadows. The background
is drawn at a third of the size, and enlarging blurs it; in front are leaves and grass; light, lens
and sensor come last. Every class is drawn in every colour, so only their shapes tell flowers apart.
"""

import io
import threading
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from train.sources.base import Options, Source, SourceError, Split
from train.sources.quickstart.canvas import (
    CIRCLE,
    DOWN,
    LEAF,
    SIZE,
    STEM,
    UP,
    Colours,
    Place,
    Scene,
    clouds,
    direction,
    dots,
    enlarge,
    grain,
    leaf,
    smooth,
    stem,
)
from train.sources.quickstart.flowers import BACKGROUNDS, CENTRES, FLOWERS, PETALS, front

PER_CLASS = {"train": 120, "valid": 24, "test": 32}  # photos
# Drawing consists of many short array operations, in which threads only wait for one another.
_DRAWING = threading.Lock()
CREDITS = "Drawn by this project's own code (Apache-2.0)."


def pick_colours(rng: np.random.Generator) -> Colours:
    inner, outer = np.array(PETALS[rng.integers(len(PETALS))]) * rng.uniform(0.85, 1.05)
    centre = np.array(CENTRES[rng.integers(len(CENTRES))])
    return Colours(*(c + rng.uniform(-0.05, 0.05, 3) for c in (inner, outer, centre)))


def background(scene: Scene, plant: Callable, view: Callable, colours: Colours) -> None:
    """Draw the background: a surface, its lights, leaves, and sometimes another flower."""
    rng, size = scene.rng, scene.size
    stops, (across, down), lights = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    noise = clouds(rng, size, across, down) + 0.6 * clouds(rng, size, 3 * across, 3 * down)
    noise = noise + np.linspace(-1, 1, size)[:, None] * rng.normal(0, 0.8)
    level = noise * 0.22 + rng.uniform(0.3, 0.6)
    for channel, values in zip(scene.rgb, np.transpose(stops), strict=True):
        channel[:] = np.interp(level, (0, 0.5, 1), values)
    frame = Place(scene, np.zeros(2), np.eye(2) * size)
    if lights:
        glow = np.array(stops[2]) * rng.uniform(0.6, 1.3, (lights, 1)) + rng.uniform(0, 0.15, 3)
        dots(frame, rng.random((lights, 2)), rng.uniform(0.02, 0.09, lights), glow, soft=2)
    n = rng.integers(1, 4)
    angle, width = rng.uniform(0, CIRCLE, n), rng.uniform(0.1, 0.25, n)
    leaf(frame, angle, 0.7, width, at=rng.random((n, 2)))
    if rng.random() < 0.35:
        matrix = view(rng) * size * rng.uniform(0.12, 0.25)
        plant(Place(scene, rng.uniform(0.1, 0.9, 2) * size, matrix), colours)


def foreground(scene: Scene) -> None:
    """Draw leaves and blades of grass in front of the flower, mostly out of focus."""
    rng = scene.rng
    frame = Place(scene, np.zeros(2), np.eye(2) * scene.size)
    for _ in range(rng.choice(4, p=[0.25, 0.35, 0.25, 0.15])):
        soft = rng.uniform(1, 9)
        if rng.random() < 0.6:  # a blade of grass, from below
            angle, length = UP + rng.normal(0, 0.35), rng.uniform(0.6, 1.4)
            look = LEAF._replace(bend=rng.normal(0, 1.5), soft=soft)
            leaf(frame.moved(rng.random(), 1.1), angle, length, 0.06, look)
        else:  # a leaf, from anywhere around
            angle = rng.uniform(0, CIRCLE)
            corner = frame.moved(*(0.5 - 0.75 * direction(angle)))
            length, width = rng.uniform(0.35, 0.7), rng.uniform(0.12, 0.3)
            look = LEAF._replace(soft=soft)
            leaf(corner, angle + rng.normal(0, 0.4), length, width, look)


def photograph(scene: Scene) -> bytes:
    """Apply light, lens and sensor; returns a JPEG."""
    rng, size = scene.rng, scene.size
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = ramp, ramp[:, None]
    light = 1 + 0.25 * (float(scene.light[0]) * x + float(scene.light[1]) * y)
    light *= 1 - rng.uniform(0.05, 0.25) * (x * x + y * y)  # vignette
    if rng.random() < 0.4:  # sun through leaves
        light *= 0.78 + 0.3 * smooth(clouds(rng, size, 6, 6) + 0.5)
    warmth = rng.normal(0, 0.08)
    exposure = 255 * rng.uniform(0.85, 1.3) * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    left, top = rng.integers(0, SIZE, 2)
    noise = grain()[:, top : top + size, left : left + size]
    rgb = scene.rgb * light * exposure[:, None, None] + noise * rng.uniform(1, 8)
    pixels = rgb.clip(0, 255).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(c) for c in pixels])
    if rng.random() < 0.5:  # not quite in focus
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.2)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


def draw_photo(seed: int, split: int, label: int, number: int) -> bytes:
    """The JPEG of one photo, SIZE x SIZE pixels: a pure function of its four numbers."""
    rng = np.random.default_rng([seed, split, label, number])
    plant, view = list(FLOWERS.values())[label]
    colours = pick_colours(rng)
    behind = Scene(SIZE // 3, rng, light=direction(UP + rng.uniform(-1.2, 1.2)))
    background(behind, plant, view, colours)
    scene = enlarge(behind, SIZE)
    radius = SIZE * rng.uniform(0.22, 0.45)
    centre = SIZE * (0.5 + rng.uniform(-0.16, 0.16, 2))
    if view is front:
        upright = Place(scene, centre, np.eye(2) * radius)
        lean = DOWN + rng.normal(0, 0.3)
        stem(upright, lean, look=STEM._replace(bend=rng.normal(0, 1.5)))
        n = rng.integers(1, 4)
        leaf(upright, rng.uniform(0.2, 2.9, n), 1.5, rng.uniform(0.3, 0.6, n))
    plant(Place(scene, centre, view(rng) * radius), colours)
    foreground(scene)
    return photograph(scene)


def open_source(path: str, options: Options) -> Source:
    """Open the source; it takes no path. See `quickstart`."""
    return quickstart(options.seed)


def quickstart(seed: int) -> Source:
    """Flowers drawn on demand: 192 x 192 JPEGs, `PER_CLASS` per class in each split.

    The same seed gives the same bytes, whatever the order in which photos are read.

    Raises:
        SourceError: if the seed is negative.
    """
    if seed < 0:
        raise SourceError(f"The seed must be 0 or larger, not {seed}.")

    def split(index: int, name: str, count: int) -> Split:
        names = tuple(f"{name}/{flower}/{k:04d}.jpg" for flower in FLOWERS for k in range(count))
        labels = np.repeat(np.arange(len(FLOWERS), dtype=np.int32), count)

        def read(i: int) -> bytes:
            with _DRAWING:
                return draw_photo(seed, index, *divmod(i, count))

        return Split(names, labels, read)

    splits = {name: split(k, name, n) for k, (name, n) in enumerate(PER_CLASS.items())}
    return Source("quickstart", tuple(FLOWERS), splits, CREDITS, drawn=True)
