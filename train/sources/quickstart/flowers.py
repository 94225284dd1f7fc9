"""The flowers of the `quickstart` source, and their colours and backgrounds.

Each is a function that draws around (0, 0), with a radius of about 1.
"""

from __future__ import annotations

import numpy as np

from train.sources.quickstart.canvas import (
    CIRCLE,
    DOWN,
    GOLDEN_ANGLE,
    LEAF,
    STEM,
    UP,
    Colours,
    Look,
    Place,
    angle_of,
    direction,
    dots,
    florets,
    leaf,
    length_of,
    petals,
    ring,
    smooth,
    spiral,
    stem,
)

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
    plain = STEM._replace(shade=0)
    stem(place, angle_of(step), length_of(step) * 1.15, 0.075, plain, arch[:-1])
    side = np.where(rng.random(n) < 0.7, lean, -lean)
    angle = DOWN - side * rng.uniform(0.1, 0.6, n)
    stem(place, angle, 0.2, 0.06, plain, arch)
    hang = arch + np.stack([side * 0.1, np.full(n, 0.08)], -1)
    size = np.linspace(0.72, 0.42, n) * rng.uniform(0.9, 1.1, n)
    look = Look((0.35, 0.05, 0.6), ruffle=0.04, cup=0.6, shade=0.45)
    petals(place, angle, size, size / 2, c.petal, look, hang)


def daisy(place: Place, c: Colours) -> None:
    """Narrow straps around a small dome."""
    rng = place.rng
    n = rng.integers(15, 24)
    for shift in (0, 0.5):
        angle = ring(n, rng, 0.07) + shift * CIRCLE / n
        length = rng.uniform(0.86, 1.0, n)
        petals(place, angle, length, 4.4 / n, c.petal, Look((0.5, 0.22), shade=0.25))
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
    look = Look((0.05, 0.05), veins=0, shade=0)
    petals(place, angle_of(at), reach, 0.018, (c.inner * 0.5, pale * 0.8), look)
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
    place.scene.stamp((base - along, 2 * along, across), parachute, paint)
    dots(place, at, 0.025, c.inner * 0.6)


def forget_me_not(place: Place, c: Colours) -> None:
    """A loose handful of flowers with five round petals and a bright eye."""
    rng = place.rng
    n = rng.integers(4, 8)
    at = spiral(n) * 0.72 + rng.normal(0, 0.08, (n, 2))
    stem(place, angle_of((0, 1.2) - at), 1.4, 0.05, at=at)
    size = rng.uniform(0.3, 0.4, n)
    florets(place, at, size, 5, c.petal, Look((0.55, 0.3), notch=0.06))
    dots(place, at, size * 0.27, c.centre * 1.1, shade=0.3)
    dots(place, at, size * 0.1, c.centre * 0.4)


def hydrangea(place: Place, c: Colours) -> None:
    """A dome of many florets with four petals each."""
    rng = place.rng
    leaf(place, ring(4, rng, 0.3), 1.5, 0.8, LEAF._replace(veins=0.1))
    n = rng.integers(30, 42)
    at = spiral(n)[::-1] * 0.85 + rng.normal(0, 0.03, (n, 2))
    towards_light = at @ place.matrix.T @ place.scene.light / length_of(place.matrix[:, 0])
    dome = (1.08 - 0.45 * length_of(at) ** 2 + 0.2 * towards_light)[:, None]
    tint = rng.uniform(0, 0.4, (n, 1))
    outer = (c.outer * (1 - tint) + c.inner * tint) * dome
    look = Look((0.75, 0.4), veins=0)
    florets(place, at, 1.35 / n**0.5, 4, (outer * 0.75, outer), look)
    dots(place, at, 0.03, c.centre * 0.9)


def iris(place: Place, c: Colours) -> None:
    """Three petals stand, three fall; seen from the side."""
    rng = place.rng
    stem(place, width=0.12)
    leaf(place.moved(rng.choice([-0.4, 0.4]), 2.8), UP + rng.normal(0, 0.15), 2.6, 0.35)
    stand = UP + np.array([-0.5, 0.5, 0.0]) + rng.normal(0, 0.06, 3)
    look = Look((0.6, 0.35), bend=[0.3, -0.3, 0], ruffle=0.014)
    petals(place, stand, [0.95, 0.95, 1.05], 0.72, (c.inner * 0.8, c.outer), look, at=(0, 0.08))
    fall = DOWN + np.array([1.1, -1.1, 0.0]) + rng.normal(0, 0.08, 3)
    bend = np.array([-0.5, 0.5, 0.0])
    look = Look((0.8, 0.32), bend, ruffle=0.016, shade=0.5)
    petals(place, fall, 1.0, 0.62, (c.inner, c.outer * 0.9), look)
    petals(place, fall, 0.5, 0.12, (c.centre, c.centre), Look(bend=bend, shade=0, soft=2))


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
    look = Look((0.6, 0.5), veins=0)
    petals(place, angle, size, size * 0.62, (c.inner * 0.8, c.outer), look, at)


def lily(place: Place, c: Colours) -> None:
    """Six pointed petals in two whorls, freckles, six long stamens."""
    rng = place.rng
    for shift, width in ((0, 0.42), (0.5, 0.56)):
        angle = ring(3, rng) + shift * CIRCLE / 3
        bend = rng.normal(0, 0.35, 3)
        look = Look((0.5, 0.85), bend, ruffle=0.012)
        petals(place, angle, rng.uniform(0.93, 1.05, 3), width, c.petal, look)
        crease = bend * width / 0.05 * 0.8**2  # it follows the petal
        look = Look((0.3, 1.0), crease, veins=0, shade=0, soft=2)
        petals(place, angle, 0.8, 0.05, (c.inner * 0.8, c.outer), look)
    freckles = direction(rng.uniform(0, CIRCLE, 40)) * rng.uniform(0.15, 0.45, (40, 1))
    dots(place, freckles, 0.013, c.inner * 0.45)
    thread = np.array([0.8, 0.85, 0.6])
    angle = ring(6, rng, 0.15)
    reach = rng.uniform(0.45, 0.6, 6)
    petals(place, angle, reach, 0.035, (thread, thread), Look((0.05, 0.05), veins=0))
    anther = angle + np.pi / 2
    at = direction(angle) * reach[:, None] - 0.085 * direction(anther)
    petals(place, anther, 0.17, 0.07, (c.centre * 0.8, c.centre), Look(veins=0), at)
    dots(place, CENTRE, 0.06, thread * 0.8)


def orchid(place: Place, c: Colours) -> None:
    """The same left and right: three narrow sepals, two wide wings, a lip."""
    rng = place.rng
    stem(place, DOWN + rng.normal(0, 0.3), width=0.07)
    sepals = np.array([UP, UP + 2.2, UP - 2.2]) + rng.normal(0, 0.05, 3)
    petals(place, sepals, 0.93, 0.5, (c.inner, c.outer * 0.92))
    tilt = rng.uniform(-0.1, 0.3)
    look = Look((0.6, 0.35), veins=0.1, ruffle=0.012, shade=0.45)
    petals(place, [-tilt, np.pi + tilt], 1.0, 0.98, c.petal, look)
    lip = DOWN + np.array([-0.75, 0.75, 0.0])
    look = Look((0.4, 0.5), shade=0.5)
    petals(place, lip, [0.34, 0.34, 0.52], 0.27, (c.centre, c.inner * 0.6), look)
    dots(place, CENTRE, 0.1, c.outer, shade=0.5)
    dots(place, [(0, 0.1)], 0.05, c.centre * 0.9)


def poppy(place: Place, c: Colours) -> None:
    """Four broad crumpled petals around a capsule and a ring of stamens."""
    rng = place.rng
    spin = rng.uniform(0, CIRCLE)
    dark, thread = c.inner * 0.25, c.centre * 0.35
    for quarter in (0, 0.25):
        angle = spin + (quarter + np.array([0, 0.5])) * CIRCLE + rng.normal(0, 0.1, 2)
        look = Look((0.55, 0.3), ruffle=0.03, shade=0.5)
        petals(place, angle, rng.uniform(0.9, 1.05, 2), 1.55 - 0.6 * quarter, c.petal, look)
        petals(place, angle, 0.42, 0.4, (dark, dark), Look(veins=0, shade=0, soft=5))
    at = direction(rng.uniform(0, CIRCLE, 46)) * rng.uniform(0.18, 0.34, (46, 1))
    plain = Look(veins=0, shade=0)
    petals(place, angle_of(at), length_of(at), 0.02, (thread, thread), plain)
    dots(place, at, 0.035, c.centre * 0.55)
    dots(place, CENTRE, 0.15, [0.45, 0.55, 0.3], shade=0.5)
    petals(place, ring(8, rng), 0.13, 0.035, (thread, thread), plain)


def rose(place: Place, c: Colours) -> None:
    """Round petals that wind inwards."""
    rng = place.rng
    n = rng.integers(20, 27)
    angle = np.arange(n) * GOLDEN_ANGLE * rng.choice([-1, 1]) + rng.normal(0, 0.15, n)
    reach = 1 - 0.84 * np.linspace(0, 1, n) ** 0.85
    deep = (0.6 + 0.4 * reach)[:, None]  # less light falls into the heart
    look = Look((0.55, 0.28), ruffle=0.02, veins=0.015, shade=0.55, cup=0.4)
    colours = (c.inner * deep * 0.75, c.outer * deep)
    petals(place, angle, reach, reach * 1.25 + 0.08, colours, look)


def sunflower(place: Place, c: Colours) -> None:
    """A wide disc of seeds in spirals, with a fringe of pointed petals."""
    rng = place.rng
    n = rng.integers(17, 24)
    for shift in (0, 0.5):
        angle = ring(n, rng, 0.06) + shift * CIRCLE / n
        length = rng.uniform(0.44, 0.56, n)
        edge = 0.48 * direction(angle)
        petals(place, angle, length, 4.2 / n, c.petal, Look((0.5, 0.8)), edge)
    dots(place, CENTRE, 0.58, c.centre * 0.35, shade=0.5)
    seeds = spiral(150)
    ripe = smooth(length_of(seeds) * 1.6 - 0.5)[:, None]
    dots(place, seeds * 0.56, 0.042, c.centre * (0.45 + 0.55 * ripe))


def tulip(place: Place, c: Colours) -> None:
    """A cup of broad petals on a straight stem, seen from the side."""
    rng = place.rng
    both = np.array([-1, 1])
    stem(place.moved(0, 0.8), width=0.13, look=STEM._replace(bend=rng.normal(0, 0.8)))
    sides = both * rng.uniform(0.5, 1, 2)
    leaf(place.moved(0, 2.6), UP + 0.6 * sides, 2.4, 0.5, LEAF._replace(bend=0.8 * sides))
    openness = rng.uniform(0.08, 0.3)
    look = Look((0.45, 0.55), veins=0.05)
    back = (c.inner * 0.75, c.outer * 0.75)
    petals(place, UP + 0.7 * both * openness, 1.75, 0.95, back, look, at=(0, 0.85))
    angle = UP + both * openness * rng.uniform(1, 1.4, 2)
    at = np.array([(-0.17, 0.85), (0.17, 0.85)])
    sides = look._replace(bend=-0.2 * both)
    petals(place, angle, 1.8, 1.0, (c.inner, c.outer * 0.95), sides, at)
    petals(place, UP + rng.normal(0, 0.08), 1.6, 1.05, c.petal, look, at=(0, 0.9))


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
