// From the network's outputs to predictions, like flowers_model/classifier.py and uncertainty.py.

export function softmax(logits, temperature = 1) {
    const scaled = Array.from(logits, (logit) => logit / temperature);
    const highest = scaled.reduce((a, b) => Math.max(a, b));
    const powers = scaled.map((value) => Math.exp(value - highest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
}

// A vector scaled to unit length.
export function direction(vector) {
    const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
    return Array.from(vector, (value) => value / Math.max(length, 1e-12));
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

// The indices of the values in descending order; ties keep their order.
export const ranked = (values) => [...values.keys()].sort((a, b) => values[b] - values[a] || a - b);

export class Judge {
    // means: the classes' mean embeddings, scaled to unit length, if the refusal score needs them.
    constructor({class_names, calibration}, means) {
        this.names = class_names;
        this.calibration = calibration;
        this.means = means;
    }

    // The answer to one photo: probabilities of all classes and the refusal score; above 1 refuses.
    of(logits, embedding) {
        const probabilities = softmax(logits, this.calibration.temperature);
        return {probabilities, embedding, score: this.#score(logits, embedding)};
    }

    // Combines the answers to several photos of one plant into one.
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

    // The prediction for an answer: the `top` likeliest names, the refusal and the label set.
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

// An unscaled refusal score, higher for stranger photos; see `SCORES` in
// flowers_model/uncertainty.py.
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

// The indices of the `known` directions, the nearest to an embedding first. With a single one,
// being the nearest means nothing, so there are none.
export function nearest(known, embedding) {
    if (known.length < 2) return [];
    const mine = direction(embedding);
    return ranked(known.map((one) => dot(one, mine)));
}
