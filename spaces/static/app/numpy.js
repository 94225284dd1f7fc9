// Reads NumPy arrays: .npy files and .npz files, which are ZIPs of .npy files.

import {members} from "./zip.js";

const TYPES = {
    f2: (view, at) => half(view.getUint16(at, true)),
    f4: (view, at) => view.getFloat32(at, true),
    f8: (view, at) => view.getFloat64(at, true),
    i4: (view, at) => view.getInt32(at, true),
};

// The values of an array in row-major order, and its shape.
export function readArray(buffer) {
    const view = new DataView(buffer);
    const start = 10 + view.getUint16(8, true); // format 1.0
    const head = new TextDecoder("latin1").decode(new Uint8Array(buffer, 10, start - 10));
    const [, type] = head.match(/'descr': '<(\w\d)'/) ?? [];
    const [, sides] = head.match(/'fortran_order': False, 'shape': \(([\d, ]*)\)/) ?? [];
    const read = TYPES[type];
    if (!read || sides === undefined) throw new Error("this is no array of NumPy's");
    const shape = sides.split(",").filter((side) => side.trim()).map(Number);
    const bytes = Number(type[1]);
    const data = new Float64Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; i++) data[i] = read(view, start + bytes * i);
    return {data, shape};
}

// A matrix as rows.
export function readRows(buffer) {
    const {data, shape: [rows, columns]} = readArray(buffer);
    return Array.from({length: rows}, (_, i) => Array.from(data.subarray(i * columns, (i + 1) * columns)));
}

// The arrays of an .npz, by name.
export async function readArrays(buffer) {
    const found = {};
    for (const {name, read} of await members(new Blob([buffer])))
        found[name.replace(/\.npy$/, "")] = readArray(await (await read()).arrayBuffer());
    return found;
}

function half(bits) {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    return bits & 0x8000 ? -size : size;
}
