// Fits temperature, refusal and label sets on held-out answers, like flowers_model/calibration.py.

import {ranked, softmax} from "../judge.js";
import {quantile} from "./matrix.js";

const SOURCE_PHOTOS = 20; // a source with fewer photos counts for the temperature only

// The temperature in 0.05..20 that minimizes the loss of `softmax(logits / T)`.
export function fitTemperature(logits, labels, weights) {
    const all = weights.reduce((a, b) => a + b);
    const loss = (log) => {
        const temperature = Math.exp(log);
        return logits.reduce((sum, values, i) => {
            const top = values.reduce((a, b) => Math.max(a, b));
            let total = 0;
            for (const value of values) total += Math.exp((value - top) / temperature);
            const share = Math.exp((values[labels[i]] - top) / temperature) / total;
            return sum - (weights[i] * Math.log(Math.max(share, 1e-300))) / all;
        }, 0);
    };
    return Math.exp(goldenSection(loss, Math.log(0.05), Math.log(20)));
}

// The rows of each source that the promises hold for; if all are too small, all rows as one source.
export function largeSources(sources) {
    const large = sources.filter((rows) => rows.length >= SOURCE_PHOTOS);
    return large.length ? large : [sources.flat().sort((a, b) => a - b)];
}

// Center and threshold of a refusal score: each source keeps this share of its photos.
export function refusalBounds(scores, sources, keeps) {
    const center = quantile(scores, 0.5);
    const bounds = sources.map((rows) => quantile(rows.map((i) => scores[i]), keeps));
    return {center, threshold: Math.max(...bounds, center + 1e-9 + 1e-6 * Math.abs(center))};
}

// The limit with which the label sets of each source contain the right name this often.
export function labelSetLimit(logits, temperature, labels, sources, coverage) {
    const needed = logits.map((values, i) => {
        const shares = softmax(values, temperature);
        let before = 0;
        for (const k of ranked(shares)) {
            if (k === labels[i]) return before;
            before += shares[k];
        }
    });
    return Math.max(...sources.map((rows) => conformalQuantile(rows.map((i) => needed[i]), coverage)));
}

// The bound that the score of a new photo does not exceed, with at least this probability.
function conformalQuantile(scores, coverage) {
    const rank = Math.ceil((scores.length + 1) * coverage);
    return rank <= scores.length ? Float64Array.from(scores).sort()[rank - 1] : 1;
}

// The position of the only minimum of a function between `low` and `high`, to within 1e-6.
function goldenSection(loss, low, high) {
    const share = (Math.sqrt(5) - 1) / 2;
    let [left, right] = [high - share * (high - low), low + share * (high - low)];
    let [atLeft, atRight] = [loss(left), loss(right)];
    while (high - low > 1e-6) {
        if (atLeft <= atRight) {
            [high, right, atRight] = [right, left, atLeft];
            left = high - share * (high - low);
            atLeft = loss(left);
        } else {
            [low, left, atLeft] = [left, right, atRight];
            right = low + share * (high - low);
            atRight = loss(right);
        }
    }
    return (low + high) / 2;
}
