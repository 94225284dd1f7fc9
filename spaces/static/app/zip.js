// Reads the photos in a ZIP one at a time, as page/server/uploads.py does: nothing is unpacked to
// disk, and decompressed bytes are counted as they arrive.

import {PhotoError} from "./photo.js";

const FILE = 50 * 2 ** 20; // most bytes of one photo

export const isZip = async (file) => {
    const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
    return start[0] === 0x50 && start[1] === 0x4b && (start[2] === 3 || start[2] === 5);
};

// Same as is_clutter in flowers_model/files.py.
const clutter = (name) => {
    const folders = name.split("/");
    const last = folders.pop().toLowerCase();
    const hidden = (folder) => folder !== ".." && /^([.@]|__)/.test(folder);
    return last.startsWith(".") || ["thumbs.db", "desktop.ini"].includes(last) || folders.some(hidden);
};

// The name of each file in the ZIP and its `read`, which returns a Blob or throws a PhotoError.
export async function members(file) {
    const damaged = new PhotoError("zip_damaged");
    const tail = await file.slice(Math.max(0, file.size - 66000)).arrayBuffer();
    const end = new DataView(tail);
    let at = tail.byteLength - 22;
    while (at >= 0 && end.getUint32(at) !== 0x504b0506) at--;
    if (at < 0) throw damaged;
    const [size, start] = [end.getUint32(at + 12, true), end.getUint32(at + 16, true)];
    const list = new DataView(await file.slice(start, start + size).arrayBuffer());
    const found = [];
    for (let i = 0; i + 46 <= list.byteLength; ) {
        if (list.getUint32(i) !== 0x504b0102) throw damaged;
        const [flags, method] = [list.getUint16(i + 8, true), list.getUint16(i + 10, true)];
        const packed = list.getUint32(i + 20, true);
        const [long, extra, comment] = [28, 30, 32].map((offset) => list.getUint16(i + offset, true));
        const place = list.getUint32(i + 42, true);
        const name = new TextDecoder().decode(new Uint8Array(list.buffer, i + 46, Math.min(long, list.byteLength - i - 46)));
        if (!name.endsWith("/") && !clutter(name))
            found.push({name, read: () => read(file, place, packed, method, flags, damaged)});
        i += 46 + long + extra + comment;
    }
    return found;
}

async function read(file, place, packed, method, flags, damaged) {
    if (flags & 1) throw new PhotoError("zip_encrypted");
    if (method !== 0 && method !== 8) throw new PhotoError("zip_method");
    const head = new DataView(await file.slice(place, place + 30).arrayBuffer());
    if (head.byteLength < 30 || head.getUint32(0) !== 0x504b0304) throw damaged;
    const start = place + 30 + head.getUint16(26, true) + head.getUint16(28, true);
    let stream = file.slice(start, start + packed).stream();
    if (method === 8) stream = stream.pipeThrough(new DecompressionStream("deflate-raw"));
    const parts = [];
    let bytes = 0;
    try {
        for (const reader = stream.getReader(); ; ) {
            const {done, value} = await reader.read();
            if (done) return new Blob(parts);
            parts.push(value);
            bytes += value.length;
            if (bytes > FILE) throw new PhotoError("file_too_large", {most: FILE / 2 ** 20});
        }
    } catch (error) {
        throw error instanceof PhotoError ? error : new PhotoError("zip_photo_damaged");
    }
}
