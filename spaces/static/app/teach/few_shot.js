// Adds columns to the head for new classes, with the same result as flowers_model/few_shot.py.

import {Normals} from "./random.js";
import {addProducts, cholesky, dot, forward, gram, joined, less, mean, product, quantile, row, spread, transposed} from "./matrix.js";

const DRAWS = 20; // embeddings sampled per class, in pairs with opposite signs
const SHRINKAGE = 0.3; // of the shared covariance towards a sphere; that of the means uses 0.5
// The weights of an old class relative to a new one: of its sampled embeddings and, on average, of
// its held-out photos.
const [DRAWN, HELD_OUT] = [0.5, 0.5];
const REAL = 0.7; // the weight of a new class's photos; its sampled embeddings have the rest
const STRANGERS = 2; // the weight of all photos of other things together, relative to one class
const UNKNOWN = 0.1; // the quantile of the held-out photos' log-sum-exp that sets the extra logit
const PENALTY = 2e-4; // on the squared distance of a column from its initial value
const ALIKE = 0.5; // the quantile of a class's own similarities that a stranger must stay below
const STEPS = 200;
const HISTORY = 40; // steps from which L-BFGS estimates the curvature
const FOLDS = 5; // for held-out answers; up to five taught photos of a class are held out one by one
const SHIFTS = Array.from({length: 121}, (_, i) => (i - 60) / 10); // by which columns may be lowered
// The probability that the right class of held-out photos of other classes may lose on average, at
// SOFTENED times the temperature. (A bound on how many photos become wrong would depend on one or
// two of them.)
const [COST, SOFTENED] = [0.01, 1.5];

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
        const root = cholesky(this.within, n);
        this.old = joined(Array.from({length: count}, (_, label) => drawn(random, row(means, label, n), root)).flat());
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

// Embeddings sampled around a mean, where `root` is the Cholesky factor of their covariance.
function drawn(random, mean, root) {
    const n = mean.length;
    const half = spread(root, random.draw((DRAWS / 2) * n), n);
    return [1, -1].flatMap((sign) => Array.from({length: DRAWS / 2}, (_, i) => row(half, i, n).map((value, j) => mean[j] + sign * value)));
}

// Fits columns for the taught classes, and shifts them by what held-out photos say.
// Args:
//     temperature: that of the calibrated probabilities.
//     rows: embeddings of the taught photos; labels: their classes; labels beyond the head's
//         classes are new ones.
// Returns the head, and the logits of the held-out and the taught photos from heads that were
// fitted without them; null for the only photo of a class.
export function learn(past, temperature, rows, labels) {
    const {head, search} = grown(past, temperature, rows, labels);
    const {heldOut, taught, strangers} = heldOutAnswers(past, temperature, rows, labels, search);
    const {held_out_labels} = past.statistics;
    const columns = new Set(labels);
    const photos = heldOut.map((values, i) => ({values, label: held_out_labels[i], before: past.heldOutLogits[i]}));
    taught.forEach((values, i) => values && photos.push({values, label: labels[i]}));
    for (const values of strangers) photos.push({values, label: -1});
    const lower = temperature * shift(photos, columns, temperature, unknown(past.heldOutLogits, temperature));
    for (const label of columns) {
        head.bias[label] = Math.fround(head.bias[label] - lower);
        for (const values of [...heldOut, ...taught]) if (values) values[label] -= lower;
    }
    return {head, heldOut, taught};
}

// The extra logit, the same for all photos, stands for "none of the known classes": that of a
// doubtful photo among held-out photos with these logits.
function unknown(heldOut, temperature) {
    const sums = heldOut.map((values) => logSumExp(values, [], temperature));
    return sums.length ? quantile(sums, UNKNOWN) : -Infinity;
}

// The logits of held-out, taught and other photos, each from a head that was fitted without it. A
// fifth is left out at a time, and one taught photo of each class with up to `FOLDS` photos.
// Args:
//     search: the end of the one with all photos, where the searches for the other heads start.
function heldOutAnswers(past, temperature, rows, labels, search) {
    const {held_out, held_out_labels, strangers: others, depth: n} = past.statistics;
    const places = labels.map((label, i) => labels.slice(0, i).filter((one) => one === label).length);
    const single = labels.map((label) => labels.filter((one) => one === label).length === 1);
    // The photos of a class are spread over the folds.
    const order = [...held_out_labels.keys()].sort((a, b) => held_out_labels[a] - held_out_labels[b] || a - b);
    const folds = [];
    order.forEach((photo, i) => (folds[photo] = i % FOLDS));
    const strange = Array.from({length: others.length / n}, (_, i) => i % FOLDS);
    const [heldOut, taught, strangers] = [folds, labels, strange].map((those) => those.map(() => null));
    for (let fold = 0; fold < FOLDS; fold++) {
        const out = labels.map((_, i) => places[i] % FOLDS === fold && !single[i]);
        const kept = (values) => values.filter((_, i) => !out[i]);
        const except = (those) => those.flatMap((one, i) => (one === fold ? [] : [i]));
        const rest = {heldOut: except(folds), strangers: except(strange)};
        const without = grown(past, temperature, kept(rows), kept(labels), rest, search).head;
        out.forEach((one, i) => one && (taught[i] = logits(without, rows[i])));
        folds.forEach((one, i) => one === fold && (heldOut[i] = logits(without, row(held_out, i, n))));
        strange.forEach((one, i) => one === fold && (strangers[i] = logits(without, row(others, i, n))));
    }
    return {heldOut, taught, strangers};
}

// By how much to lower the fitted columns, in units of the temperature. The photos of the taught
// classes, of all other classes and of other things weigh the same.
// Args:
//     photos: held-out logits and labels (-1 for other things), and the logits from the head before;
//         unknown: the extra logit.
function shift(photos, columns, temperature, unknown) {
    const fitted = [...columns];
    const sums = (values, softened) => ({
        taught: logSumExp(fitted.map((k) => values[k]), [], softened * temperature),
        rest: logSumExp(values, fitted, softened * temperature),
    });
    const kinds = {ours: [], others: [], strange: []};
    for (const {values, label, before} of photos) {
        const {taught, rest} = sums(values, 1);
        if (label < 0) {
            const strange = logAddExp(unknown, rest);
            kinds.strange.push({taught, rest: strange, own: strange});
        } else kinds[columns.has(label) ? "ours" : "others"].push({taught, rest, own: values[label] / temperature, values, label, before});
    }
    if (!kinds.others.length) return 0;
    const softened = kinds.others.map(({values, label, before}) => {
        const own = (one) => one[label] / (SOFTENED * temperature);
        return {...sums(values, SOFTENED), own: own(values), before: Math.exp(own(before) - logSumExp(before, [], SOFTENED * temperature))};
    });
    const lost = (by) =>
        softened.reduce((sum, {taught, rest, own, before}) => sum + before - Math.exp(own - logAddExp(taught - by / SOFTENED, rest)), 0) /
        softened.length;
    const allowed = SHIFTS.filter((by) => lost(by) <= COST || by === SHIFTS.at(-1));
    if (!kinds.ours.length) return allowed.find((by) => by >= 0);
    const losses = allowed.map((by) =>
        Object.entries(kinds).reduce((sum, [kind, parts]) => {
            const loss = ({taught, rest, own}) => logAddExp(taught - by, rest) - own + (kind === "ours" ? by : 0);
            return sum + parts.reduce((total, part) => total + loss(part), 0) / Math.max(parts.length, 1);
        }, 0),
    );
    return allowed[losses.indexOf(Math.min(...losses))];
}

// The head with new columns for taught classes, and the end of the search for them.
// Args:
//     others: the indices of the held-out photos, and of the photos of other things, to fit on.
//     begin: the end of a search for the same columns, where this one starts, to converge sooner.
function grown(past, temperature, rows, labels, others = null, begin = null) {
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

    const {heldOut, strangers} = others ?? {heldOut: [...past.heldOutLogits.keys()], strangers: [...past.strangerLogits.keys()]};
    const lesson = gather(past, rows, labels, taught, heldOut, strangers);
    const none = unknown(heldOut.map((i) => past.heldOutLogits[i]), temperature);
    const rest = lesson.logits.map((values) => logAddExp(logSumExp(values, taught, temperature), none));
    const right = lesson.classes.map((label) => taught.indexOf(label));
    const square = rows.reduce((sum, {length}, i) => sum + dot(rows[i], rows[i]) / length, 0) / rows.length;
    const start = joined(taught.flatMap((label) => [row(kernel, label, n), [bias[label]]])).map((value) => value / temperature);
    const loss = lossOf(lesson, rest, right, start, PENALTY * square);
    const search = minimized(loss, begin ?? {place: start, moves: []});

    const width = n + 1; // a column with its bias
    const columns = search.place.map((value) => value * temperature);
    taught.forEach((label, k) => {
        row(kernel, label, n).set(columns.subarray(k * width, k * width + n));
        bias[label] = Math.fround(columns[k * width + n]);
    });
    return {head: {kernel: head.narrow ? kernel.map(narrowed) : kernel.map(Math.fround), bias, narrow: head.narrow}, search};
}

// The function to minimize: from columns, each followed by its bias, to the loss and its gradient.
// Args:
//     rest: the log-sum-exp of the other classes' logits for each row; right: which column each row
//         belongs to, or -1; start: initial columns; penalty: on the squared distance from them.
function lossOf({rows, weights}, rest, right, start, penalty) {
    const data = joined(rows.flatMap((one) => [one, [1]])); // the 1 is for the bias
    const width = data.length / rows.length;
    const said = new Float64Array(start.length / width);
    const off = new Float64Array(rows.length * said.length); // the gradient by logits
    return (columns) => {
        const change = columns.map((value, place) => ((place + 1) % width ? value - start[place] : 0));
        const slope = change.map((one) => penalty * one);
        let value = (penalty / 2) * dot(change, change);
        for (let i = 0; i < rest.length; i++) {
            let top = rest[i];
            for (let k = 0; k < said.length; k++) {
                said[k] = product(data, i * width, columns, k * width, width);
                if (said[k] > top) top = said[k];
            }
            let total = Math.exp(rest[i] - top);
            for (let k = 0; k < said.length; k++) total += Math.exp(said[k] - top);
            value += weights[i] * (top + Math.log(total) - (right[i] < 0 ? rest[i] : said[right[i]]));
            for (let k = 0; k < said.length; k++)
                off[k * rest.length + i] = weights[i] * (Math.exp(said[k] - top) / total - (right[i] === k ? 1 : 0));
        }
        addProducts(slope, off, data, width);
        return [value, slope];
    };
}

// The training set: rows, their classes (-1 for strangers) and weights, and their logits from the
// old head.
function gather(past, embeddings, labels, taught, replayed, others) {
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
        const likely = center.map((value, j) => value + dot(row(trust.half, j, n), back));
        add(drawn(random, likely, trust.spread), label, 1 - REAL);
    }
    const {held_out, held_out_labels} = statistics;
    const fixed = replayed.filter((i) => held_out_labels[i] < known && !taught.includes(held_out_labels[i]));
    for (const i of fixed)
        parts.push({
            rows: [row(held_out, i, n)],
            logits: [past.heldOutLogits[i]],
            label: held_out_labels[i],
            share: (HELD_OUT * known) / fixed.length,
        });
    const strange = strangers(statistics, others, embeddings, labels, taught, center);
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
function strangers(statistics, others, embeddings, labels, taught, center) {
    const n = statistics.depth;
    let kept = others;
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

// The minimum of a smooth convex function, found by L-BFGS, and its last moves. The moves of another
// search with similar curvature save steps.
function minimized(loss, {place, moves}) {
    let [value, slope] = loss(place);
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
        if (bend > 1e-12) moves = [...moves.slice(1 - HISTORY), {move, turn, scale: 1 / bend}];
        if (gained < 1e-9 * Math.max(Math.abs(value), 1e-3)) break;
    }
    return {place, moves};
}

// Rounds to the nearest float16 value, ties to even.
function narrowed(value) {
    const size = Math.max(Math.abs(value), 2 ** -14);
    const step = 2 ** (Math.floor(Math.log2(size)) - 10);
    const [whole, rest] = [Math.floor(value / step), value / step - Math.floor(value / step)];
    const up = rest > 0.5 || (rest === 0.5 && whole % 2 !== 0);
    return (whole + up) * step;
}
