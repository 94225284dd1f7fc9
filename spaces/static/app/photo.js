// Decodes a file into an upright photo, with the rules of flowers_model/photo.py: the EXIF
// orientation is applied, only the first frame counts, transparency becomes white, there is no
// colour management, and truncated files are refused.

import {fit} from "./fit.js";

const MAX_PIXELS = 120e6;
const TYPES = {jpeg: "JPEG", png: "PNG", webp: "WebP", gif: "GIF", bmp: "BMP", avif: "AVIF"};

// An error that the visitor can fix: the name of its text in page/words.json, and the values that
// the text needs.
export class PhotoError extends Error {
    constructor(word, values = {}) {
        super(word);
        Object.assign(this, {word, values});
    }
}

const text = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));

function kind(bytes) {
    const start = text(bytes, 0, 12);
    if (start.startsWith("\xff\xd8\xff")) return "jpeg";
    if (start.startsWith("\x89PNG\r\n\x1a\n")) return "png";
    if (start.startsWith("GIF8")) return "gif";
    if (start.startsWith("BM")) return "bmp";
    if (start.startsWith("RIFF") && start.endsWith("WEBP")) return "webp";
    if (start.startsWith("II*\0") || start.startsWith("MM\0*")) return "tiff";
    if (start.slice(4, 8) !== "ftyp") return null;
    const brands = text(bytes, 8, Math.min(bytes.length, new DataView(bytes.buffer).getUint32(0), 80));
    if (/avif|avis/.test(brands)) return "avif";
    return /hei[cxms]|hev[cxms]|mif1|msf1/.test(brands) ? "heic" : null;
}

// The segments of a JPEG (up to its image data) or the chunks of a PNG or WebP, each with name and
// content; `whole` tells whether the file is complete, since browsers show truncated photos too.
function pieces(bytes, type) {
    const view = new DataView(bytes.buffer);
    const found = [];
    const add = (name, start, size) => found.push({name, data: bytes.subarray(start, start + size)});
    if (type === "jpeg") {
        let at = 2;
        while (at + 4 <= bytes.length && bytes[at] === 0xff && found.at(-1)?.name !== 0xda) {
            if (bytes[at + 1] === 0xff) at++; // padding
            else {
                const size = view.getUint16(at + 2);
                add(bytes[at + 1], at + 4, size - 2);
                at += 2 + size;
            }
        }
        while (at + 1 < bytes.length && !(bytes[at] === 0xff && bytes[at + 1] === 0xd9)) at++;
        return {found, whole: at + 1 < bytes.length};
    }
    const png = type === "png";
    let at = png ? 8 : 12;
    while (at + 8 <= bytes.length && found.at(-1)?.name !== "IEND") {
        const size = png ? view.getUint32(at) : view.getUint32(at + 4, true);
        add(png ? text(bytes, at + 4, at + 8) : text(bytes, at, at + 4), at + 8, size);
        at += 8 + size + (png ? 4 : size % 2);
    }
    return {found, whole: at <= bytes.length && (!png || found.at(-1)?.name === "IEND")};
}

// The CRC-32 checksum of a PNG chunk.
function crc(bytes) {
    let sum = ~0;
    for (const byte of bytes) {
        sum ^= byte;
        for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
    }
    return ~sum >>> 0;
}

// The EXIF orientation, 1 to 8; 1 if there is none. In the file's bytes it is set to 1, because
// some browsers apply it to some formats whatever the settings say.
function takeOrientation(found, type) {
    const names = {jpeg: 0xe1, png: "eXIf", webp: "EXIF"};
    for (let {name, data} of found) {
        if (name !== names[type]) continue;
        const chunk = data;
        if (text(data, 0, 6) === "Exif\0\0") data = data.subarray(6);
        else if (type === "jpeg") continue;
        let turn = 1;
        try {
            const view = new DataView(data.buffer, data.byteOffset, data.length);
            const little = view.getUint16(0) === 0x4949;
            const entries = view.getUint32(4, little);
            for (let i = 0; i < view.getUint16(entries, little); i++) {
                const at = entries + 2 + 12 * i;
                if (view.getUint16(at, little) !== 0x112) continue;
                turn = view.getUint16(at + 8, little);
                view.setUint16(at + 8, 1, little);
                break;
            }
        } catch (error) {
            if (!(error instanceof RangeError)) throw error; // damaged EXIF; the photo may be good
        }
        // The change has made the checksum of a PNG chunk wrong.
        if (type === "png") {
            const {buffer, byteOffset, length} = chunk;
            const sum = crc(new Uint8Array(buffer, byteOffset - 4, length + 4));
            new DataView(buffer).setUint32(byteOffset + length, sum);
        }
        return turn >= 1 && turn <= 8 ? turn : 1;
    }
    return 1;
}

// By EXIF orientation, the transform that turns the stored image, w by h, upright, in the order of
// the arguments of `setTransform`.
const TURNS = {
    1: () => [1, 0, 0, 1, 0, 0],
    2: (w) => [-1, 0, 0, 1, w, 0],
    3: (w, h) => [-1, 0, 0, -1, w, h],
    4: (w, h) => [1, 0, 0, -1, 0, h],
    5: () => [0, 1, 1, 0, 0, 0],
    6: (w, h) => [0, 1, -1, 0, h, 0],
    7: (w, h) => [0, -1, -1, 0, h, w],
    8: (w) => [0, -1, 1, 0, 0, w],
};

export class Photo {
    constructor(bitmap, turn) {
        this.bitmap = bitmap;
        const {width, height} = bitmap;
        this.matrix = TURNS[turn](width, height);
        [this.width, this.height] = turn > 4 ? [height, width] : [width, height];
    }

    // Draws a part of the upright photo on a white canvas, scaled by `scale`.
    #canvas(left, top, right, bottom, scale = 1) {
        const size = (length) => Math.max(1, Math.round(scale * length));
        const canvas = new OffscreenCanvas(size(right - left), size(bottom - top));
        const context = canvas.getContext("2d", {willReadFrequently: scale === 1});
        context.fillStyle = "white";
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.imageSmoothingEnabled = scale !== 1;
        context.imageSmoothingQuality = "high";
        context.scale(canvas.width / (right - left), canvas.height / (bottom - top));
        context.translate(-left, -top);
        context.transform(...this.matrix);
        context.drawImage(this.bitmap, 0, 0);
        return {canvas, context};
    }

    // The network's input: RGB, 0..255, `size` by `size`.
    fit(size, crop) {
        const read = (...box) => {
            const {canvas, context} = this.#canvas(...box);
            return context.getImageData(0, 0, canvas.width, canvas.height).data;
        };
        return fit(read, this.width, this.height, size, crop);
    }

    // A JPEG for display with sides of at most `most` pixels; with `square`, of the centre alone.
    picture(most, square = false) {
        const {width, height} = this;
        const side = Math.min(width, height);
        const [left, top] = square ? [Math.floor((width - side) / 2), Math.floor((height - side) / 2)] : [0, 0];
        const [right, bottom] = square ? [left + side, top + side] : [width, height];
        const scale = Math.min(1, most / Math.max(right - left, bottom - top));
        const {canvas} = this.#canvas(left, top, right, bottom, scale);
        return canvas.convertToBlob({type: "image/jpeg", quality: 0.9});
    }

    close() {
        this.bitmap.close();
    }
}

// Throws a PhotoError if the file is truncated or not a photo that this browser can read.
export async function decode(blob) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    if (!bytes.length) throw new PhotoError("empty");
    const type = kind(bytes);
    if (type === null) throw new PhotoError("unreadable");
    const {found, whole} = ["jpeg", "png", "webp"].includes(type) ? pieces(bytes, type) : {whole: true};
    if (!whole) throw new PhotoError("cut_short");
    // AVIF and HEIC carry their own rotation, which both browsers and Python apply.
    const turn = found ? takeOrientation(found, type) : 1;
    const settings = {imageOrientation: "from-image", colorSpaceConversion: "none"};
    let bitmap;
    try {
        bitmap = await createImageBitmap(new Blob([bytes], {type: `image/${type}`}), settings);
    } catch {
        if (type === "heic" || type === "tiff")
            throw new PhotoError("no_decoder", {type: type.toUpperCase()});
        throw new PhotoError("damaged", {type: TYPES[type]});
    }
    const pixels = bitmap.width * bitmap.height;
    if (pixels > MAX_PIXELS) {
        bitmap.close();
        throw new PhotoError("too_large", {megapixels: Math.round(pixels / 1e6), most: MAX_PIXELS / 1e6});
    }
    return new Photo(bitmap, turn);
}
