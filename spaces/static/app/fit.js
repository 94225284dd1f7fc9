// The centre square of a photo in one antialiased bilinear step, to the last bit as Pillow's
// `resize(..., BILINEAR, box=...)` makes it of 8-bit pictures; flowers_model/photo.py, `fit`.

const BITS = 22; // of the fraction of a weight

const triangle = (x) => Math.max(0, 1 - Math.abs(x));
triangle.support = 1;

// Catmull and Rom's, as Pillow has it.
export const cubic = (x) => {
    const a = -0.5;
    x = Math.abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
};
cubic.support = 2;

// Which inputs make each of `count` outputs between the places `from` and `to` of `length` inputs,
// and with what weights; those of one output add up to 1.
export function weigh(from, to, count, length, filter = triangle) {
    // C code takes both as 32-bit floats.
    [from, to] = [Math.fround(from), Math.fround(to)];
    const scale = Math.fround(to - from) / count;
    const stretch = Math.max(scale, 1);
    const support = filter.support * stretch;
    return Array.from({length: count}, (_, i) => {
        const center = from + (i + 0.5) * scale;
        const first = Math.max(0, Math.trunc(center - support + 0.5));
        const last = Math.min(length, Math.trunc(center + support + 0.5));
        const weights = [];
        for (let x = first; x < last; x++) weights.push(filter((x - center + 0.5) / stretch));
        const sum = weights.reduce((a, b) => a + b, 0);
        return {first, weights: sum ? weights.map((weight) => weight / sum) : weights};
    });
}

const whole = ({first, weights}) => ({
    first,
    weights: Int32Array.from(weights, (w) => Math.trunc(w * 2 ** BITS + Math.sign(w) / 2)),
});

const byte = (sum) => Math.min(255, Math.max(0, sum >> BITS));

// Args:
//     read: gives pixels, RGBA, row by row, of the columns `left` to before `right` and the rows
//         `top` to before `bottom` of the upright photo.
//     size: side of the result, pixels; crop: share of the photo's short side that is kept.
// Returns RGB, 0..255, row by row.
export function fit(read, width, height, size, crop) {
    const side = crop * Math.min(width, height);
    const [left, top] = [(width - side) / 2, (height - side) / 2];
    const across = weigh(left, left + side, size, width).map(whole);
    const down = weigh(top, top + side, size, height).map(whole);
    const ends = (taps) => [taps[0].first, taps.at(-1).first + taps.at(-1).weights.length];
    const [[x0, x1], [y0, y1]] = [ends(across), ends(down)];
    // Pillow leaves a direction alone in which nothing changes; that is what weights of 1 do.
    const narrow = new Uint8Array((y1 - y0) * size * 3);
    const rows = Math.max(1, Math.floor(4e6 / (x1 - x0))); // at a time: phones limit a canvas
    for (let start = y0; start < y1; start += rows) {
        const end = Math.min(y1, start + rows);
        const pixels = read(x0, start, x1, end);
        let to = (start - y0) * size * 3;
        for (let y = 0; y < end - start; y++) {
            const row = y * (x1 - x0) - x0;
            for (const {first, weights} of across) {
                let red = 2 ** (BITS - 1), green = red, blue = red;
                for (let i = 0, from = 4 * (row + first); i < weights.length; i++, from += 4) {
                    const weight = weights[i];
                    red += pixels[from] * weight;
                    green += pixels[from + 1] * weight;
                    blue += pixels[from + 2] * weight;
                }
                narrow[to++] = byte(red);
                narrow[to++] = byte(green);
                narrow[to++] = byte(blue);
            }
        }
    }
    const result = new Uint8Array(size * size * 3);
    down.forEach(({first, weights}, y) => {
        for (let x = 0; x < 3 * size; x++) {
            let sum = 2 ** (BITS - 1);
            for (let i = 0, from = (first - y0) * 3 * size + x; i < weights.length; i++) {
                sum += narrow[from] * weights[i];
                from += 3 * size;
            }
            result[y * 3 * size + x] = byte(sum);
        }
    });
    return result;
}

// A map, `height` by `width` numbers, larger: `size` by `size`.
export function enlarge(values, width, height, size) {
    const across = weigh(0, width, size, width, cubic);
    const down = weigh(0, height, size, height, cubic);
    const at = (x, y) => values[y * width + x];
    const mean = ({first, weights}, of) => weights.reduce((sum, w, i) => sum + w * of(first + i), 0);
    const rows = Array.from({length: height}, (_, y) => across.map((tap) => mean(tap, (x) => at(x, y))));
    return down.flatMap((tap) => across.map((_, x) => mean(tap, (y) => rows[y][x])));
}
