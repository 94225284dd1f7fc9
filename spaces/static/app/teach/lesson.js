// Teaches a model, as flowers_model/lesson.py does: the new head, its calibration, and how the
// model answers the taught photos. Figures that only a bundle's card shows are left out.

import {direction, strangeness} from "../judge.js";
import {fitTemperature, labelSetLimit, largeSources, refusalBounds} from "./calibration.js";
import {learn, Past} from "./few_shot.js";
import {argmax, row, transposed} from "./matrix.js";

// A model that can be taught.
export class Teacher {
    // Args:
    //     manifest: the bundle's manifest; arrays: those of its statistics.npz and head.npz.
    constructor(manifest, arrays) {
        const numbers = Object.fromEntries(Object.entries(arrays).map(([name, {data}]) => [name, data]));
        const [, depth] = arrays.means.shape;
        const covariance = new Float64Array(depth * depth); // the file has its upper triangle
        for (let i = 0, at = 0; i < depth; i++)
            for (let j = i; j < depth; j++, at++) covariance[i * depth + j] = covariance[j * depth + i] = numbers.covariance[at];
        this.manifest = manifest;
        this.statistics = {...numbers, depth, covariance};
        const kernel = transposed(numbers.kernel, manifest.class_names.length);
        this.past = new Past(this.statistics, {kernel, bias: numbers.bias, narrow: numbers.narrow[0] === 1});
    }

    // Args:
    //     photos: pairs of a class name and the embeddings of its photos, at least one.
    // Returns the taught model and, for each taught class, what a model taught without a photo says
    // of it, and the share that is right (null for a single photo).
    teach(photos) {
        const {statistics, past} = this;
        const {class_names, calibration} = this.manifest;
        const n = statistics.depth;
        const names = [...class_names, ...photos.map(([name]) => name).filter((name) => !class_names.includes(name))];
        const before = statistics.taught_labels.length;
        const rows = Array.from({length: before}, (_, i) => row(statistics.taught, i, n));
        const labels = [...statistics.taught_labels];
        for (const [name, those] of photos)
            for (const one of those) {
                rows.push(Float64Array.from(one));
                labels.push(names.indexOf(name));
            }
        const {head, heldOut, taught: answers} = learn(past, calibration.temperature, rows, labels);
        const means = newMeans(statistics, names.length, rows.slice(before), labels.slice(before)).map(direction);
        const judged = this.#judged(heldOut, rows, labels, answers);
        const fitted = recalibrated(calibration, judged, means);
        const said = answers.map((one, i) => one && {label: argmax(one), strange: refuses(fitted, one, rows[i], means)});
        let at = before;
        const classes = photos.map(([name, {length}]) => {
            const label = names.indexOf(name);
            const own = said.slice(at, (at += length));
            const right = own.every(Boolean) ? own.filter((one) => one.label === label).length / length : null;
            const doubts = own.map((one) => one && {name: names[one.label], strange: one.strange});
            return {name, label, photos: length, fresh: !class_names.includes(name), right, doubts};
        });
        const manifest = {...this.manifest, class_names: names, calibration: fitted};
        return {manifest, head, means, classes};
    }

    // Held-out answers: those to the bundle's held-out photos, and those to the taught photos,
    // which form a source.
    #judged(heldOut, rows, labels, answers) {
        const {held_out, held_out_labels, held_out_sources, depth: n} = this.statistics;
        const embeddings = Array.from(held_out_labels, (_, i) => row(held_out, i, n));
        const told = rows.flatMap((_, i) => (answers[i] ? [i] : []));
        return {
            logits: [...heldOut, ...told.map((i) => answers[i])],
            embeddings: [...embeddings, ...told.map((i) => rows[i])],
            labels: [...held_out_labels, ...told.map((i) => labels[i])],
            sources: [...held_out_sources, ...told.map(() => -1)],
        };
    }
}

// Whether a photo is refused at this calibration, for the directions of the class means.
function refuses({refusal, temperature}, logits, embedding, means) {
    return refusal && strangeness(refusal.score, logits, embedding, temperature, means) > refusal.threshold;
}

// Fits temperature, refusal threshold and limit of the label sets again: all old sources have the
// same weight, and the promises hold for every large source.
function recalibrated(calibration, judged, means) {
    const numbers = [...new Set(judged.sources)].sort((a, b) => a - b);
    const sources = numbers.map((number) => judged.sources.flatMap((one, i) => (one === number ? [i] : [])));
    const old = numbers.filter((number) => number >= 0).length || 1;
    const all = judged.sources.filter((number) => number >= 0).length;
    const weights = judged.sources.map(() => 1);
    numbers.forEach((number, k) => {
        if (number >= 0) for (const i of sources[k]) weights[i] = all / (old * sources[k].length);
    });
    const temperature = fitTemperature(judged.logits, judged.labels, weights);
    const large = largeSources(sources);
    let {refusal, label_sets: sets} = calibration;
    if (refusal) {
        const raw = judged.logits.map((one, i) => strangeness(refusal.score, one, judged.embeddings[i], temperature, means));
        refusal = {...refusal, ...refusalBounds(raw, large, refusal.keeps)};
    }
    if (sets) sets = {...sets, limit: labelSetLimit(judged.logits, temperature, judged.labels, large, sets.coverage)};
    return {...calibration, temperature, refusal, label_sets: sets};
}

// The classes' mean embeddings, updated with the new photos, as rows.
function newMeans({means, counts, depth: n}, count, rows, labels) {
    return Array.from({length: count}, (_, label) => {
        const own = rows.filter((_, i) => labels[i] === label);
        const [before, known] = label < counts.length ? [row(means, label, n), counts[label]] : [new Float64Array(n), 0];
        if (!own.length) return before;
        const total = known + own.length;
        return before.map((value, j) => Math.fround((known * value + own.reduce((sum, one) => sum + one[j], 0)) / total));
    });
}
