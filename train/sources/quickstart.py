"""The `quickstart` source: flower photos drawn by this code, so a first training run needs no data.

A photo is drawn the way a shader would. Everything, from a sunflower's seeds to a blade of grass,
is a batch of stamps with coordinates of their own: `u` from base (0) to tip (1), `v` across (-1 to
1). A small function says how far inside the outline a pixel lies; divided by how fast that changes
it is a distance in pixels, which gives smooth edges, edges out of focus, and soft shadows on what
lies beneath. Behind the flower stands a scene drawn at a third of the size, which blurs as it is
enlarged; in front come leaves and grass; then light, lens and sensor. Every class is drawn in every
colour: what tells flowers apart is how they are built.
"""

import functools
import io
import itertools
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from train.sources.base import Options, Source, SourceError, Split

SIZE = 192  # pixels, both sides of a photo
PER_CLASS = {"train": 120, "valid": 24, "test": 32}  # photos
# Drawing is many short array operations; threads that share them only wait for one another.
_DRAWING = threading.Lock()
CREDITS = "Drawn by this project's own code (Apache-2.0)."

SHADOW = 3  # pixels that a soft shadow reaches
CIRCLE = 2 * np.pi
GOLDEN_ANGLE = np.pi * (3 - 5**0.5)
UP, DOWN = -np.pi / 2, np.pi / 2  # angles run clockwise from the right, as y points down


class Scene:
    """A square canvas under one light: `rgb` is planar float32 (3, size, size), about 0..1."""

    def __init__(self, size: int, rng: np.random.Generator, light: np.ndarray):
        self.size, self.rng, self.light = size, rng, light
        self.rgb = np.zeros((3, size, size), np.float32)

    def stamp(
        self,
        base: np.ndarray,
        along: np.ndarray,
        across: np.ndarray,
        outline: Callable,
        paint: Callable,
        soft: float = 1.0,
        shade: float = 0.0,
        apart: bool = False,
    ) -> None:
        """Draws N stamps, one over the other; `base`, `along` and `across` are (N, 2) in pixels.

        `outline(u, v, each)` says how far inside a pixel is, positive inside and 0 on the edge,
        and how fast that changes with u and with v; `paint(u, v, each)` gives the colours (3, P).
        Both get the coordinates (P,) of the pixels that matter, and `each`, which spreads numbers
        (..., N) over the pixels of their stamps. `soft` is the width of the edge in pixels,
        `shade` (0..1) the depth of the shadow around it; stamps `apart` do not overlap each other.
        """
        base, along, across = (np.asarray(a, np.float32) for a in (base, along, across))
        size = self.size
        # u and v grow linearly with x and y: slopes (2, N), and the squares of their steepness.
        area = along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]
        slope_x = np.stack([across[:, 1], -along[:, 1]]) / area
        slope_y = np.stack([-across[:, 0], along[:, 0]]) / area
        steep = slope_x * slope_x + slope_y * slope_y

        # In each row (N, R) of each stamp, the pixels from `first` to `last` may be touched.
        margin = max(soft / 2 + 1, SHADOW if shade else 0)
        half = np.abs(across[:, 1]) + margin
        top = (base[:, 1] + np.minimum(along[:, 1], 0) - half).clip(0, size).astype(int)
        bottom = (base[:, 1] + np.maximum(along[:, 1], 0) + half + 1).clip(0, size).astype(int)
        rows = top[:, None] + np.arange(max((bottom - top).max(), 1))
        per_pixel = 1 / np.where(np.abs(slope_x) < 1e-6, np.float32(1e-6), slope_x)
        middle = base[:, :1] - (rows - base[:, 1:]) * (slope_y * per_pixel)[:, :, None]
        reach = margin * np.sqrt(steep)
        low = middle + ((np.array([[0], [-1]]) - reach) * per_pixel)[:, :, None]
        high = middle + ((1 + reach) * per_pixel)[:, :, None]
        first = np.ceil(np.minimum(low, high).max(0).clip(0, size)).astype(int)
        last = np.ceil(np.maximum(low, high).min(0).clip(0, size)).astype(int)
        length = np.maximum(last - first, 0) * (rows < size)
        count = length.sum(1)
        end = count.cumsum()
        if not end[-1]:
            return

        def each(values) -> np.ndarray:
            values = np.asarray(values, np.float32)
            return values if values.shape[-1] == 1 else np.repeat(values, count, -1)

        length = length.ravel()
        skip = (rows * size + first).ravel() - length.cumsum() + length
        pixel = np.arange(end[-1]) + np.repeat(skip, length)
        x, y = lens(size).take(pixel, 1)
        x -= each(base[:, 0])
        y -= each(base[:, 1])
        u = each(slope_x[0]) * x + each(slope_y[0]) * y
        v = each(slope_x[1]) * x + each(slope_y[1]) * y
        inside, by_u, by_v = outline(u, v, each)
        steepness = np.sqrt(by_u * by_u * each(steep[0]) + by_v * by_v * each(steep[1]))
        distance = inside / (steepness + np.float32(1e-6))  # to the edge, in pixels
        cover = (distance / soft + 0.5).clip(0, 1)
        colour = paint(u, v, each)
        colour *= cover
        keep = 1 - cover
        if shade:
            keep *= 1 - shade * np.square((1 + distance / SHADOW).clip(0, 1))
        flat = self.rgb.reshape(3, -1)
        for a, b in itertools.pairwise([0, end[-1]] if apart else [0, *end.tolist()]):
            here, still = pixel[a:b], keep[a:b]
            for canvas, added in zip(flat, colour, strict=True):
                canvas[here] = canvas.take(here) * still + added[a:b]


class Place(NamedTuple):
    """A spot in a scene with coordinates of its own.

    `centre` (2,) in pixels; `matrix` (2, 2) turns its coordinates, for a flower its radii, into
    pixels.
    """

    scene: Scene
    centre: np.ndarray
    matrix: np.ndarray

    @property
    def rng(self) -> np.random.Generator:
        return self.scene.rng

    def moved(self, x: float, y: float) -> "Place":
        return self._replace(centre=self.centre + self.matrix @ (x, y))


class Colours(NamedTuple):
    """What a flower is painted with, (3,) in 0..1: base and tip of its petals, and its centre."""

    inner: np.ndarray
    outer: np.ndarray
    centre: np.ndarray

    @property
    def petal(self) -> tuple[np.ndarray, np.ndarray]:
        return self.inner, self.outer


def direction(angle) -> np.ndarray:
    """Unit vectors (..., 2) for angles in radians."""
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def angle_of(vectors: np.ndarray) -> np.ndarray:
    """Angles (...) of vectors (..., 2)."""
    return np.arctan2(vectors[..., 1], vectors[..., 0])


def length_of(vectors: np.ndarray) -> np.ndarray:
    """Lengths (...) of vectors (..., 2)."""
    return np.sqrt(np.square(vectors).sum(-1))


def smooth(x):
    """0 below 0, 1 above 1, smooth in between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def clouds(rng: np.random.Generator, size: int, across: int, down: int) -> np.ndarray:
    """Smooth noise, float32 (size, size), mean 0, deviation about 1, of so many cells."""
    cells = rng.standard_normal((down + 1, across + 1), np.float32)
    cells = cells[1:] + cells[:-1]
    cells = (cells[:, 1:] + cells[:, :-1]) * 0.7
    return np.asarray(Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC))


@functools.cache
def lens(size: int) -> np.ndarray:
    """Where each pixel looks, x and y, float32 (2, size * size).

    Not quite where it is: an uneven lens, for no outline in nature is a perfect curve.
    """
    rng = np.random.default_rng(0)
    ramp = np.arange(size, dtype=np.float32)
    x, y = (0.6 * clouds(rng, size, 12, 12) + 0.3 * clouds(rng, size, 26, 26) for _ in "xy")
    return np.stack([x + ramp, y + ramp[:, None]]).reshape(2, -1)


@functools.cache
def grain() -> np.ndarray:
    """Sensor noise, float32 (3, 2 * SIZE, 2 * SIZE), deviation 1."""
    return np.random.default_rng(1).standard_normal((3, 2 * SIZE, 2 * SIZE), np.float32)


@functools.cache
def profile(a: float, b: float, flare: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Half the width of a petal from u = -0.5 to 1.5 in 1024 steps, and its slope in u."""
    u = (np.arange(1024) - 255.5) / 512
    t = u.clip(1e-4, 1 - 1e-4)
    width = t**a * (1 - t) ** b * ((a + b) / a) ** a * ((a + b) / b) ** b
    width = np.minimum(width + flare * smooth(2 * t - 1), 8 * np.minimum(u, 1 - u))
    return width.astype(np.float32), (np.gradient(width) * 512).astype(np.float32)


# What flowers are made of


def petals(
    place: Place,
    angle,
    length,
    width,
    colours: tuple,
    *,
    at=(0.0, 0.0),
    start=0.0,
    outline=(0.5, 0.5),
    bend=0.0,
    notch=0.0,
    ruffle=0.0,
    veins=0.06,
    cup=0.35,
    shade=0.35,
    soft=1.0,
) -> None:
    """Petals, leaves, stems: whatever has a base and a tip. One a value of `angle`.

    Args:
        place: where; lengths and positions are in its coordinates.
        angle, length, width, start, bend: one number, or one a petal (N,). A petal begins `start`
            away from `at`, (2,) or (N, 2), and ends `bend` of its half-widths aside.
        colours: of base and tip, each (3,) or (N, 3).
        outline: (a, b) is the profile u**a * (1 - u)**b: small exponents give blunt ends, large
            ones points; a third number lets the tip flare.
        notch, ruffle: how deep the tip is cut in the middle, and waved; in lengths.
        veins, cup: how strong stripes and curvature show in the light.
        shade, soft: as in `Scene.stamp`.
    """
    rng, light = place.rng, place.scene.light
    angle = np.atleast_1d(angle)
    length, width, start = (np.asarray(a)[..., None] for a in (length, width, start))
    ahead = direction(angle)
    base = place.centre + (at + start * ahead) @ place.matrix.T
    along = length * ahead @ place.matrix.T
    across = width / 2 * ahead[:, ::-1] * (-1, 1) @ place.matrix.T
    lift, turn = (cup * (a @ light) / length_of(a) for a in (along, across))
    tone = rng.normal(0.72, 0.05, len(angle)) - 0.5 * lift
    phase = rng.uniform(0, CIRCLE, len(angle))
    half_width, taper = profile(*outline)
    bend = np.atleast_1d(bend)
    room = 1 + float(np.abs(bend).max())  # the stamp of a bent petal is wider than the petal
    first, last = (np.asarray(c).reshape(-1, 3).T for c in colours)

    def straight(u, v, each):
        return v * room - each(bend) * u * u if room > 1 else v

    def shape(u, v, each):
        v = straight(u, v, each)
        side = np.abs(v)
        tip = u
        if notch:
            tip = tip + notch * u * np.square((1 - 1.6 * side).clip(0))
        if ruffle:
            wave = np.cos(7 * v + each(phase))
            tip = tip + ruffle * u * wave * (4 * wave * wave - 2)  # cos x + cos 3x
        step = (tip * 512 + 256).astype(np.int32)
        by_u = taper.take(step, mode="clip")
        if room > 1:
            by_u += np.copysign(2, v) * each(bend) * u
        return half_width.take(step, mode="clip") - side, by_u, room

    def paint(u, v, each):
        v = straight(u, v, each)
        mix = smooth(u)
        light = each(tone) + each(turn) * v + each(lift) * u + 0.28 * mix
        if veins:
            wave = np.cos(18 * v + each(phase))
            light *= 1 - 0.7 * veins + veins * wave * (1 + 1.4 * wave)  # cos x + 0.7 cos 2x
        colour = each(last - first) * mix
        colour += each(first)
        colour *= light
        return colour

    place.scene.stamp(base, along, across * room, shape, paint, soft, shade)


def dots(place: Place, at, radius, colour, shade: float = 0.0, soft: float = 1.0) -> None:
    """Little balls at the points `at` (N, 2); `radius` () or (N,), `colour` (3,) or (N, 3)."""
    centre = place.centre + np.asarray(at) @ place.matrix.T
    along, across = (np.atleast_1d(radius)[:, None] * axis for axis in place.matrix.T)
    along, across = (np.broadcast_to(a, centre.shape) for a in (along, across))
    light_u, light_v = (0.4 * a @ place.scene.light / length_of(a) for a in place.matrix.T)
    colour = np.asarray(colour).reshape(-1, 3).T

    def ball(u, v, each):
        u = 2 * u - 1
        return 1 - u * u - v * v, 4 * u, 2 * v

    def paint(u, v, each):
        light = light_u.astype("f") * (2 * u - 1) + light_v.astype("f") * v
        return each(colour) * (0.95 + light)

    place.scene.stamp(centre - along, 2 * along, across, ball, paint, soft, shade, apart=True)


def stem(place: Place, angle=DOWN, length=4.0, width=0.09, **look) -> None:
    colour = green(place.rng)
    look = {"outline": (0.02, 0.02), "veins": 0, "cup": 0.5, **look}
    petals(place, angle, length, width, (colour, colour * 0.9), **look)


def leaf(place: Place, angle, length, width, **look) -> None:
    colour = green(place.rng)
    petals(place, angle, length, width, (colour * 0.7, colour * 1.1), outline=(0.6, 0.9), **look)


def florets(place: Place, at: np.ndarray, size, count: int, colours: tuple, **look) -> None:
    """Small flowers of `count` petals each at the points `at` (N, 2), drawn in that order."""
    angle = place.rng.uniform(0, CIRCLE, (len(at), 1)) + np.arange(count) * CIRCLE / count
    size = np.repeat(np.broadcast_to(size, len(at)), count)
    colours = [c if c.ndim == 1 else np.repeat(c, count, 0) for c in colours]
    at = np.repeat(at, count, 0)
    petals(place, angle.ravel(), size, size * 5 / count, colours, at=at, **look)


def green(rng: np.random.Generator) -> np.ndarray:
    return np.array([0.25, 0.47, 0.2]) * rng.uniform(0.55, 1.25) + rng.uniform(-0.05, 0.08, 3)


def spiral(n: int) -> np.ndarray:
    """The n points (n, 2) of a sunflower's spiral in the unit disc (Vogel, 1979)."""
    i = np.arange(n)
    return direction(i * GOLDEN_ANGLE) * np.sqrt((i + 0.5) / n)[:, None]


def ring(n: int, rng: np.random.Generator, jitter: float = 0.05) -> np.ndarray:
    """n angles around the circle, a little uneven."""
    return np.arange(n) * CIRCLE / n + rng.normal(0, jitter, n)


# The flowers, one function each: around (0, 0), with a radius of about 1

CENTRE = [(0, 0)]


def bluebell(place: Place, c: Colours) -> None:
    """Bells that hang from an arching stem."""
    rng = place.rng
    n = rng.integers(5, 8)
    t = np.linspace(0, 1, n)
    lean = rng.choice([-1, 1])
    arch = np.stack([lean * (1.5 * t**1.5 - 0.75), 0.5 - 2.1 * t + 0.9 * t**3], -1)
    step = np.diff(arch, axis=0)
    stem(place.moved(*arch[0]), length=3, width=0.08)
    stem(place, angle_of(step), length_of(step) * 1.15, 0.075, at=arch[:-1], shade=0)
    side = np.where(rng.random(n) < 0.7, lean, -lean)
    angle = DOWN - side * rng.uniform(0.1, 0.6, n)
    stem(place, angle, 0.2, 0.06, at=arch, shade=0)
    hang = arch + np.stack([side * 0.1, np.full(n, 0.08)], -1)
    size = np.linspace(0.72, 0.42, n) * rng.uniform(0.9, 1.1, n)
    look = {"outline": (0.35, 0.05, 0.6), "ruffle": 0.04, "cup": 0.6, "shade": 0.45}
    petals(place, angle, size, size / 2, c.petal, at=hang, **look)


def daisy(place: Place, c: Colours) -> None:
    """Narrow straps around a small dome."""
    rng = place.rng
    n = rng.integers(15, 24)
    for shift in (0, 0.5):
        angle = ring(n, rng, 0.07) + shift * CIRCLE / n
        length = rng.uniform(0.86, 1.0, n)
        petals(place, angle, length, 4.4 / n, c.petal, outline=(0.5, 0.22), shade=0.25)
    dots(place, CENTRE, 0.27, c.centre * 0.7, shade=0.5)
    dots(place, spiral(50) * 0.26, 0.038, c.centre)


def dandelion(place: Place, c: Colours) -> None:
    """The clock: a ball of seeds, each with a parachute of fine hairs."""
    rng = place.rng
    n = rng.integers(44, 56)
    at = spiral(n)[::-1] * 0.86
    at = at * (1.2 - 0.2 * length_of(at)[:, None]) + rng.normal(0, 0.02, (n, 2))
    reach = length_of(at)
    pale = c.outer * 0.4 + 0.6
    look = {"outline": (0.05, 0.05), "veins": 0, "shade": 0}
    petals(place, angle_of(at), reach, 0.018, (c.inner * 0.5, pale * 0.8), **look)
    dots(place, CENTRE, 0.14, c.centre * 0.45, shade=0.4)
    bright = (pale * (1.1 - 0.25 * reach[:, None])).T

    def parachute(u, v, each):  # ten hairs of one width
        u = 2 * u - 1
        radius = np.sqrt(u * u + v * v)
        aside = np.abs(np.sin(5 * np.arctan2(v, u))) * radius / 5
        return np.minimum(0.03 - aside, 1 - radius), 1, 1

    def paint(u, v, each):
        return each(bright) * (0.75 + 0.25 * np.abs(2 * u - 1))

    base = place.centre + at @ place.matrix.T
    along, across = (axis * rng.uniform(0.22, 0.29, (n, 1)) for axis in place.matrix.T)
    place.scene.stamp(base - along, 2 * along, across, parachute, paint)
    dots(place, at, 0.025, c.inner * 0.6)


def forget_me_not(place: Place, c: Colours) -> None:
    """A loose handful of flowers with five round petals and a bright eye."""
    rng = place.rng
    n = rng.integers(4, 8)
    at = spiral(n) * 0.72 + rng.normal(0, 0.08, (n, 2))
    stem(place, angle_of((0, 1.2) - at), 1.4, 0.05, at=at)
    size = rng.uniform(0.3, 0.4, n)
    florets(place, at, size, 5, c.petal, outline=(0.55, 0.3), notch=0.06)
    dots(place, at, size * 0.27, c.centre * 1.1, shade=0.3)
    dots(place, at, size * 0.1, c.centre * 0.4)


def hydrangea(place: Place, c: Colours) -> None:
    """A dome of many florets with four petals each."""
    rng = place.rng
    leaf(place, ring(4, rng, 0.3), 1.5, 0.8, veins=0.1)
    n = rng.integers(30, 42)
    at = spiral(n)[::-1] * 0.85 + rng.normal(0, 0.03, (n, 2))
    towards_light = at @ place.matrix.T @ place.scene.light / length_of(place.matrix[:, 0])
    dome = (1.08 - 0.45 * length_of(at) ** 2 + 0.2 * towards_light)[:, None]
    tint = rng.uniform(0, 0.4, (n, 1))
    outer = (c.outer * (1 - tint) + c.inner * tint) * dome
    look = {"outline": (0.75, 0.4), "veins": 0}
    florets(place, at, 1.35 / n**0.5, 4, (outer * 0.75, outer), **look)
    dots(place, at, 0.03, c.centre * 0.9)


def iris(place: Place, c: Colours) -> None:
    """Three petals stand, three fall; seen from the side."""
    rng = place.rng
    stem(place, width=0.12)
    leaf(place.moved(rng.choice([-0.4, 0.4]), 2.8), UP + rng.normal(0, 0.15), 2.6, 0.35)
    stand = UP + np.array([-0.5, 0.5, 0.0]) + rng.normal(0, 0.06, 3)
    look = {"outline": (0.6, 0.35), "ruffle": 0.014, "bend": [0.3, -0.3, 0]}
    petals(place, stand, [0.95, 0.95, 1.05], 0.72, (c.inner * 0.8, c.outer), at=(0, 0.08), **look)
    fall = DOWN + np.array([1.1, -1.1, 0.0]) + rng.normal(0, 0.08, 3)
    bend = np.array([-0.5, 0.5, 0.0])
    look = {"outline": (0.8, 0.32), "ruffle": 0.016, "shade": 0.5}
    petals(place, fall, 1.0, 0.62, (c.inner, c.outer * 0.9), bend=bend, **look)
    petals(place, fall, 0.5, 0.12, (c.centre, c.centre), bend=bend, shade=0, soft=2)


def lavender(place: Place, c: Colours) -> None:
    """Upright spikes, each of many whorls of tiny florets."""
    rng = place.rng
    n, rows = rng.integers(3, 6), rng.integers(8, 11)
    foot = np.stack([np.linspace(-0.8, 0.8, n), np.full(n, 0.6)], -1)
    foot = rng.permutation(foot) + rng.normal(0, 0.1, (n, 2))
    lean = UP + foot[:, 0] * rng.uniform(0.1, 0.3) + rng.normal(0, 0.06, n)
    stem(place, lean + np.pi, 3, 0.05, at=foot)
    stem(place, lean, 1.3, 0.05, at=foot)
    # (spike, whorl, floret): each whorl is drawn over the one below it
    height = np.linspace(0, 1.35, rows)[:, None, None]
    spread = np.array([-0.75, 0.75, -0.25, 0.25]) * np.linspace(1.25, 0.7, rows)[:, None]
    angle = lean[:, None, None] + spread + rng.normal(0, 0.1, (n, rows, 4))
    size = np.linspace(0.27, 0.14, rows)[:, None] * rng.uniform(0.85, 1.1, angle.shape)
    at = foot[:, None, None] + height * direction(lean)[:, None, None]
    at = (at + rng.normal(0, 0.02, (*angle.shape, 2))).reshape(-1, 2)
    angle, size = angle.ravel(), size.ravel()
    look = {"outline": (0.6, 0.5), "veins": 0}
    petals(place, angle, size, size * 0.62, (c.inner * 0.8, c.outer), at=at, **look)


def lily(place: Place, c: Colours) -> None:
    """Six pointed petals in two whorls, freckles, six long stamens."""
    rng = place.rng
    for shift, width in ((0, 0.42), (0.5, 0.56)):
        angle = ring(3, rng) + shift * CIRCLE / 3
        bend = rng.normal(0, 0.35, 3)
        look = {"outline": (0.5, 0.85), "ruffle": 0.012}
        petals(place, angle, rng.uniform(0.93, 1.05, 3), width, c.petal, bend=bend, **look)
        look = {"outline": (0.3, 1.0), "veins": 0, "shade": 0, "soft": 2}
        bend = bend * width / 0.05 * 0.8**2  # the crease follows the petal
        petals(place, angle, 0.8, 0.05, (c.inner * 0.8, c.outer), bend=bend, **look)
    freckles = direction(rng.uniform(0, CIRCLE, 40)) * rng.uniform(0.15, 0.45, (40, 1))
    dots(place, freckles, 0.013, c.inner * 0.45)
    thread = np.array([0.8, 0.85, 0.6])
    angle = ring(6, rng, 0.15)
    reach = rng.uniform(0.45, 0.6, 6)
    petals(place, angle, reach, 0.035, (thread, thread), outline=(0.05, 0.05), veins=0)
    anther = angle + np.pi / 2
    at = direction(angle) * reach[:, None] - 0.085 * direction(anther)
    petals(place, anther, 0.17, 0.07, (c.centre * 0.8, c.centre), at=at, veins=0)
    dots(place, CENTRE, 0.06, thread * 0.8)


def orchid(place: Place, c: Colours) -> None:
    """The same left and right: three narrow sepals, two wide wings, a lip."""
    rng = place.rng
    stem(place, DOWN + rng.normal(0, 0.3), width=0.07)
    sepals = np.array([UP, UP + 2.2, UP - 2.2]) + rng.normal(0, 0.05, 3)
    petals(place, sepals, 0.93, 0.5, (c.inner, c.outer * 0.92))
    tilt = rng.uniform(-0.1, 0.3)
    look = {"outline": (0.6, 0.35), "veins": 0.1, "ruffle": 0.012, "shade": 0.45}
    petals(place, [-tilt, np.pi + tilt], 1.0, 0.98, c.petal, **look)
    lip = DOWN + np.array([-0.75, 0.75, 0.0])
    look = {"outline": (0.4, 0.5), "shade": 0.5}
    petals(place, lip, [0.34, 0.34, 0.52], 0.27, (c.centre, c.inner * 0.6), **look)
    dots(place, CENTRE, 0.1, c.outer, shade=0.5)
    dots(place, [(0, 0.1)], 0.05, c.centre * 0.9)


def poppy(place: Place, c: Colours) -> None:
    """Four broad crumpled petals around a capsule and a ring of stamens."""
    rng = place.rng
    spin = rng.uniform(0, CIRCLE)
    dark, thread = c.inner * 0.25, c.centre * 0.35
    for quarter in (0, 0.25):
        angle = spin + (quarter + np.array([0, 0.5])) * CIRCLE + rng.normal(0, 0.1, 2)
        look = {"outline": (0.55, 0.3), "ruffle": 0.03, "shade": 0.5}
        petals(place, angle, rng.uniform(0.9, 1.05, 2), 1.55 - 0.6 * quarter, c.petal, **look)
        petals(place, angle, 0.42, 0.4, (dark, dark), soft=5, shade=0, veins=0)
    at = direction(rng.uniform(0, CIRCLE, 46)) * rng.uniform(0.18, 0.34, (46, 1))
    petals(place, angle_of(at), length_of(at), 0.02, (thread, thread), veins=0, shade=0)
    dots(place, at, 0.035, c.centre * 0.55)
    dots(place, CENTRE, 0.15, [0.45, 0.55, 0.3], shade=0.5)
    petals(place, ring(8, rng), 0.13, 0.035, (thread, thread), veins=0, shade=0)


def rose(place: Place, c: Colours) -> None:
    """Round petals that wind inwards."""
    rng = place.rng
    n = rng.integers(20, 27)
    angle = np.arange(n) * GOLDEN_ANGLE * rng.choice([-1, 1]) + rng.normal(0, 0.15, n)
    reach = 1 - 0.84 * np.linspace(0, 1, n) ** 0.85
    deep = (0.6 + 0.4 * reach)[:, None]  # less light falls into the heart
    look = {"outline": (0.55, 0.28), "ruffle": 0.02, "veins": 0.015, "shade": 0.55, "cup": 0.4}
    colours = (c.inner * deep * 0.75, c.outer * deep)
    petals(place, angle, reach, reach * 1.25 + 0.08, colours, **look)


def sunflower(place: Place, c: Colours) -> None:
    """A wide disc of seeds in spirals, with a fringe of pointed petals."""
    rng = place.rng
    n = rng.integers(17, 24)
    for shift in (0, 0.5):
        angle = ring(n, rng, 0.06) + shift * CIRCLE / n
        length = rng.uniform(0.44, 0.56, n)
        petals(place, angle, length, 4.2 / n, c.petal, start=0.48, outline=(0.5, 0.8))
    dots(place, CENTRE, 0.58, c.centre * 0.35, shade=0.5)
    seeds = spiral(150)
    ripe = smooth(length_of(seeds) * 1.6 - 0.5)[:, None]
    dots(place, seeds * 0.56, 0.042, c.centre * (0.45 + 0.55 * ripe))


def tulip(place: Place, c: Colours) -> None:
    """A cup of broad petals on a straight stem, seen from the side."""
    rng = place.rng
    both = np.array([-1, 1])
    stem(place.moved(0, 0.8), bend=rng.normal(0, 0.8), width=0.13)
    sides = both * rng.uniform(0.5, 1, 2)
    leaf(place.moved(0, 2.6), UP + 0.6 * sides, 2.4, 0.5, bend=0.8 * sides)
    openness = rng.uniform(0.08, 0.3)
    look = {"outline": (0.45, 0.55), "veins": 0.05}
    back = (c.inner * 0.75, c.outer * 0.75)
    petals(place, UP + 0.7 * both * openness, 1.75, 0.95, back, at=(0, 0.85), **look)
    angle = UP + both * openness * rng.uniform(1, 1.4, 2)
    at = np.array([(-0.17, 0.85), (0.17, 0.85)])
    petals(place, angle, 1.8, 1.0, (c.inner, c.outer * 0.95), at=at, bend=-0.2 * both, **look)
    petals(place, UP + rng.normal(0, 0.08), 1.6, 1.05, c.petal, at=(0, 0.9), **look)


def front(rng: np.random.Generator) -> np.ndarray:
    """A view from the front or above: turned by any angle, tilted by up to 55 degrees."""
    turn, axis = (np.stack([d, d[::-1] * (-1, 1)]) for d in direction(rng.uniform(0, CIRCLE, 2)))
    return axis.T @ np.diag([1, np.cos(rng.uniform(0, 0.95))]) @ axis @ turn


def side(rng: np.random.Generator) -> np.ndarray:
    """A view from the side: leaning by up to 30 degrees."""
    lean = direction(rng.uniform(-0.5, 0.5))
    return np.stack([lean, lean[::-1] * (-1, 1)], -1)


FLOWERS = {
    "bluebell": (bluebell, side),
    "daisy": (daisy, front),
    "dandelion": (dandelion, front),
    "forget-me-not": (forget_me_not, side),
    "hydrangea": (hydrangea, front),
    "iris": (iris, side),
    "lavender": (lavender, side),
    "lily": (lily, front),
    "orchid": (orchid, side),
    "poppy": (poppy, front),
    "rose": (rose, front),
    "sunflower": (sunflower, front),
    "tulip": (tulip, side),
}

# Every class draws from the same colours. Petals: base and tip.
PETALS = (
    ((0.93, 0.90, 0.80), (0.98, 0.97, 0.95)),  # white
    ((0.95, 0.75, 0.45), (1.00, 0.93, 0.72)),  # cream
    ((0.95, 0.62, 0.08), (1.00, 0.85, 0.18)),  # yellow
    ((0.80, 0.25, 0.08), (0.99, 0.58, 0.15)),  # orange
    ((0.55, 0.03, 0.08), (0.88, 0.12, 0.13)),  # red
    ((0.80, 0.22, 0.42), (0.98, 0.68, 0.76)),  # pink
    ((0.50, 0.05, 0.38), (0.86, 0.28, 0.62)),  # magenta
    ((0.30, 0.12, 0.50), (0.62, 0.40, 0.82)),  # violet
    ((0.15, 0.20, 0.60), (0.45, 0.58, 0.95)),  # blue
    ((0.95, 0.93, 0.88), (0.80, 0.45, 0.75)),  # white with lilac tips
    ((0.99, 0.85, 0.35), (0.93, 0.35, 0.35)),  # yellow with coral tips
)
CENTRES = ((0.98, 0.78, 0.12), (0.90, 0.55, 0.10), (0.55, 0.33, 0.14), (0.72, 0.78, 0.30))

# Colours from shadow to light, cells of the noise across and down, lights out of focus.
BACKGROUNDS = (
    (((0.03, 0.08, 0.03), (0.14, 0.30, 0.10), (0.50, 0.66, 0.28)), (8, 8), 14),  # foliage
    (((0.14, 0.24, 0.07), (0.38, 0.50, 0.16), (0.80, 0.80, 0.42)), (11, 5), 8),  # meadow
    (((0.30, 0.52, 0.82), (0.56, 0.74, 0.93), (0.96, 0.97, 0.98)), (5, 4), 0),  # sky
    (((0.12, 0.07, 0.05), (0.32, 0.22, 0.15), (0.52, 0.40, 0.29)), (15, 10), 0),  # soil
    (((0.42, 0.30, 0.25), (0.66, 0.52, 0.44), (0.86, 0.77, 0.68)), (3, 15), 0),  # wall
    (((0.03, 0.12, 0.18), (0.14, 0.34, 0.42), (0.62, 0.80, 0.84)), (4, 19), 5),  # water
    (((0.01, 0.01, 0.04), (0.05, 0.06, 0.13), (0.16, 0.14, 0.26)), (5, 5), 10),  # night
    (((0.20, 0.12, 0.26), (0.66, 0.34, 0.36), (0.99, 0.76, 0.50)), (5, 4), 5),  # dusk
    (((0.02, 0.03, 0.03), (0.07, 0.10, 0.09), (0.20, 0.24, 0.22)), (7, 7), 3),  # deep shade
)


def pick_colours(rng: np.random.Generator) -> Colours:
    inner, outer = np.array(PETALS[rng.integers(len(PETALS))]) * rng.uniform(0.85, 1.05)
    centre = np.array(CENTRES[rng.integers(len(CENTRES))])
    return Colours(*(c + rng.uniform(-0.05, 0.05, 3) for c in (inner, outer, centre)))


def background(scene: Scene, plant: Callable, view: Callable, colours: Colours) -> None:
    """What lies behind: a surface, its lights, leaves, and sometimes another flower."""
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
    leaf(frame, rng.uniform(0, CIRCLE, n), 0.7, rng.uniform(0.1, 0.25, n), at=rng.random((n, 2)))
    if rng.random() < 0.35:
        matrix = view(rng) * size * rng.uniform(0.12, 0.25)
        plant(Place(scene, rng.uniform(0.1, 0.9, 2) * size, matrix), colours)


def enlarge(scene: Scene, size: int) -> Scene:
    """The scene at another size, out of focus."""
    pixels = (scene.rgb.clip(0, 1) * 255).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(c) for c in pixels])
    image = image.filter(ImageFilter.GaussianBlur(scene.rng.uniform(0.5, 1.6)))
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    large = Scene(size, scene.rng, scene.light)
    large.rgb[:] = np.asarray(image).transpose(2, 0, 1) * np.float32(1 / 255)
    return large


def foreground(scene: Scene) -> None:
    """Leaves and blades of grass that cross in front, mostly out of focus."""
    rng = scene.rng
    frame = Place(scene, np.zeros(2), np.eye(2) * scene.size)
    for _ in range(rng.choice(4, p=[0.25, 0.35, 0.25, 0.15])):
        soft = rng.uniform(1, 9)
        if rng.random() < 0.6:  # a blade of grass, from below
            angle, length = UP + rng.normal(0, 0.35), rng.uniform(0.6, 1.4)
            bend = rng.normal(0, 1.5)
            leaf(frame.moved(rng.random(), 1.1), angle, length, 0.06, bend=bend, soft=soft)
        else:  # a leaf, from anywhere around
            angle = rng.uniform(0, CIRCLE)
            corner = frame.moved(*(0.5 - 0.75 * direction(angle)))
            length, width = rng.uniform(0.35, 0.7), rng.uniform(0.12, 0.3)
            leaf(corner, angle + rng.normal(0, 0.4), length, width, soft=soft)


def photograph(scene: Scene) -> bytes:
    """Light, lens, sensor, JPEG."""
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
        stem(upright, DOWN + rng.normal(0, 0.3), bend=rng.normal(0, 1.5))
        n = rng.integers(1, 4)
        leaf(upright, rng.uniform(0.2, 2.9, n), 1.5, rng.uniform(0.3, 0.6, n))
    plant(Place(scene, centre, view(rng) * radius), colours)
    foreground(scene)
    return photograph(scene)


def open_source(path: str, options: Options) -> Source:
    """See `quickstart`; it takes no path."""
    return quickstart(options.seed)


def quickstart(seed: int) -> Source:
    """Flowers drawn on demand: 192 x 192 JPEGs, as many a class in each split as PER_CLASS says.

    The same seed gives the same bytes, photo by photo, in whatever order they are read.

    Raises:
        SourceError: a negative seed.
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
