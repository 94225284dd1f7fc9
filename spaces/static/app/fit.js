// Crops the centre square of a photo and resizes it in one antialiased bilinear step. The result is
// identical to that of Pillow's `resize(..., BILINEAR, box=...)` on 8-bit images, which `fit` in
// flowers_model/photo.py uses.

const BITS = 22; // fractional bits of a fixed-point weight

const triangle = (x) => Math.max(0, 1 - Math.abs(x));
triangle.support = 1;

// The Catmull-Rom filter, as in Pillow.
export const cubic = (x) => {
    const a = -0.5;
    x = Math.abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
};
cubic.support = 2;

// Resamples the range `from`..`to` of `length` inputs to `count` outputs: for each output, the
// index of its first input, and the weights of its inputs, which add up to 1.
export function weigh(from, to, count, length, filter = triangle) {
    // Pillow's C code takes both as 32-bit floats.
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
//     read: called with (left, top, right, bottom), returns that part of the upright photo as RGBA
//         pixels, row by row; right and bottom are exclusive.
//     size: side of the result in pixels; crop: side of the square as a share of the short side.
// Returns RGB, 0..255, row by row.
export function fit(read, width, height, size, crop) {
    const side = crop * Math.min(width, height);
    const [left, top] = [(width - side) / 2, (height - side) / 2];
    const across = weigh(left, left + side, size, width).map(whole);
    const down = weigh(top, top + side, size, height).map(whole);
    const ends = (taps) => [taps[0].first, taps.at(-1).first + taps.at(-1).weights.length];
    const [[x0, x1], [y0, y1]] = [ends(across), ends(down)];
    // Pillow skips an axis along which nothing changes; here, weights of 1 have the same effect.
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

// Enlarges a map of `height` by `width` numbers to `size` by `size`.
export function enlarge(values, width, height, size) {
    const across = weigh(0, width, size, width, cubic);
    const down = weigh(0, height, size, height, cubic);
    const at = (x, y) => values[y * width + x];
    const mean = ({first, weights}, of) => weights.reduce((sum, w, i) => sum + w * of(first + i), 0);
    const rows = Array.from({length: height}, (_, y) => across.map((tap) => mean(tap, (x) => at(x, y))));
    return down.flatMap((tap) => across.map((_, x) => mean(tap, (y) => rows[y][x])));
}
