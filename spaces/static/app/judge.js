// What a model makes of its network's outputs: flowers_model/classifier.py and uncertainty.py.

export function softmax(logits, temperature = 1) {
    const scaled = Array.from(logits, (logit) => logit / temperature);
    const highest = scaled.reduce((a, b) => Math.max(a, b));
    const powers = scaled.map((value) => Math.exp(value - highest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
}

// A vector divided by its length.
export function direction(vector) {
    const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
    return Array.from(vector, (value) => value / Math.max(length, 1e-12));
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

// Numbers by size, the largest first; among equals the first.
export const ranked = (values) => [...values.keys()].sort((a, b) => values[b] - values[a] || a - b);

export class Judge {
    // means: the directions of the classes' mean embeddings, where refusal goes by them.
    constructor({class_names, calibration}, means) {
        this.names = class_names;
        this.calibration = calibration;
        this.means = means;
    }

    // What one photo says: probabilities of all names, and the refusal score, above 1 is refused.
    of(logits, embedding) {
        const probabilities = softmax(logits, this.calibration.temperature);
        return {probabilities, embedding, score: this.#score(logits, embedding)};
    }

    // What photos of one plant say together, as one.
    together(answers) {
        const mean = (values) => values.reduce((a, b) => a + b) / values.length;
        const logs = this.names.map((_, k) =>
            mean(answers.map((one) => Math.log(Math.max(one.probabilities[k], 2.2250738585072014e-308)))),
        );
        const directions = answers.map((one) => direction(one.embedding));
        return {
            probabilities: softmax(logs),
            embedding: directions[0].map((_, i) => mean(directions.map((one) => one[i]))),
            score: answers[0].score === null ? null : mean(answers.map((one) => one.score)),
        };
    }

    // The likeliest names, and what is known of them.
    predict({probabilities, score}, top) {
        const order = ranked(probabilities);
        const limit = this.calibration.label_sets?.limit;
        let before = 0;
        const set = order.filter((k, rank) => {
            const kept = rank === 0 || before <= limit;
            before += probabilities[k];
            return kept;
        });
        return {
            numbers: order.slice(0, top),
            labels: order.slice(0, top).map((k) => this.names[k]),
            probabilities: order.slice(0, top).map((k) => probabilities[k]),
            refused: score !== null && score > 1,
            score,
            set: limit === undefined ? null : set.map((k) => this.names[k]),
        };
    }

    #score(logits, embedding) {
        const {refusal, temperature} = this.calibration;
        if (!refusal) return null;
        const raw = strangeness(refusal.score, logits, embedding, temperature, this.means);
        return (raw - refusal.center) / (refusal.threshold - refusal.center);
    }
}

// A refusal score before it is scaled, higher is stranger; flowers_model/uncertainty.py, `SCORES`.
export function strangeness(score, logits, embedding, temperature, means) {
    if (score === "distance") {
        const mine = direction(embedding);
        return -means.reduce((most, mean) => Math.max(most, dot(mine, mean)), -Infinity);
    }
    const scaled = Array.from(logits, (logit) => logit / temperature);
    const highest = scaled.reduce((a, b) => Math.max(a, b));
    const total = scaled.reduce((sum, value) => sum + Math.exp(value - highest), 0);
    return score === "probability" ? -1 / total : -temperature * (highest + Math.log(total));
}

// The numbers of the nearest of `known` directions to an embedding, the nearest first. Of a single
// one it would say nothing that it is the nearest.
export function nearest(known, embedding) {
    if (known.length < 2) return [];
    const mine = direction(embedding);
    return ranked(known.map((one) => dot(one, mine)));
}
