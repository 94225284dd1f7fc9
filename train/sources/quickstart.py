"""The `quickstart` source: flower photos drawn by this code, so a first training run needs no data.

A photo is drawn the way a shader would: everything, from a sunflower's seeds to a blade of grass,
is a batch of `stamps` that a small function describes in its own coordinates, `u` along it (0 base,
1 tip) and `v` across it (-1 and 1 at its widest). The function says how far inside the outline a
pixel lies and what colour it has there; dividing by the slope of the outline gives the distance in
pixels, and with it smooth edges, out-of-focus edges and the soft shadow on what lies beneath.
Behind the flower stands a quarter-size scene, enlarged until it blurs as a wide aperture would; in
front come leaves and grass, then light, lens and sensor. Every class is drawn in every colour:
what tells flowers apart is how they are built.
"""

import functools
import io
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from train.sources.base import Source, SourceError, Split

SIZE = 192  # pixels, both sides of a photo
PER_CLASS = {"train": 120, "valid": 24, "test": 32}
CREDITS = "Drawn by this project's own code (Apache-2.0)."
GOLDEN_ANGLE = np.pi * (3 - 5**0.5)
SHADOW = 3  # pixels that a soft shadow reaches
UP, DOWN = -np.pi / 2, np.pi / 2


class Colours(NamedTuple):
    """What a flower is painted with; each (3,) in 0..1."""

    inner: np.ndarray
    outer: np.ndarray
    centre: np.ndarray


class Head(NamedTuple):
    """Where a flower is: `centre` (2,) in pixels, `matrix` (2, 2) from flower radii to pixels."""

    centre: np.ndarray
    matrix: np.ndarray

    def moved(self, x: float, y: float, scale: float = 1.0) -> "Head":
        return Head(self.centre + self.matrix @ np.array([x, y]), self.matrix * scale)


class Scene:
    """A square canvas under one light: `rgb` is planar float32 (3, size, size), about 0..1."""

    def __init__(self, size: int, rng: np.random.Generator):
        self.size, self.rng = size, rng
        self.rgb = np.zeros((3, size, size), np.float32)
        self.light = direction(rng.uniform(-0.9 * np.pi, -0.1 * np.pi))  # from above

    def stamp(
        self, base, along, across, outline: Callable, paint: Callable, *, soft=1.0, shade=0.0,
        apart=False,
    ) -> None:  # fmt: skip
        """Draws N stamps, one over the other: `base`, `along`, `across` are (N, 2) in pixels.

        `outline(u, v, each)` says how far inside a pixel is, positive inside and 0 on the edge,
        and how fast that changes with u and with v; `paint(u, v, each)` gives the colours (3, P).
        Both get the coordinates (P,) of the pixels that matter, and `each`, which spreads numbers
        (..., N) over the pixels of their stamps. `soft` is the width of the edge in pixels,
        `shade` the depth of the shadow around it; stamps `apart` do not overlap each other.
        """
        base, along, across = (np.asarray(a, np.float32) for a in (base, along, across))
        size = self.size
        margin = soft / 2 + (SHADOW if shade else 0) + 1  # the last pixel is for the uneven lens
        # u and v grow linearly with x and y: slopes (2, N).
        area = along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]
        slope_x = np.stack([across[:, 1], -along[:, 1]]) / area
        slope_y = np.stack([-across[:, 0], along[:, 0]]) / area
        steep = slope_x * slope_x + slope_y * slope_y

        # In each row (N, R) of each stamp, the pixels from `first` to `last` may be touched.
        half = np.abs(across[:, 1]) + margin
        top = (base[:, 1] + np.minimum(along[:, 1], 0) - half).clip(0, size).astype(int)
        bottom = (base[:, 1] + np.maximum(along[:, 1], 0) + half + 1).clip(0, size).astype(int)
        rows = top[:, None] + np.arange(max((bottom - top).max(), 1))
        per_pixel = 1 / np.where(np.abs(slope_x) < 1e-6, np.float32(1e-6), slope_x)
        middle = base[:, :1] - (rows - base[:, 1:]) * (slope_y * per_pixel)[:, :, None]
        reach = margin * np.sqrt(steep)
        left = middle + ((np.array([[0], [-1]]) - reach) * per_pixel)[:, :, None]
        right = middle + ((1 + reach) * per_pixel)[:, :, None]
        first = np.ceil(np.minimum(left, right).max(0).clip(0, size)).astype(int)
        last = np.ceil(np.maximum(left, right).min(0).clip(0, size)).astype(int)
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
        steep = np.sqrt(by_u * by_u * each(steep[0]) + by_v * by_v * each(steep[1]))
        distance = inside / (steep + np.float32(1e-6))  # to the edge, in pixels
        cover = (distance / soft + 0.5).clip(0, 1)
        colour = paint(u, v, each)
        colour *= cover
        keep = 1 - cover
        if shade:
            keep *= 1 - shade * np.square((1 + distance / SHADOW).clip(0, 1))
        flat = self.rgb.reshape(3, -1)
        cuts = (0, end[-1]) if apart else (0, *end.tolist())
        for a, b in itertools.pairwise(cuts):
            here = pixel[a:b]
            flat[:, here] = flat.take(here, 1) * keep[a:b] + colour[:, a:b]


def direction(angle) -> np.ndarray:
    """Unit vectors (..., 2) for angles in radians, clockwise from the right: y points down."""
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def smooth(x):
    """0 below 0, 1 above 1, smooth in between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def clouds(rng: np.random.Generator, size: int, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise, float32 (size, size), mean 0, standard deviation about 1; cells (across, down)."""
    coarse = rng.standard_normal((cells[1], cells[0]), np.float32) * 1.4
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


@functools.cache
def lens(size: int) -> np.ndarray:
    """Where each pixel looks, x and y, float32 (2, size * size).

    Not quite where it is: an uneven lens, for no outline in nature is a perfect curve.
    """
    rng = np.random.default_rng(0)
    x, y = (clouds(rng, size, (10, 10)) * 0.6 + clouds(rng, size, (24, 24)) * 0.3 for _ in "xy")
    ramp = np.arange(size, dtype=np.float32)
    return np.stack([x + ramp, y + ramp[:, None]]).reshape(2, -1)


@functools.cache
def profile(a: float, b: float, flare: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Half the width of a petal from u = -0.5 to 1.5 in 1024 steps, and its slope in u."""
    u = (np.arange(1024) - 255.5) / 512
    t = u.clip(1e-4, 1 - 1e-4)
    width = t**a * (1 - t) ** b * ((a + b) / a) ** a * ((a + b) / b) ** b
    width = np.minimum(width + flare * smooth(2 * t - 1), 8 * np.minimum(u, 1 - u))
    return width.astype(np.float32), (np.gradient(width) * 512).astype(np.float32)


@functools.cache
def grain() -> np.ndarray:
    """Sensor noise, float32 (3, 2 * SIZE, 2 * SIZE), standard deviation 1."""
    return np.random.default_rng(1).standard_normal((3, 2 * SIZE, 2 * SIZE), np.float32)


# What flowers are made of


def petals(
    scene: Scene,
    head: Head,
    angle,
    length,
    width,
    inner,
    outer,
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
    """Petals, leaves, stems: whatever has a base and a tip. Lengths are in flower radii.

    Every measure is one number or one a petal. `outline` (a, b) is the profile u**a * (1 - u)**b:
    a small exponent gives a blunt end, a large one a point. `inner` and `outer` are the colours of
    base and tip, (3,) or (N, 3).
    """
    angle = np.atleast_1d(angle)
    n = len(angle)

    def column(value) -> np.ndarray:
        return np.asarray(value)[..., None] if np.ndim(value) else value

    ahead = direction(angle)
    base = head.centre + (np.asarray(at) + column(start) * ahead) @ head.matrix.T
    along = column(length) * ahead @ head.matrix.T
    across = column(width) / 2 * (ahead[:, ::-1] * (-1, 1)) @ head.matrix.T
    lift, turn = (cup * (a @ scene.light) / np.sqrt((a * a).sum(1)) for a in (along, across))
    half_width, taper = profile(*outline)
    bend = np.atleast_1d(bend)
    room = 1 + float(np.abs(bend).max())  # a bent petal needs a wider stamp
    tone = scene.rng.normal(1, 0.05, n) - 0.5 * lift - 0.28
    phase = scene.rng.uniform(0, 6.28, n)
    inner, outer = (np.asarray(c).reshape(-1, 3).T for c in (inner, outer))

    def straight(u, v, each):
        return v * room - each(bend) * u * u if room > 1 else v

    def shape(u, v, each):
        v = straight(u, v, each)
        side = np.abs(v)
        tip = u
        if notch:
            tip = tip + notch * u * np.square((1 - 1.6 * side).clip(0))
        if ruffle:
            tip = tip + ruffle * u * (np.cos(7 * v + each(phase)) + np.cos(17 * v))
        step = (tip * 512 + 256).astype(int)
        by_u = taper.take(step, mode="clip")
        if room > 1:
            by_u += np.copysign(2, v) * each(bend) * u
        return half_width.take(step, mode="clip") - side, by_u, room

    def paint(u, v, each):
        v = straight(u, v, each)
        mix = smooth(u)
        light = each(tone) + each(turn) * v + each(lift) * u + 0.28 * mix
        if veins:
            light *= 1 + veins * (np.cos(16 * v + each(phase)) + 0.7 * np.cos(37 * v))
        colour = each(outer - inner) * mix
        colour += each(inner)
        colour *= light
        return colour

    scene.stamp(base, along, across * room, shape, paint, soft=soft, shade=shade)


def dots(scene: Scene, head: Head, at, radius, colour, shade=0.0, soft=1.0) -> None:
    """Little balls: `at` (N, 2) and `radius` in flower radii, `colour` (3,) or (N, 3)."""
    base = head.centre + np.asarray(at) @ head.matrix.T
    size = np.broadcast_to(radius, len(base))[:, None, None] * head.matrix.T
    colour = np.asarray(colour).reshape(-1, 3).T
    light_u, light_v = (0.4 * (a / np.sqrt(a @ a)) @ scene.light for a in head.matrix.T)

    def ball(u, v, each):
        u = 2 * u - 1
        return 1 - u * u - v * v, 4 * u, 2 * v

    def paint(u, v, each):
        return each(colour) * (0.95 - light_u + 2 * light_u * u + light_v * v)

    u, v = size[:, 0], size[:, 1]
    scene.stamp(base - u, 2 * u, v, ball, paint, soft=soft, shade=shade, apart=True)


def spiral(n: int) -> np.ndarray:
    """The n points (n, 2) of Vogel's sunflower spiral in the unit disc (Vogel, 1979)."""
    i = np.arange(n)
    return direction(i * GOLDEN_ANGLE) * np.sqrt((i + 0.5) / n)[:, None]


def ring(n: int, rng: np.random.Generator, jitter: float = 0.05) -> np.ndarray:
    """n angles around a circle, a little uneven."""
    return np.arange(n) * 2 * np.pi / n + rng.normal(0, jitter, n)


def green(rng: np.random.Generator) -> np.ndarray:
    return np.array([0.25, 0.47, 0.2]) * rng.uniform(0.55, 1.25) + rng.uniform(-0.05, 0.08, 3)


def stem(scene: Scene, head: Head, angle=DOWN, length=4.0, width=0.09, bend=0.0, **options) -> None:
    colour = green(scene.rng)
    petals(
        scene,
        head,
        angle,
        length,
        width,
        colour,
        colour * 0.9,
        outline=(0.02, 0.02),
        bend=bend,
        veins=0,
        cup=0.5,
        **options,
    )


def leaf(scene: Scene, head: Head, angle, length, width, **options) -> None:
    colour = green(scene.rng)
    petals(
        scene,
        head,
        angle,
        length,
        width,
        colour * 0.7,
        colour * 1.1,
        outline=(0.6, 0.9),
        **{"veins": 0.05, **options},
    )


# The flowers: one function each, drawn around (0, 0) with radius about 1


def daisy(scene: Scene, head: Head, c: Colours) -> None:
    """Narrow straps around a small dome."""
    rng = scene.rng
    n = rng.integers(15, 24)
    for k, reach in ((0, 1.0), (0.5, 0.94)):
        angle = ring(n, rng, 0.07) + k * 2 * np.pi / n
        length = reach * rng.uniform(0.88, 1.0, n)
        petals(
            scene, head, angle, length, 4.4 / n, c.inner, c.outer, outline=(0.5, 0.22), shade=0.25
        )
    dots(scene, head, [(0, 0)], 0.27, c.centre * 0.7, shade=0.5)
    dots(scene, head, spiral(50) * 0.26, 0.038, c.centre)


def sunflower(scene: Scene, head: Head, c: Colours) -> None:
    """A wide disc of seeds in spirals, with a fringe of pointed petals."""
    rng = scene.rng
    n = rng.integers(17, 24)
    for k in (0, 0.5):
        angle = ring(n, rng, 0.06) + k * 2 * np.pi / n
        length = rng.uniform(0.44, 0.56, n)
        petals(
            scene, head, angle, length, 4.2 / n, c.inner, c.outer, start=0.48, outline=(0.5, 0.8)
        )
    dots(scene, head, [(0, 0)], 0.58, c.centre * 0.35, shade=0.5)
    seeds = spiral(150)
    ripe = smooth(np.linalg.norm(seeds, axis=1) * 1.6 - 0.5)[:, None]
    dots(scene, head, seeds * 0.56, 0.042, c.centre * (0.45 + 0.55 * ripe))


def tulip(scene: Scene, head: Head, c: Colours) -> None:
    """A cup of broad petals on a straight stem, seen from the side."""
    rng = scene.rng
    stem(scene, head.moved(0, 0.8), bend=rng.normal(0, 0.8), width=0.13)
    for side in (-1, 1):
        angle = UP + side * rng.uniform(0.3, 0.6)
        leaf(scene, head.moved(side * 0.15, 2.6), angle, 2.4, 0.5, bend=side * rng.uniform(0, 0.8))
    openness = rng.uniform(0.08, 0.3)
    back = UP + np.array([-0.7, 0.7]) * openness
    shape = {"outline": (0.45, 0.55), "veins": 0.05}
    petals(scene, head, back, 1.75, 0.95, c.inner * 0.75, c.outer * 0.75, at=(0, 0.85), **shape)
    sides = UP + np.array([-1, 1]) * openness * rng.uniform(1, 1.4, 2)
    at = np.array([(-0.17, 0.85), (0.17, 0.85)])
    bend = np.array([0.35, -0.35]) * rng.uniform(0.3, 1)
    petals(scene, head, sides, 1.8, 1.0, c.inner, c.outer * 0.95, at=at, bend=-bend, **shape)
    front = UP + rng.normal(0, 0.08)
    petals(scene, head, front, 1.6, 1.05, c.inner, c.outer, at=(0, 0.9), **shape)


def bluebell(scene: Scene, head: Head, c: Colours) -> None:
    """Bells hanging from an arching stem."""
    rng = scene.rng
    lean = rng.choice([-1, 1])
    n = rng.integers(5, 8)
    t = np.linspace(0, 1, n)
    arch = np.stack([lean * (1.5 * t**1.5 - 0.75), 0.5 - 2.1 * t + 0.9 * t**3], -1)
    stem(scene, Head(head.centre + head.matrix @ arch[0], head.matrix), DOWN, 3, 0.08)
    step = np.diff(arch, axis=0)
    heading = np.arctan2(step[:, 1], step[:, 0])
    stalk = green(rng)
    petals(
        scene, head, heading, np.linalg.norm(step, axis=1) * 1.15, 0.075, stalk, stalk,
        at=arch[:-1], outline=(0.02, 0.02), veins=0, shade=0,
    )  # fmt: skip
    side = np.where(rng.random(n) < 0.7, lean, -lean)
    angle = DOWN - side * rng.uniform(0.1, 0.6, n)
    length = np.linspace(0.72, 0.42, n) * rng.uniform(0.9, 1.1, n)
    hang = arch + np.stack([side * 0.1, np.full(n, 0.08)], -1)
    petals(scene, head, angle, 0.2, 0.06, stalk, stalk, at=arch, veins=0, shade=0)
    petals(
        scene, head, angle, length, length * 0.5, c.inner, c.outer, at=hang,
        outline=(0.35, 0.05, 0.6), ruffle=0.04, cup=0.6, shade=0.45,
    )  # fmt: skip


def lavender(scene: Scene, head: Head, c: Colours) -> None:
    """Upright spikes, each of many whorls of tiny florets."""
    rng = scene.rng
    n, rows = rng.integers(3, 6), rng.integers(8, 11)
    foot = np.stack([np.linspace(-0.8, 0.8, n), np.zeros(n)], -1) + rng.normal(0, 0.1, (n, 2))
    foot = rng.permutation(foot) + (0, 0.6)
    lean = UP + foot[:, 0] * rng.uniform(0.1, 0.3) + rng.normal(0, 0.06, n)
    stem(scene, head, lean + np.pi, 3, 0.05, at=foot)
    stem(scene, head, lean, 1.3, 0.05, at=foot)
    # (spike, row, floret): each whorl is drawn over the one below
    height = np.linspace(0, 1.35, rows)[:, None]
    at = foot[:, None, None] + (height * direction(lean)[:, None])[:, :, None]
    spread = np.array([-0.75, 0.75, -0.25, 0.25]) * np.linspace(1.25, 0.7, rows)[:, None]
    angle = lean[:, None, None] + spread + rng.normal(0, 0.1, (n, rows, 4))
    size = np.linspace(0.27, 0.14, rows)[:, None] * rng.uniform(0.85, 1.1, angle.shape)
    at = (at + rng.normal(0, 0.02, (*angle.shape, 2))).reshape(-1, 2)
    angle, size = angle.ravel(), size.ravel()
    petals(
        scene, head, angle, size, size * 0.62, c.inner * 0.8, c.outer, at=at,
        outline=(0.6, 0.5), veins=0,
    )  # fmt: skip


def rose(scene: Scene, head: Head, c: Colours) -> None:
    """Round petals that wind inwards."""
    rng = scene.rng
    n = rng.integers(20, 27)
    i = np.arange(n)
    reach = 1.0 - 0.84 * (i / (n - 1)) ** 0.85
    angle = i * GOLDEN_ANGLE * rng.choice([-1, 1]) + rng.normal(0, 0.15, n)
    dark = (0.6 + 0.4 * reach)[:, None]
    petals(
        scene, head, angle, reach, reach * 1.25 + 0.08, c.inner * dark * 0.75, c.outer * dark,
        outline=(0.55, 0.28), ruffle=0.02, veins=0.015, shade=0.55, cup=0.4,
    )  # fmt: skip


def lily(scene: Scene, head: Head, c: Colours) -> None:
    """Six pointed petals in two whorls, freckles, six long stamens."""
    rng = scene.rng
    for k, width in ((0, 0.42), (0.5, 0.56)):
        angle = ring(3, rng) + k * 2 * np.pi / 3
        bend = rng.normal(0, 0.35, 3)
        petals(
            scene, head, angle, rng.uniform(0.93, 1.05, 3), width, c.inner, c.outer,
            outline=(0.5, 0.85), bend=bend, veins=0.05, ruffle=0.012,
        )  # fmt: skip
        crease = c.inner * 0.8
        petals(
            scene, head, angle, 0.8, 0.05, crease, c.outer, bend=bend * width / 0.05 * 0.64,
            outline=(0.3, 1), shade=0, veins=0, soft=2,
        )  # fmt: skip
    speckle = direction(rng.uniform(0, 6.28, 40)) * rng.uniform(0.15, 0.45, 40)[:, None]
    dots(scene, head, speckle, 0.013, c.inner * 0.45)
    angle = ring(6, rng, 0.15)
    reach = rng.uniform(0.45, 0.6, 6)
    thread = np.array([0.8, 0.85, 0.6])
    petals(
        scene, head, angle, reach, 0.035, thread, thread, outline=(0.05, 0.05), veins=0, shade=0.3
    )
    tips = direction(angle) * reach[:, None]
    petals(
        scene, head, angle + np.pi / 2, 0.17, 0.07, c.centre * 0.8, c.centre, veins=0,
        at=tips - 0.085 * direction(angle + np.pi / 2),
    )  # fmt: skip
    dots(scene, head, [(0, 0)], 0.06, thread * 0.8)


def florets(scene: Scene, head: Head, at, size, count: int, colours: tuple, **options) -> None:
    """Small flowers of `count` petals each at the points `at`, drawn in that order."""
    rng = scene.rng
    n = len(at)
    angle = (rng.uniform(0, 6.28, (n, 1)) + np.arange(count) * 2 * np.pi / count).ravel()
    inner, outer = (c if c.ndim == 1 else np.repeat(c, count, 0) for c in colours)
    size = np.repeat(np.broadcast_to(size, n), count)
    petals(
        scene, head, angle, size, size * 5.0 / count, inner, outer,
        at=np.repeat(at, count, 0), **options,
    )  # fmt: skip


def hydrangea(scene: Scene, head: Head, c: Colours) -> None:
    """A dome of many florets with four petals each."""
    rng = scene.rng
    leaf(scene, head, ring(4, rng, 0.3), 1.5, 0.8, veins=0.1)
    n = rng.integers(30, 42)
    at = spiral(n)[::-1] * 0.85 + rng.normal(0, 0.03, (n, 2))
    depth = 1.08 - 0.45 * np.linalg.norm(at, axis=1, keepdims=True) ** 2
    depth = depth + 0.25 * at @ np.linalg.solve(head.matrix, scene.light)[:, None] * np.linalg.norm(
        head.matrix[:, 0]
    )
    tint = rng.uniform(0, 0.4, (n, 1))
    outer = (c.outer * (1 - tint) + c.inner * tint) * depth
    florets(
        scene, head, at, 1.35 / n**0.5, 4, (outer * 0.75, outer), outline=(0.75, 0.4), shade=0.35, veins=0
    )
    dots(scene, head, at, 0.03, c.centre * 0.9)


def forget_me_not(scene: Scene, head: Head, c: Colours) -> None:
    """A loose handful of flowers with five round petals and a bright eye."""
    rng = scene.rng
    n = rng.integers(4, 8)
    at = spiral(n) * 0.72 + rng.normal(0, 0.08, (n, 2))
    hand = np.array([0, 1.2]) - at
    stem(scene, head, np.arctan2(hand[:, 1], hand[:, 0]), 1.4, 0.05, at=at)
    size = rng.uniform(0.3, 0.4, n)
    florets(
        scene, head, at, size, 5, (c.inner, c.outer), outline=(0.55, 0.3), notch=0.06, shade=0.3
    )
    dots(scene, head, at, size * 0.27, c.centre * 1.1, shade=0.3)
    dots(scene, head, at, size * 0.1, c.centre * 0.4)


def dandelion(scene: Scene, head: Head, c: Colours) -> None:
    """The clock: a ball of seeds, each with a parachute of fine hairs."""
    rng = scene.rng
    n = rng.integers(44, 56)
    at = spiral(n)[::-1] * 0.86
    at = at * (1.2 - 0.2 * np.linalg.norm(at, axis=1, keepdims=True)) + rng.normal(0, 0.02, (n, 2))
    reach = np.linalg.norm(at, axis=1)
    pale = c.outer * 0.4 + 0.6
    petals(
        scene, head, np.arctan2(at[:, 1], at[:, 0]), reach, 0.018, c.inner * 0.5, pale * 0.8,
        outline=(0.05, 0.05), veins=0, shade=0,
    )  # fmt: skip
    dots(scene, head, [(0, 0)], 0.14, c.centre * 0.45, shade=0.4)
    base = head.centre + at @ head.matrix.T
    size = 0.26 * head.matrix.T * rng.uniform(0.85, 1.1, (n, 1, 1))
    bright = (pale * (1.1 - 0.25 * reach[:, None])).T

    def parachute(u, v, each):  # ten hairs of one width
        u = 2 * u - 1
        radius = np.sqrt(u * u + v * v)
        across = np.abs(np.sin(5 * np.arctan2(v, u))) * radius / 5
        return np.minimum(0.03 - across, 1 - radius), 1, 1

    def paint(u, v, each):
        return each(bright) * (0.75 + 0.25 * np.abs(2 * u - 1))

    u, v = size[:, 0], size[:, 1]
    scene.stamp(base - u, 2 * u, v, parachute, paint)
    dots(scene, head, at, 0.025, c.inner * 0.6)


def poppy(scene: Scene, head: Head, c: Colours) -> None:
    """Four broad crumpled petals around a capsule and a ring of stamens."""
    rng = scene.rng
    spin = rng.uniform(0, 6.28)
    for k in (0, 1):
        angle = spin + k * np.pi / 2 + np.array([0, np.pi]) + rng.normal(0, 0.1, 2)
        petals(
            scene, head, angle, rng.uniform(0.9, 1.05, 2), 1.55 - 0.15 * k, c.inner, c.outer,
            outline=(0.55, 0.3), ruffle=0.03, veins=0.05, shade=0.5,
        )  # fmt: skip
        blotch = c.inner * 0.25
        petals(scene, head, angle, 0.42, 0.4, blotch, blotch, soft=5, shade=0, veins=0)
    n = 46
    at = direction(rng.uniform(0, 6.28, n)) * rng.uniform(0.18, 0.34, n)[:, None]
    thread = c.centre * 0.35
    angle = np.arctan2(at[:, 1], at[:, 0])
    petals(scene, head, angle, np.linalg.norm(at, axis=1), 0.02, thread, thread, veins=0, shade=0)
    dots(scene, head, at, 0.035, c.centre * 0.55)
    dots(scene, head, [(0, 0)], 0.15, [0.45, 0.55, 0.3], shade=0.5)
    petals(scene, head, ring(8, rng), 0.13, 0.035, thread, thread, veins=0, shade=0)


def orchid(scene: Scene, head: Head, c: Colours) -> None:
    """Mirror-symmetric: three narrow sepals, two wide wings, a lip."""
    rng = scene.rng
    stem(scene, head, DOWN + rng.normal(0, 0.3), 3, 0.07)
    sepals = np.array([UP, UP + 2.2, UP - 2.2]) + rng.normal(0, 0.05, 3)
    petals(scene, head, sepals, [0.95, 0.9, 0.9], 0.5, c.inner, c.outer * 0.92, outline=(0.5, 0.5))
    tilt = rng.uniform(-0.1, 0.3)
    wings = np.array([-tilt, np.pi + tilt])
    petals(
        scene, head, wings, 1.0, 0.98, c.inner, c.outer, outline=(0.6, 0.35), veins=0.1,
        ruffle=0.012, shade=0.45,
    )  # fmt: skip
    lip = DOWN + np.array([-0.75, 0.75, 0])
    deep = c.inner * 0.6
    petals(
        scene, head, lip, [0.34, 0.34, 0.52], [0.26, 0.26, 0.3], c.centre, deep, outline=(0.4, 0.5),
        shade=0.5,
    )  # fmt: skip
    dots(scene, head, [(0, 0.02)], 0.1, c.outer, shade=0.5)
    dots(scene, head, [(0, 0.1)], 0.05, c.centre * 0.9)


def iris(scene: Scene, head: Head, c: Colours) -> None:
    """Three petals stand, three fall, seen from the side."""
    rng = scene.rng
    stem(scene, head.moved(0, 0.1), DOWN, 4, 0.12)
    leaf(scene, head.moved(rng.choice([-0.4, 0.4]), 2.8), UP + rng.normal(0, 0.15), 2.6, 0.35)
    stand = UP + np.array([-0.5, 0.5, 0.0]) + rng.normal(0, 0.06, 3)
    petals(
        scene, head, stand, [0.95, 0.95, 1.05], 0.72, c.inner * 0.8, c.outer,
        at=(0, 0.08), outline=(0.6, 0.35), ruffle=0.014, bend=[0.3, -0.3, 0],
    )  # fmt: skip
    fall = DOWN + np.array([1.1, -1.1, 0.0]) + rng.normal(0, 0.08, 3)
    shape = {"bend": np.array([-0.5, 0.5, 0.0])}
    petals(
        scene, head, fall, [1.0, 1.0, 0.95], 0.62, c.inner, c.outer * 0.9, outline=(0.8, 0.32),
        ruffle=0.016, shade=0.5, **shape,
    )  # fmt: skip
    petals(scene, head, fall, 0.5, 0.12, c.centre, c.centre * 0.9, shade=0, soft=2, **shape)


def front(rng: np.random.Generator) -> np.ndarray:
    """Seen from above or in front: turned by any angle, tilted by up to 55 degrees."""
    turn, tilt = (np.stack([r, r[::-1] * [-1, 1]]) for r in direction(rng.uniform(0, 6.28, 2)))
    return tilt.T @ np.diag([1, np.cos(rng.uniform(0, 0.95))]) @ tilt @ turn


def side(rng: np.random.Generator) -> np.ndarray:
    """Seen from the side: leaning by up to 30 degrees either way."""
    lean = direction(rng.uniform(-0.5, 0.5))
    return np.stack([lean, lean[::-1] * [-1, 1]], -1)


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

# Every class draws from the same petal colours (inner, outer) and the same colours of the centre.
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
    ((0.95, 0.93, 0.88), (0.80, 0.45, 0.75)),  # white heart, lilac tips
    ((0.99, 0.85, 0.35), (0.93, 0.35, 0.35)),  # yellow heart, coral tips
)
CENTRES = ((0.98, 0.78, 0.12), (0.90, 0.55, 0.10), (0.55, 0.33, 0.14), (0.72, 0.78, 0.30))

# name: colours from shadow to light, cells of its noise, lights out of focus
BACKGROUNDS = {
    "foliage": (((0.03, 0.08, 0.03), (0.14, 0.30, 0.10), (0.50, 0.66, 0.28)), (7, 7), 14),
    "meadow": (((0.14, 0.24, 0.07), (0.38, 0.50, 0.16), (0.80, 0.80, 0.42)), (9, 4), 8),
    "sky": (((0.30, 0.52, 0.82), (0.56, 0.74, 0.93), (0.96, 0.97, 0.98)), (4, 3), 0),
    "soil": (((0.12, 0.07, 0.05), (0.32, 0.22, 0.15), (0.52, 0.40, 0.29)), (14, 9), 0),
    "wall": (((0.42, 0.30, 0.25), (0.66, 0.52, 0.44), (0.86, 0.77, 0.68)), (3, 14), 0),
    "water": (((0.03, 0.12, 0.18), (0.14, 0.34, 0.42), (0.62, 0.80, 0.84)), (3, 18), 5),
    "night": (((0.01, 0.01, 0.04), (0.05, 0.06, 0.13), (0.16, 0.14, 0.26)), (4, 4), 10),
    "dusk": (((0.20, 0.12, 0.26), (0.66, 0.34, 0.36), (0.99, 0.76, 0.50)), (4, 3), 5),
    "shade": (((0.02, 0.03, 0.03), (0.07, 0.10, 0.09), (0.20, 0.24, 0.22)), (6, 6), 3),
}


def pick_colours(rng: np.random.Generator) -> Colours:
    inner, outer = np.array(PETALS[rng.integers(len(PETALS))]) * rng.uniform(0.85, 1.05)
    centre = np.array(CENTRES[rng.integers(len(CENTRES))])
    return Colours(*(c + rng.uniform(-0.05, 0.05, 3) for c in (inner, outer, centre)))


def backdrop(rng: np.random.Generator, plant: Callable, view: Callable, colours: Colours) -> Scene:
    """What lies behind, at a third of the size: a background, its lights, maybe more flowers."""
    scene = Scene(SIZE // 3, rng)
    stops, cells, lights = BACKGROUNDS[rng.choice(list(BACKGROUNDS))]
    noise = clouds(rng, scene.size, cells) + 0.6 * clouds(
        rng, scene.size, (cells[0] * 3, cells[1] * 3)
    )
    gradient = np.linspace(-1, 1, scene.size)[:, None] * rng.normal(0, 0.8)
    level = (noise + gradient) * 0.22 + rng.uniform(0.3, 0.6)
    for channel, values in enumerate(np.transpose(stops)):
        scene.rgb[channel] = np.interp(level, (0, 0.5, 1), values)
    if lights:
        at = rng.uniform(0, scene.size, (lights, 2))
        glow = np.array(stops[2]) * rng.uniform(0.6, 1.3, (lights, 1)) + rng.uniform(0, 0.15, 3)
        frame = Head(np.zeros(2), np.eye(2))
        dots(scene, frame, at, rng.uniform(1.5, 6, lights), glow, soft=2.0)
    for _ in range(rng.integers(0, 3)):
        corner = Head(rng.uniform(0, scene.size, 2), np.eye(2) * scene.size)
        leaf(scene, corner, rng.uniform(0, 6.28), rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.25))
    if rng.random() < 0.35:
        radius = scene.size * rng.uniform(0.12, 0.25)
        plant(scene, Head(rng.uniform(0.1, 0.9, 2) * scene.size, view(rng) * radius), colours)
    return scene


def foreground(scene: Scene) -> None:
    """Leaves and blades of grass that cross in front, mostly out of focus."""
    rng = scene.rng
    for _ in range(rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])):
        soft = rng.uniform(1, 9)
        foot = Head(np.array([rng.uniform(0, 1), 1.1]) * scene.size, np.eye(2) * scene.size)
        if rng.random() < 0.6:
            angle, length = UP + rng.normal(0, 0.35), rng.uniform(0.6, 1.4)
            leaf(scene, foot, angle, length, 0.06, bend=rng.normal(0, 1.5), soft=soft)
        else:
            at = direction(rng.uniform(0, 6.28)) * 0.75 + 0.5
            edge = Head(at * scene.size, np.eye(2) * scene.size)
            angle = np.arctan2(*(0.5 - at)[::-1]) + rng.normal(0, 0.4)
            leaf(scene, edge, angle, rng.uniform(0.35, 0.7), rng.uniform(0.12, 0.3), soft=soft)


def photograph(scene: Scene) -> bytes:
    """Light, lens, sensor, JPEG."""
    rng, size = scene.rng, scene.size
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    falloff = ramp * ramp + (ramp * ramp)[:, None]
    light = 1 + 0.25 * (scene.light[0] * ramp + (scene.light[1] * ramp)[:, None])
    if rng.random() < 0.4:  # sun through leaves
        light = light * (0.78 + 0.3 * smooth(clouds(rng, size, (5, 5)) + 0.5))
    light = light * (1 - rng.uniform(0.05, 0.25) * falloff) * rng.uniform(0.8, 1.25)
    warmth = rng.normal(0, 0.08)
    x, y = rng.integers(0, SIZE, 2)
    rgb = scene.rgb * light.astype(np.float32)
    rgb *= np.array([255 + 255 * warmth, 255, 255 - 255 * warmth], np.float32)[:, None, None]
    rgb += grain()[:, y : y + size, x : x + size] * np.float32(rng.uniform(1, 8))
    channels = rgb.clip(0, 255, out=rgb).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(c) for c in channels])
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.6)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


def draw_photo(seed: int, split: int, label: int, number: int) -> bytes:
    """The JPEG of one photo, SIZE x SIZE; a pure function of its four numbers."""
    rng = np.random.default_rng([seed, split, label, number])
    plant, view = list(FLOWERS.values())[label]
    colours = pick_colours(rng)
    behind = backdrop(rng, plant, view, colours)
    scene = Scene(SIZE, rng)
    scene.light = behind.light
    small = Image.fromarray((behind.rgb.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0).copy())
    small = small.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.6)))  # depth of field
    large = np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    scene.rgb[:] = large.transpose(2, 0, 1) * np.float32(1 / 255)
    radius = SIZE * rng.uniform(0.26, 0.46)
    centre = SIZE * (0.5 + rng.uniform(-0.16, 0.16, 2))
    if view is front:
        upright = Head(centre, np.eye(2) * radius)
        stem(scene, upright, DOWN + rng.normal(0, 0.3), bend=rng.normal(0, 1.5))
        for _ in range(rng.integers(0, 4)):
            leaf(scene, upright, rng.uniform(0.2, 2.9), rng.uniform(1, 1.8), rng.uniform(0.3, 0.6))
    plant(scene, Head(centre, view(rng) * radius), colours)
    foreground(scene)
    return photograph(scene)


def quickstart(seed: int) -> Source:
    """Flower photos drawn on demand: 192 x 192 JPEGs, as many a class in each split as PER_CLASS says.

    The same seed gives the same bytes, photo by photo, in whatever order they are read.

    Raises:
        SourceError: a negative seed.
    """
    if seed < 0:
        raise SourceError(f"The seed must be 0 or larger, not {seed}.")
    class_names = tuple(FLOWERS)

    def split(index: int, name: str, count: int) -> Split:
        def read(i: int) -> bytes:
            return draw_photo(seed, index, i // count, i % count)

        names = tuple(f"{name}/{c}/{k:04d}.jpg" for c in class_names for k in range(count))
        return Split(names, np.repeat(np.arange(len(class_names), dtype=np.int32), count), read)

    splits = {name: split(i, name, n) for i, (name, n) in enumerate(PER_CLASS.items())}
    return Source("quickstart", class_names, splits, CREDITS)
