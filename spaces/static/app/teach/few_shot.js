// Adds columns to the head for new classes, with the same result as flowers_model/few_shot.py.

import {Normals} from "./random.js";
import {cholesky, dot, forward, gram, joined, less, mean, product, quantile, row, spread, transposed} from "./matrix.js";

const DRAWS = 20; // embeddings sampled per class
const SHRINKAGE = 0.3; // of the shared covariance towards a sphere; that of the means uses 0.5
// The weights of an old class relative to a new one: of its sampled embeddings and, on average, of
// its held-out photos.
const [DRAWN, HELD_OUT] = [0.5, 0.5];
const REAL = 0.7; // the weight of a new class's photos; its sampled embeddings have the rest
const STRANGERS = 2; // the weight of all photos of other things together, relative to one class
const UNKNOWN = 0.1; // the quantile of the held-out photos' log-sum-exp that sets the extra logit
const PENALTY = 2.6e-3; // on the squared distance of a column from its initial value
const ALIKE = 0.5; // the quantile of a class's own similarities that a stranger must stay below
const STEPS = 100;

// A covariance mixed with `share` of a sphere of the same trace.
function shrunk(covariance, n, share) {
    let trace = 0;
    for (let i = 0; i < n; i++) trace += covariance[i * (n + 1)];
    const variance = Math.max(trace / n, 1e-12);
    return covariance.map((value, place) => (1 - share) * value + (place % (n + 1) ? 0 : share * variance));
}

const cosine = (a, b) => dot(a, b) / Math.max(Math.sqrt(dot(a, a) * dot(b, b)), 1e-12);

// The logits of an embedding; the kernel (D, C) is stored column by column.
export const logits = ({kernel, bias}, embedding) =>
    bias.map((value, k) => value + dot(row(kernel, k, embedding.length), embedding));

// What does not depend on the taught photos, such as the samples that stand for the old classes.
export class Past {
    // Args:
    //     statistics: those of the bundle; head: its last layer.
    constructor(statistics, head) {
        Object.assign(this, {statistics, head});
        const {depth: n, means} = statistics;
        const count = means.length / n;
        this.center = mean(means, n);
        const apart = less(means, this.center);
        const between = gram(transposed(apart, n), count).map((value) => value / (count - 1));
        this.between = shrunk(between, n, 0.5);
        this.within = shrunk(statistics.covariance, n, SHRINKAGE);
        const random = new Normals();
        const drawn = spread(cholesky(this.within, n), random.draw(count * DRAWS * n), n);
        this.old = drawn.map((value, place) => value + means[Math.floor(place / (DRAWS * n)) * n + (place % n)]);
        this.random = random;
        this.oldLogits = this.#logits(this.old);
        this.strangerLogits = this.#logits(statistics.strangers);
        this.heldOutLogits = this.#logits(statistics.held_out);
        this.trusts = new Map();
    }

    #logits(rows) {
        const {depth: n} = this.statistics;
        return Array.from({length: rows.length / n}, (_, i) => logits(this.head, row(rows, i, n)));
    }

    // The factors that estimate the mean of a new class and the spread of its photos, for a number
    // of photos n, whose own mean has a covariance of `within / n`.
    trust(photos) {
        if (!this.trusts.has(photos)) {
            const {depth: n} = this.statistics;
            const root = cholesky(this.between.map((value, place) => value + this.within[place] / photos), n);
            const half = forward(root, this.between, n); // each row a column of root^-1 @ between
            const known = gram(half, n);
            const around = known.map((value, place) => this.within[place] + this.between[place] - value);
            this.trusts.set(photos, {root, half, spread: cholesky(around, n)});
        }
        return this.trusts.get(photos);
    }
}

// The head with new columns for taught classes.
// Args:
//     temperature: that of the calibrated probabilities.
//     rows: embeddings of the taught photos; labels: their classes; labels beyond the head's
//         classes are new ones.
//     guess: a head with the same columns, which the search starts from to converge sooner.
export function grown(past, temperature, rows, labels, guess = null) {
    const {statistics, head} = past;
    const n = statistics.depth;
    const known = head.bias.length;
    const taught = [...new Set(labels)].sort((a, b) => a - b);
    const count = Math.max(known, taught.at(-1) + 1);
    const kernel = joined([head.kernel, new Float64Array((count - known) * n)]);
    const bias = joined([head.bias, new Float64Array(count - known)]);
    for (let label = known; label < count; label++) {
        row(kernel, label, n).set(mean(head.kernel, n));
        bias[label] = mean(head.bias, 1)[0];
    }

    const lesson = gather(past, rows, labels, taught);
    // An extra logit, the same for all photos, stands for "none of the known classes".
    const heldOut = past.heldOutLogits.map((values) => logSumExp(values, [], temperature));
    const unknown = heldOut.length ? quantile(heldOut, UNKNOWN) : -Infinity;
    const rest = lesson.logits.map((values) => logAddExp(logSumExp(values, taught, temperature), unknown));
    const width = n + 1; // a column with its bias
    const columnsOf = (one) =>
        joined(taught.map((label) => joined([row(one.kernel, label, n), [one.bias[label]]]))).map((value) => value / temperature);
    const start = columnsOf({kernel, bias});
    const square = rows.reduce((sum, {length}, i) => sum + dot(rows[i], rows[i]) / length, 0) / rows.length;
    const penalty = PENALTY * square;
    const right = lesson.classes.map((label) => taught.indexOf(label));

    const data = joined(lesson.rows);
    const said = new Float64Array(taught.length);
    const loss = (columns) => {
        const slope = columns.map((value, place) => (place % width === n ? 0 : penalty * (value - start[place])));
        let value = 0;
        for (let place = 0; place < columns.length; place++)
            if (place % width !== n) value += (penalty / 2) * (columns[place] - start[place]) ** 2;
        for (let i = 0; i < rest.length; i++) {
            const base = i * n;
            let top = rest[i];
            for (let k = 0; k < said.length; k++) {
                said[k] = columns[k * width + n] + product(data, base, columns, k * width, n);
                if (said[k] > top) top = said[k];
            }
            let total = Math.exp(rest[i] - top);
            for (let k = 0; k < said.length; k++) total += Math.exp(said[k] - top);
            const weight = lesson.weights[i];
            value += weight * (top + Math.log(total) - (right[i] < 0 ? rest[i] : said[right[i]]));
            for (let k = 0; k < said.length; k++) {
                const off = weight * (Math.exp(said[k] - top) / total - (right[i] === k ? 1 : 0));
                slope[k * width + n] += off;
                for (let j = 0, to = k * width; j < n; j++) slope[to + j] += off * data[base + j];
            }
        }
        return [value, slope];
    };

    const columns = minimized(loss, guess ? columnsOf(guess) : start).map((value) => value * temperature);
    taught.forEach((label, k) => {
        row(kernel, label, n).set(columns.subarray(k * width, k * width + n));
        bias[label] = Math.fround(columns[k * width + n]);
    });
    return {kernel: head.narrow ? kernel.map(narrowed) : kernel.map(Math.fround), bias, narrow: head.narrow};
}

// The training set: rows, their classes (-1 for strangers) and weights, and their logits from the
// old head.
function gather(past, embeddings, labels, taught) {
    const {statistics, head, center, within, between} = past;
    const n = statistics.depth;
    const known = head.bias.length;
    const random = past.random.clone();
    const parts = Array.from({length: known}, (_, label) => ({
        rows: Array.from({length: DRAWS}, (_, i) => row(past.old, label * DRAWS + i, n)),
        logits: past.oldLogits.slice(label * DRAWS, (label + 1) * DRAWS),
        label,
        share: DRAWN,
    }));
    const add = (rows, label, share) =>
        parts.push({rows, logits: rows.map((one) => logits(head, one)), label, share});
    for (const label of taught) {
        const own = embeddings.filter((_, i) => labels[i] === label);
        if (label < known) {
            // The sampled embeddings stand for the old photos, which are not available.
            const real = own.length / (own.length + statistics.counts[label]);
            add(own, label, real);
            parts[label].share = 1 - real;
            continue;
        }
        add(own, label, REAL);
        const trust = past.trust(own.length);
        const off = less(mean(joined(own), n), center);
        const back = forward(trust.root, off, n);
        const drawn = spread(trust.spread, random.draw(DRAWS * n), n);
        const likely = center.map((value, j) => value + dot(row(trust.half, j, n), back));
        add(
            Array.from({length: DRAWS}, (_, i) => row(drawn, i, n).map((value, j) => value + likely[j])),
            label,
            1 - REAL,
        );
    }
    const {held_out, held_out_labels} = statistics;
    const replayed = [...held_out_labels.keys()].filter((i) => {
        const label = held_out_labels[i];
        return label < known && !taught.includes(label);
    });
    for (const i of replayed)
        parts.push({
            rows: [row(held_out, i, n)],
            logits: [past.heldOutLogits[i]],
            label: held_out_labels[i],
            share: (HELD_OUT * known) / replayed.length,
        });
    const strange = strangers(statistics, embeddings, labels, taught, center);
    if (strange.length)
        parts.push({
            rows: strange.map((i) => row(statistics.strangers, i, n)),
            logits: strange.map((i) => past.strangerLogits[i]),
            label: -1,
            share: STRANGERS,
        });
    const all = parts.reduce((sum, {share}) => sum + share, 0);
    return {
        rows: parts.flatMap(({rows}) => rows),
        logits: parts.flatMap((part) => part.logits),
        classes: parts.flatMap(({rows, label}) => rows.map(() => label)),
        weights: parts.flatMap(({rows, share}) => rows.map(() => share / rows.length / all)),
    };
}

// The indices of the photos of other things, without those that look like a taught class.
function strangers(statistics, embeddings, labels, taught, center) {
    const n = statistics.depth;
    let kept = [...Array(statistics.strangers.length / n).keys()];
    for (const label of taught) {
        const own = embeddings.filter((_, i) => labels[i] === label).map((one) => less(one, center));
        if (own.length < 2) continue;
        const sum = mean(joined(own), n).map((value) => value * own.length);
        const others = own.map((one) => sum.map((value, j) => (value - one[j]) / (own.length - 1)));
        const usual = quantile(own.map((one, i) => cosine(one, others[i])), ALIKE);
        const middle = sum.map((value) => value / own.length);
        kept = kept.filter((i) => cosine(less(row(statistics.strangers, i, n), center), middle) < usual);
    }
    return kept;
}

// The log-sum-exp of the logits of all classes except the taught ones, at the temperature.
function logSumExp(values, taught, temperature) {
    let top = -Infinity;
    for (let k = 0; k < values.length; k++) if (values[k] > top && !taught.includes(k)) top = values[k];
    let total = 0;
    for (let k = 0; k < values.length; k++) if (!taught.includes(k)) total += Math.exp((values[k] - top) / temperature);
    return top / temperature + Math.log(total);
}

// log(exp(a) + exp(b)) for finite `a`.
const logAddExp = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

// The minimum of a smooth convex function, found by L-BFGS with a history of ten steps.
function minimized(loss, start) {
    let place = start;
    let [value, slope] = loss(place);
    let moves = [];
    for (let step = 0; step < STEPS; step++) {
        let direction = slope.map((one) => -one);
        const shares = [];
        for (const {move, turn, scale} of [...moves].reverse()) {
            const share = scale * dot(move, direction);
            shares.unshift(share);
            direction = direction.map((one, i) => one - share * turn[i]);
        }
        if (moves.length) {
            const {turn, scale} = moves.at(-1);
            const size = scale * dot(turn, turn);
            direction = direction.map((one) => one / size);
        }
        moves.forEach(({move, turn, scale}, k) => {
            const share = shares[k] - scale * dot(turn, direction);
            direction = direction.map((one, i) => one + share * move[i]);
        });
        const descent = dot(slope, direction);
        const steepness = slope.reduce((sum, one) => sum + Math.abs(one), 0);
        let length = moves.length ? 1 : Math.min(1, 1 / Math.max(steepness, 1e-12));
        let ahead, there, downhill;
        for (;;) {
            ahead = place.map((one, i) => one + length * direction[i]);
            [there, downhill] = loss(ahead);
            if (there <= value + 1e-4 * length * descent || length < 1e-10) break;
            length /= 2;
        }
        const [move, turn] = [less(ahead, place), less(downhill, slope)];
        const gained = value - there;
        [place, value, slope] = [ahead, there, downhill];
        const bend = dot(move, turn);
        if (bend > 1e-12) moves = [...moves.slice(-9), {move, turn, scale: 1 / bend}];
        if (gained < 1e-9 * Math.max(Math.abs(value), 1e-3)) break;
    }
    return place;
}

// Rounds to the nearest float16 value, ties to even.
function narrowed(value) {
    const size = Math.max(Math.abs(value), 2 ** -14);
    const step = 2 ** (Math.floor(Math.log2(size)) - 10);
    const [whole, rest] = [Math.floor(value / step), value / step - Math.floor(value / step)];
    const up = rest > 0.5 || (rest === 0.5 && whole % 2 !== 0);
    return (whole + up) * step;
}
