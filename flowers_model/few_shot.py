"""A head that grows: columns for new classes from a few embeddings, beside the old columns.

The columns are those of a logistic regression on four kinds of embeddings:

- the old classes, drawn anew from their means and their shared covariance (generative replay: no
  old photo is needed);
- the held-out photos of the old classes, which lie farther from the means than training photos do
  (rehearsal);
- the photos of the taught classes, and more drawn around where the mean of such a class is likely
  to be, given how far the means of classes lie apart (probabilistic linear discriminant analysis:
  Ioffe, 2006, https://doi.org/10.1007/11744085_41). Of one photo that is nearly anywhere, of ten
  close to their mean;
- photos of other things, which no new column may claim.

A photo may also be of nothing that is known: a further logit, the same for all photos, as high as
the logits of doubtful photos are together. The new columns have to rise above it, or their photos
would be refused by their free energy.

The other columns stay as they are, and all are on the scale of the calibrated probabilities.
Plain NumPy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flowers_model.grow import Head
from flowers_model.statistics import Statistics
from flowers_model.uncertainty import log_sum_exp

DRAWS = 20  # embeddings that are drawn of each class
SHRINKAGE = 0.3  # of the shared covariance towards a sphere; of that of the means, half
# What an old class counts in the mean, against a new one: what is drawn of it, its held-out photos.
DRAWN, HELD_OUT = 0.5, 0.5
REAL = 0.7  # what the photos of a new class count, against what is drawn of it
STRANGERS = 2.0  # what all photos of other things count together, against one class
UNKNOWN = 0.1  # the quantile of the held-out photos' logits that the further logit is at
# Of the squared distance of a column from where it starts, for embeddings whose values are about 1.
PENALTY = 2.6e-3
ALIKE = 0.5  # of the photos of a class, how many a photo of other things may look more like it than
STEPS = 100


def grown(
    head: Head,
    statistics: Statistics,
    temperature: float,
    embeddings: np.ndarray,
    labels: np.ndarray,
) -> Head:
    """The head with new columns for taught classes.

    >>> head = grown(read_head(folder), statistics, 1.0, embeddings, np.full(10, 102))

    Args:
        head: of C classes, the first C of `statistics`.
        temperature: of the calibrated probabilities.
        embeddings: of the taught photos, `(T, D)`.
        labels: int `(T,)`; numbers below C are of known classes, whose columns are fitted anew,
            those from C on of new ones, without a gap.
    """
    embeddings = np.asarray(embeddings, np.float64)
    known = len(head.bias)
    taught = np.unique(labels)
    count = max(known, int(taught.max()) + 1)
    kernel = np.hstack([head.kernel, np.zeros((len(head.kernel), count - known))])
    bias = np.concatenate([head.bias, np.zeros(count - known)])
    # The sum of all columns says nothing: a new one begins as their mean does.
    kernel[:, known:] = head.kernel.mean(axis=1, keepdims=True)
    bias[known:] = head.bias.mean()

    rows, classes, weights = _lesson(statistics, known, embeddings, labels)
    fixed = np.setdiff1d(np.arange(count), taught)
    rest = log_sum_exp(rows @ kernel[:, fixed] + bias[fixed], temperature)
    if len(statistics.held_out):
        held_out = log_sum_exp(statistics.held_out @ head.kernel + head.bias, temperature)
        rest = np.logaddexp(rest, np.quantile(held_out, UNKNOWN))
    right = classes[:, None] == taught  # (rows, taught); of other classes and strangers, none

    start = np.vstack([kernel[:, taught], bias[taught]]) / temperature
    penalty = PENALTY * np.mean(np.square(embeddings))
    ones = np.hstack([rows, np.ones((len(rows), 1))])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        columns = flat.reshape(start.shape)
        logits = ones @ columns
        top = np.maximum(logits.max(axis=1), rest)
        shares = np.exp(logits - top[:, None])
        total = shares.sum(axis=1) + np.exp(rest - top)
        said = np.where(right.any(axis=1), (logits * right).sum(axis=1), rest)
        change = columns - start
        change[-1] = 0
        value = weights @ (top + np.log(total) - said) + penalty / 2 * np.sum(change**2)
        slope = ones.T @ ((shares / total[:, None] - right) * weights[:, None])
        return value, (slope + penalty * change).ravel()

    columns = _minimized(loss, start.ravel()).reshape(start.shape) * temperature
    kernel[:, taught], bias[taught] = columns[:-1], columns[-1]
    if np.array_equal(head.kernel.astype(np.float16), head.kernel):  # so that it stays narrow
        kernel = kernel.astype(np.float16)
    return Head(kernel.astype(np.float32), bias.astype(np.float32))


def _lesson(
    statistics: Statistics, known: int, embeddings: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings `(n, D)` to learn from, their classes, -1 for strangers, and what each counts."""
    random = np.random.default_rng(0)
    within = shrunk(statistics.covariance.astype(np.float64), SHRINKAGE)
    root = np.linalg.cholesky(within)
    means = statistics.means[:known].astype(np.float64)
    center = means.mean(axis=0)
    apart = means - center
    between = shrunk(apart.T @ apart / (len(means) - 1), 0.5)

    def drawn(mean: np.ndarray, root: np.ndarray) -> np.ndarray:
        return mean + random.standard_normal((DRAWS, len(root))) @ root.T

    parts = [(drawn(mean, root), label, DRAWN) for label, mean in enumerate(means)]
    taught = np.unique(labels)
    for label in taught:
        own = embeddings[labels == label]
        if label < known:  # what is drawn stands for the photos that are not there
            real = len(own) / (len(own) + statistics.counts[label])
            parts += [(own, label, real)]
            parts[label] = (*parts[label][:2], 1 - real)
            continue
        parts.append((own, label, REAL))
        # The mean of n photos is off by `within / n`; this weighs it against all classes' means.
        trust = np.linalg.solve(between + within / len(own), between).T
        mean = center + trust @ (own.mean(axis=0) - center)
        spread = within + between - trust @ between
        parts.append((drawn(mean, np.linalg.cholesky((spread + spread.T) / 2)), label, 1 - REAL))
    # Those of a class that is fitted anew would hold it where it was.
    replayed = (statistics.held_out_labels < known) & ~np.isin(statistics.held_out_labels, taught)
    for label in np.unique(statistics.held_out_labels[replayed]):
        own = statistics.held_out[statistics.held_out_labels == label].astype(np.float64)
        parts.append((own, label, HELD_OUT * known * len(own) / replayed.sum()))
    strangers = _strangers(statistics, embeddings, labels, center)
    if len(strangers):
        parts.append((strangers, -1, STRANGERS))
    rows = np.vstack([part for part, _, _ in parts])
    classes = np.concatenate([np.full(len(part), label) for part, label, _ in parts])
    weights = np.concatenate([np.full(len(part), share / len(part)) for part, _, share in parts])
    return rows, classes, weights / weights.sum()


def _strangers(
    statistics: Statistics, embeddings: np.ndarray, labels: np.ndarray, center: np.ndarray
) -> np.ndarray:
    """Photos of other things, without those that look like what is taught: they may show it."""
    strangers = statistics.strangers.astype(np.float64)
    keep = np.ones(len(strangers), bool)
    for label in np.unique(labels):
        own = embeddings[labels == label] - center
        if len(own) < 2:
            continue
        rest = (own.sum(axis=0) - own) / (len(own) - 1)  # the mean of all but each one
        usual = np.quantile(_cosines(own, rest), ALIKE)
        keep &= _cosines(strangers - center, own.mean(axis=0)) < usual
    return strangers[keep]


def _cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=-1) * np.linalg.norm(others, axis=-1)
    return (rows * others).sum(axis=-1) / np.maximum(lengths, 1e-12)


def shrunk(covariance: np.ndarray, share: float) -> np.ndarray:
    """A covariance with `share` of a sphere of the same trace; positive definite."""
    depth = len(covariance)
    variance = max(np.trace(covariance) / depth, 1e-12)
    return (1 - share) * covariance + share * variance * np.eye(depth)


def _minimized(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray
) -> np.ndarray:
    """Where a smooth convex function is smallest, by L-BFGS with a memory of ten steps."""
    place = start
    value, slope = loss(place)
    moves: list[tuple[np.ndarray, np.ndarray, float]] = []
    for _ in range(STEPS):
        direction = -slope
        shares = []
        for move, turn, scale in reversed(moves):
            shares.append(scale * (move @ direction))
            direction = direction - shares[-1] * turn
        if moves:
            move, turn, scale = moves[-1]
            direction = direction / (scale * (turn @ turn))
        for (move, turn, scale), share in zip(moves, reversed(shares), strict=True):
            direction = direction + (share - scale * (turn @ direction)) * move
        descent = slope @ direction
        step = 1.0 if moves else min(1.0, 1 / max(np.abs(slope).sum(), 1e-12))
        while True:
            ahead = place + step * direction
            there, downhill = loss(ahead)
            if there <= value + 1e-4 * step * descent or step < 1e-10:
                break
            step /= 2
        move, turn = ahead - place, downhill - slope
        gained = value - there
        place, value, slope = ahead, there, downhill
        if move @ turn > 1e-12:
            moves = [*moves[-9:], (move, turn, 1 / (move @ turn))]
        if gained < 1e-9 * max(abs(value), 1e-3):
            break
    return place
