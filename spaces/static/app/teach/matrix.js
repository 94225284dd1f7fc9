// Linear algebra for teaching. A matrix is a Float64Array in row-major order.

// The dot product of `n` values of a from index i and n values of b from index j. Four partial
// sums, since each addition waits for the one before it. (To destructure an array here costs four
// times the time.)
export function product(a, i, b, j, n) {
    let first = 0;
    let second = 0;
    let third = 0;
    let fourth = 0;
    let k = 0;
    for (; k + 3 < n; k += 4) {
        first += a[i + k] * b[j + k];
        second += a[i + k + 1] * b[j + k + 1];
        third += a[i + k + 2] * b[j + k + 2];
        fourth += a[i + k + 3] * b[j + k + 3];
    }
    for (; k < n; k++) first += a[i + k] * b[j + k];
    return first + second + (third + fourth);
}

export const dot = (a, b) => product(a, 0, b, 0, a.length);

// The Cholesky factor, lower triangular, of a positive definite matrix of `n` by `n`.
export function cholesky(matrix, n) {
    const root = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
        for (let j = 0; j <= i; j++) {
            const rest = matrix[i * n + j] - product(root, i * n, root, j * n, j);
            root[i * n + j] = i === j ? Math.sqrt(rest) : rest / root[j * n + j];
        }
    return root;
}

// Solves `root @ x = row` for each row by forward substitution; the solutions are rows too.
export function forward(root, rows, n) {
    const found = Float64Array.from(rows);
    for (let start = 0; start < found.length; start += n)
        for (let i = 0; i < n; i++)
            found[start + i] = (found[start + i] - product(root, i * n, found, start, i)) / root[i * (n + 1)];
    return found;
}

// `rows @ root.T`, where `root` is lower triangular.
export function spread(root, rows, n) {
    const found = new Float64Array(rows.length);
    for (let start = 0; start < rows.length; start += n)
        for (let i = 0; i < n; i++) found[start + i] = product(root, i * n, rows, start, i + 1);
    return found;
}

// `rows @ rows.T`, for rows of length n.
export function gram(rows, n) {
    const count = rows.length / n;
    const found = new Float64Array(count * count);
    for (let i = 0; i < count; i++)
        for (let j = 0; j <= i; j++)
            found[i * count + j] = found[j * count + i] = product(rows, i * n, rows, j * n, n);
    return found;
}

// Adds `factors @ rows` to `sums`, for rows of length n. Four rows at a time, since each sum is then
// read and written a quarter as often.
export function addProducts(sums, factors, rows, n) {
    const count = rows.length / n;
    for (let k = 0; k * n < sums.length; k++) {
        let i = 0;
        for (; i + 3 < count; i += 4) {
            const to = k * n;
            const at = i * n;
            const a = factors[k * count + i];
            const b = factors[k * count + i + 1];
            const c = factors[k * count + i + 2];
            const d = factors[k * count + i + 3];
            for (let j = 0; j < n; j++)
                sums[to + j] += a * rows[at + j] + b * rows[at + n + j] + c * rows[at + 2 * n + j] + d * rows[at + 3 * n + j];
        }
        for (; i < count; i++) for (let j = 0; j < n; j++) sums[k * n + j] += factors[k * count + i] * rows[i * n + j];
    }
}

export function transposed(rows, n) {
    const count = rows.length / n;
    return Float64Array.from(rows, (_, place) => rows[(place % count) * n + Math.floor(place / count)]);
}

// The mean of rows of length n.
export function mean(rows, n) {
    const found = new Float64Array(n);
    for (let place = 0; place < rows.length; place++) found[place % n] += rows[place];
    return found.map((sum) => sum / (rows.length / n));
}

// Subtracts `center` from each row.
export const less = (rows, center) => rows.map((value, place) => value - center[place % center.length]);

export const row = (rows, number, n) => rows.subarray(number * n, (number + 1) * n);

export function joined(parts) {
    const found = new Float64Array(parts.reduce((sum, {length}) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
        found.set(part, at);
        at += part.length;
    }
    return found;
}

// Same as numpy.quantile.
export function quantile(values, share) {
    const sorted = Float64Array.from(values).sort();
    const place = share * (sorted.length - 1);
    const below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

export const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
