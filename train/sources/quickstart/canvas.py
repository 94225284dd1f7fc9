"""The canvas and what flowers are drawn from: petals, leaves, stems, florets."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

SIZE = 192  # pixels, both sides of a photo
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
        frames: tuple[np.ndarray, np.ndarray, np.ndarray],
        outline: Callable,
        paint: Callable,
        soft: float = 1.0,
        shade: float = 0.0,
        apart: bool = False,
    ) -> None:
        """Draws N stamps, one over the other.

        `frames` is (base, along, across), (N, 2) in pixels each: where u and v are 0, and the
        steps from there to u = 1 and to v = 1.
        `outline(u, v, each)` says how far inside a pixel is, positive inside and 0 on the edge,
        and how fast that changes with u and with v; `paint(u, v, each)` gives the colours (3, P).
        Both get the coordinates (P,) of the pixels that matter, and `each`, which spreads numbers
        (..., N) over the pixels of their stamps. `soft` is the width of the edge in pixels,
        `shade` (0..1) the depth of the shadow around it; stamps `apart` do not overlap each other.
        """
        base, along, across = (np.asarray(a, np.float32) for a in frames)
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

    def moved(self, x: float, y: float) -> Place:
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


class Look(NamedTuple):
    """What petals, leaves and stems look like.

    `outline` (a, b) is the profile u**a * (1 - u)**b: small exponents give blunt ends, large ones
    points; a third number lets the tip flare. The tip lies `bend`, one number or one a petal, of
    their half-widths aside; it is cut in the middle by `notch` and waved by `ruffle`, in lengths.
    `veins` and `cup` say how strong stripes and curvature show in the light; `shade` and `soft` are
    those of `Scene.stamp`.
    """

    outline: tuple[float, ...] = (0.5, 0.5)
    bend: float | np.ndarray | list[float] = 0.0
    notch: float = 0.0
    ruffle: float = 0.0
    veins: float = 0.06
    cup: float = 0.35
    shade: float = 0.35
    soft: float = 1.0


PETAL = Look()
STEM = Look((0.02, 0.02), veins=0, cup=0.5)
LEAF = Look((0.6, 0.9))


def petals(
    place: Place, angle, length, width, colours: tuple, look: Look = PETAL, at=(0.0, 0.0)
) -> None:
    """Petals, leaves, stems: whatever has a base and a tip. One a value of `angle`.

    Args:
        place: where; lengths and positions are in its coordinates.
        angle, length, width: one number, or one a petal (N,).
        colours: of base and tip, each (3,) or (N, 3).
        look: what they look like.
        at: where they begin, (2,) or (N, 2).
    """
    rng, light = place.rng, place.scene.light
    angle = np.atleast_1d(angle)
    length, width = (np.asarray(a)[..., None] for a in (length, width))
    ahead = direction(angle)
    base = place.centre + np.broadcast_to(at, ahead.shape) @ place.matrix.T
    along = length * ahead @ place.matrix.T
    across = width / 2 * ahead[:, ::-1] * (-1, 1) @ place.matrix.T
    lift, turn = (look.cup * (a @ light) / length_of(a) for a in (along, across))
    tone = rng.normal(0.72, 0.05, len(angle)) - 0.5 * lift
    phase = rng.uniform(0, CIRCLE, len(angle))
    half_width, taper = profile(*look.outline)
    bend = np.atleast_1d(look.bend)
    room = 1 + float(np.abs(bend).max())  # the stamp of a bent petal is wider than the petal
    first, last = (np.asarray(c).reshape(-1, 3).T for c in colours)

    def straight(u, v, each):
        return v * room - each(bend) * u * u if room > 1 else v

    def shape(u, v, each):
        v = straight(u, v, each)
        side = np.abs(v)
        tip = u
        if look.notch:
            tip = tip + look.notch * u * np.square((1 - 1.6 * side).clip(0))
        if look.ruffle:
            wave = np.cos(7 * v + each(phase))
            tip = tip + look.ruffle * u * wave * (4 * wave * wave - 2)  # cos x + cos 3x
        step = (tip * 512 + 256).astype(np.int32)
        by_u = taper.take(step, mode="clip")
        if room > 1:
            by_u += np.copysign(2, v) * each(bend) * u
        return half_width.take(step, mode="clip") - side, by_u, room

    def paint(u, v, each):
        v = straight(u, v, each)
        mix = smooth(u)
        light = each(tone) + each(turn) * v + each(lift) * u + 0.28 * mix
        if look.veins:
            wave = np.cos(18 * v + each(phase))  # below, cos x + 0.7 cos 2x
            light *= 1 - 0.7 * look.veins + look.veins * wave * (1 + 1.4 * wave)
        colour = each(last - first) * mix
        colour += each(first)
        colour *= light
        return colour

    place.scene.stamp((base, along, across * room), shape, paint, look.soft, look.shade)


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

    frames = (centre - along, 2 * along, across)
    place.scene.stamp(frames, ball, paint, soft, shade, apart=True)


def stem(
    place: Place, angle=DOWN, length=4.0, width=0.09, look: Look = STEM, at=(0.0, 0.0)
) -> None:
    colour = green(place.rng)
    petals(place, angle, length, width, (colour, colour * 0.9), look, at)


def leaf(place: Place, angle, length, width, look: Look = LEAF, at=(0.0, 0.0)) -> None:
    colour = green(place.rng)
    petals(place, angle, length, width, (colour * 0.7, colour * 1.1), look, at)


def florets(place: Place, at: np.ndarray, size, count: int, colours: tuple, look: Look) -> None:
    """Small flowers of `count` petals each at the points `at` (N, 2), drawn in that order."""
    angle = place.rng.uniform(0, CIRCLE, (len(at), 1)) + np.arange(count) * CIRCLE / count
    size = np.repeat(np.broadcast_to(size, len(at)), count)
    colours = [c if c.ndim == 1 else np.repeat(c, count, 0) for c in colours]
    at = np.repeat(at, count, 0)
    petals(place, angle.ravel(), size, size * 5 / count, colours, look, at)


def green(rng: np.random.Generator) -> np.ndarray:
    return np.array([0.25, 0.47, 0.2]) * rng.uniform(0.55, 1.25) + rng.uniform(-0.05, 0.08, 3)


def spiral(n: int) -> np.ndarray:
    """The n points (n, 2) of a sunflower's spiral in the unit disc (Vogel, 1979)."""
    i = np.arange(n)
    return direction(i * GOLDEN_ANGLE) * np.sqrt((i + 0.5) / n)[:, None]


def ring(n: int, rng: np.random.Generator, jitter: float = 0.05) -> np.ndarray:
    """n angles around the circle, a little uneven."""
    return np.arange(n) * CIRCLE / n + rng.normal(0, jitter, n)


def enlarge(scene: Scene, size: int) -> Scene:
    """The scene at another size, out of focus."""
    pixels = (scene.rgb.clip(0, 1) * 255).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(c) for c in pixels])
    image = image.filter(ImageFilter.GaussianBlur(scene.rng.uniform(0.5, 1.6)))
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    large = Scene(size, scene.rng, scene.light)
    large.rgb[:] = np.asarray(image).transpose(2, 0, 1) * np.float32(1 / 255)
    return large
