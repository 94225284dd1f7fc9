"""Add columns for new classes to the head, from a few embeddings of each; the old columns stay.

The new columns are fitted by logistic regression on four kinds of embeddings:

- samples of the old classes, drawn from their means and shared covariance (generative replay, which
  needs no old photo), in pairs with opposite signs (antithetic variates: Hammersley & Morton,
  1956);
- the held-out photos of the old classes, which lie farther from the means than training photos do
  (rehearsal);
- the photos of the taught classes, and samples around the likely mean of each. That mean is
  estimated from the photos and from how far apart the means of all classes lie (probabilistic
  linear discriminant analysis: Ioffe, 2006, https://doi.org/10.1007/11744085_41). With one photo it
  is very uncertain; with ten it is close to the mean of the photos;
- photos of other things, which no new column may claim.

An extra logit, the same for all photos, stands for "none of the known classes". It is as high as
the log-sum-exp of the logits of a doubtful photo. The new columns have to rise above it, or their
photos would be refused by the free energy score.

Then all fitted columns are raised or lowered by the same shift, which is chosen on held-out photos,
each answered by a head that was fitted without it (bias correction: Wu et al., 2019,
https://arxiv.org/abs/1905.13260). It may cost the other classes no more than `COST`.

All columns are on the scale of the calibrated probabilities. Plain NumPy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from flowers_model.grow import Head
from flowers_model.statistics import Statistics
from flowers_model.storage import narrowed
from flowers_model.uncertainty import log_sum_exp, softmax

DRAWS = 20  # embeddings sampled per class, an even number
SHRINKAGE = 0.3  # of the shared covariance towards a sphere; that of the means uses 0.5
# The weights of an old class relative to a new one: of its samples and, on average, of its held-out
# photos.
DRAWN, HELD_OUT = 0.5, 0.5
REAL = 0.7  # the weight of a new class's photos; its samples have the rest
STRANGERS = 2.0  # the weight of all photos of other things together, relative to one class
UNKNOWN = 0.1  # the quantile of the held-out photos' log-sum-exp that sets the extra logit
# On the squared distance of a column from its initial value, for embeddings with values around 1.
PENALTY = 2e-4
ALIKE = 0.5  # the quantile of a class's own similarities that a stranger must stay below
STEPS = 200
HISTORY = 40  # steps from which L-BFGS estimates the curvature
FOLDS = 5  # for held-out answers; up to five taught photos of a class are held out one by one
SHIFTS = np.arange(-60, 61) / 10  # by which columns may be lowered, in units of the temperature
# The probability that the right class of held-out photos of other classes may lose on average, at
# SOFTENED times the temperature. (A bound on how many photos become wrong would depend on one or
# two of them.)
COST, SOFTENED = 0.01, 1.5


@dataclasses.dataclass(frozen=True)
class Learned:
    """A head with fitted columns, and logits from heads that were fitted without the photo.

    Attributes:
        head: for C classes.
        held_out: logits of the held-out photos of the statistics, `(H, C)`.
        taught: logits of the taught photos, `(T, C)`; NaN for the only photo of a class.
        strangers: logits of the photos of other things of the statistics, `(S, C)`.
    """

    head: Head
    held_out: np.ndarray
    taught: np.ndarray
    strangers: np.ndarray


def learn(
    head: Head,
    statistics: Statistics,
    temperature: float,
    embeddings: np.ndarray,
    labels: np.ndarray,
) -> Learned:
    """Fit columns for the taught classes, and shift them by what held-out photos say.

    >>> learned = learn(head, statistics, 1.0, embeddings, np.full(10, 102))

    Args:
        head: a head for the first classes of `statistics`.
        temperature: that of the calibrated probabilities.
        embeddings: those of the taught photos, `(T, D)`.
        labels: int `(T,)`. Labels of known classes fit their columns again; labels beyond are new
            classes, without gaps.
    """
    new = grown(head, statistics, temperature, embeddings, labels)
    held_out, taught, strangers = _held_out_answers(
        head, statistics, temperature, embeddings, labels
    )
    columns = np.unique(labels)
    told = np.isfinite(taught).all(axis=1)
    before = statistics.held_out @ head.kernel + head.bias
    shift = temperature * _shift(
        np.vstack([held_out, taught[told], strangers]) / temperature,
        np.concatenate([statistics.held_out_labels, labels[told], np.full(len(strangers), -1)]),
        columns,
        before / temperature,
        _unknown(before, temperature),
    )
    bias = new.bias.copy()
    for values in (bias, held_out.T, taught.T, strangers.T):
        values[columns] -= shift
    return Learned(Head(new.kernel, bias), held_out, taught, strangers)


def _unknown(logits: np.ndarray, temperature: float) -> float:
    """The extra logit: that of a doubtful photo among held-out photos with `logits` `(H, C)`."""
    return np.quantile(log_sum_exp(logits, temperature), UNKNOWN) if len(logits) else -np.inf


def _held_out_answers(
    head: Head,
    statistics: Statistics,
    temperature: float,
    embeddings: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of held-out, taught and other photos, each from a head that was fitted without it.

    A fifth is left out at a time, and one taught photo of each class with up to `FOLDS` photos. The
    logits of a class's only photo are NaN.
    """
    count = max(len(head.bias), int(labels.max()) + 1)
    held_out = np.empty((len(statistics.held_out), count))
    taught = np.full((len(labels), count), np.nan)
    strangers = np.empty((len(statistics.strangers), count))
    # The photos of a class are spread over the folds.
    order = np.argsort(statistics.held_out_labels, kind="stable")
    folds = np.empty(len(order), int)
    folds[order] = np.arange(len(order)) % FOLDS
    places = np.zeros(len(labels), int)  # the index of each photo within its class
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        places[own] = np.arange(len(own))
    single = np.bincount(labels, minlength=count)[labels] == 1
    for fold in range(FOLDS):
        kept, strange = folds != fold, np.arange(len(strangers)) % FOLDS != fold
        out = (places % FOLDS == fold) & ~single
        rest = dataclasses.replace(
            statistics,
            held_out=statistics.held_out[kept],
            held_out_labels=statistics.held_out_labels[kept],
            held_out_sources=statistics.held_out_sources[kept],
            strangers=statistics.strangers[strange],
            stranger_kinds=statistics.stranger_kinds[strange],
        )
        without = grown(head, rest, temperature, embeddings[~out], labels[~out])
        for answers, rows, photos in (
            (held_out, ~kept, statistics.held_out),
            (taught, out, embeddings),
            (strangers, ~strange, statistics.strangers),
        ):
            answers[rows] = photos[rows] @ without.kernel + without.bias
    return held_out, taught, strangers


def _shift(
    logits: np.ndarray, labels: np.ndarray, columns: np.ndarray, before: np.ndarray, unknown: float
) -> float:
    """By how much to lower the fitted columns, in units of the temperature.

    The photos of the taught classes, of all other classes and of other things weigh the same.

    Args:
        logits: held-out logits at temperature 1, `(N, C)`.
        labels: int `(N,)`; -1 for other things.
        columns: those that were fitted.
        before: logits of the first H of these photos from the head before, at temperature 1;
            all photos of other classes are among them.
        unknown: the extra logit.
    """
    fitted = np.isin(np.arange(logits.shape[1]), columns)
    strange = labels < 0
    ours = fitted[labels] & ~strange
    others = ~ours & ~strange
    if not others.any():
        return 0.0
    photos = np.flatnonzero(others)
    own = logits[np.arange(len(labels)), labels]
    around, new = (log_sum_exp(logits[photos][:, part], SOFTENED) for part in (~fitted, fitted))
    least = softmax(before[photos], SOFTENED)[np.arange(len(photos)), labels[photos]].mean() - COST

    def after(shift: float) -> float:
        logs = own[photos] / SOFTENED - np.logaddexp(around, new - shift / SOFTENED)
        return np.exp(logs).mean()

    allowed = SHIFTS[[after(shift) >= least or shift == SHIFTS[-1] for shift in SHIFTS]]
    if not ours.any():
        return allowed[allowed >= 0][0]
    rest, taught = log_sum_exp(logits[:, ~fitted], 1.0), log_sum_exp(logits[:, fitted], 1.0)
    rest = np.where(strange, np.logaddexp(rest, unknown), rest)
    own = np.where(strange, rest, own)
    weights = sum(kind / max(kind.sum(), 1) for kind in (ours, others, strange))

    def loss(shift: float) -> float:
        return weights @ (np.logaddexp(rest, taught - shift) - own + shift * ours)

    return min(allowed, key=loss)


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
        head: a head for C classes, the first C of `statistics`.
        temperature: that of the calibrated probabilities.
        embeddings: those of the taught photos, `(T, D)`.
        labels: int `(T,)`. Labels below C are known classes, whose columns are fitted again; labels
            from C on are new classes, without gaps.
    """
    embeddings = np.asarray(embeddings, np.float64)
    known = len(head.bias)
    taught = np.unique(labels)
    count = max(known, int(taught.max()) + 1)
    kernel = np.hstack([head.kernel, np.zeros((len(head.kernel), count - known))])
    bias = np.concatenate([head.bias, np.zeros(count - known)])
    # Adding the same vector to all columns changes nothing, so a new one starts at their mean.
    kernel[:, known:] = head.kernel.mean(axis=1, keepdims=True)
    bias[known:] = head.bias.mean()

    rows, classes, weights = _lesson(statistics, known, embeddings, labels)
    fixed = np.setdiff1d(np.arange(count), taught)
    rest = np.full(len(rows), -np.inf)
    if len(fixed):
        rest = log_sum_exp(rows @ kernel[:, fixed] + bias[fixed], temperature)
    unknown = _unknown(statistics.held_out @ head.kernel + head.bias, temperature)
    rest = np.logaddexp(rest, unknown)
    right = classes[:, None] == taught  # (rows, taught); all False for other classes and strangers

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
    kernel = kernel.astype(narrowed(head.kernel).dtype)  # stored in float16 as before
    return Head(kernel.astype(np.float32), bias.astype(np.float32))


def _lesson(
    statistics: Statistics, known: int, embeddings: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The training set: embeddings `(n, D)`, their classes (-1 for strangers), and weights."""
    random = np.random.default_rng(0)
    within = shrunk(statistics.covariance.astype(np.float64), SHRINKAGE)
    root = np.linalg.cholesky(within)
    means = statistics.means[:known].astype(np.float64)
    center = means.mean(axis=0)
    apart = means - center
    between = shrunk(apart.T @ apart / (len(means) - 1), 0.5)

    def drawn(mean: np.ndarray, root: np.ndarray) -> np.ndarray:
        half = random.standard_normal((DRAWS // 2, len(root))) @ root.T
        return np.vstack([mean + half, mean - half])

    parts = [(drawn(mean, root), label, DRAWN) for label, mean in enumerate(means)]
    taught = np.unique(labels)
    for label in taught:
        own = embeddings[labels == label]
        if label < known:  # the samples stand for the old photos, which are not available
            real = len(own) / (len(own) + statistics.counts[label])
            parts += [(own, label, real)]
            parts[label] = (*parts[label][:2], 1 - real)
            continue
        parts.append((own, label, REAL))
        # The mean of n photos has a covariance of `within / n`; weigh it against the other classes.
        trust = np.linalg.solve(between + within / len(own), between).T
        mean = center + trust @ (own.mean(axis=0) - center)
        spread = within + between - trust @ between
        parts.append((drawn(mean, np.linalg.cholesky((spread + spread.T) / 2)), label, 1 - REAL))
    # Held-out photos of a class that is fitted again would keep its column where it was.
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
    """Photos of other things, without those that look like a taught class, which they may show."""
    strangers = statistics.strangers.astype(np.float64)
    keep = np.ones(len(strangers), bool)
    for label in np.unique(labels):
        own = embeddings[labels == label] - center
        if len(own) < 2:
            continue
        rest = (own.sum(axis=0) - own) / (len(own) - 1)  # leave-one-out means
        usual = np.quantile(_cosines(own, rest), ALIKE)
        keep &= _cosines(strangers - center, own.mean(axis=0)) < usual
    return strangers[keep]


def _cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=-1) * np.linalg.norm(others, axis=-1)
    return (rows * others).sum(axis=-1) / np.maximum(lengths, 1e-12)


def shrunk(covariance: np.ndarray, share: float) -> np.ndarray:
    """A covariance mixed with `share` of a sphere of the same trace; positive definite."""
    depth = len(covariance)
    variance = max(np.trace(covariance) / depth, 1e-12)
    return (1 - share) * covariance + share * variance * np.eye(depth)


def _minimized(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray
) -> np.ndarray:
    """The minimum of a smooth convex function, found by L-BFGS."""
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
            moves = [*moves[1 - HISTORY :], (move, turn, 1 / (move @ turn))]
        if gained < 1e-9 * max(abs(value), 1e-3):
            break
    return place
