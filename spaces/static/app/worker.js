// The network, beside the page so that the page stays quick: photos in, answers out.

import * as ort from "../runtime/ort.wasm.min.mjs";
import {decode, PhotoError} from "./photo.js";
import {direction, Judge, nearest, readRows} from "./judge.js";

const PREVIEW = 800; // longest side of the photo that the page shows, pixels
const THUMBNAIL = 112; // side, pixels: sharp at half that size, on a phone too
const OUTPUTS = ["logits", "embedding", "class_maps"];

// An error for the page: in words, where they are known.
const told = ({word, values, message}) => ({word, values, message});

const root = new URL("../", import.meta.url);
const ready = open();
ready.then(
    () => postMessage({ready: true}),
    (error) => postMessage({failed: told(error)}),
);

async function open() {
    const site = await (await fetch(new URL("site.json", root))).json();
    const total = Object.values(site.files).reduce((sum, {size}) => sum + size, 0);
    const loaded = {};
    const load = (path) =>
        fetchChecked(path, site.files[path], (bytes) => {
            loaded[path] = bytes;
            postMessage({progress: Object.values(loaded).reduce((a, b) => a + b, 0), total});
        });
    const optional = (path) => (site.files[path] ? load(path).then(readRows) : null);
    const [packed, model, manifest, means, known] = await Promise.all([
        load("runtime/ort.wasm.bin"),
        load("model/model.onnx"),
        load("model/classifier.json").then((data) => JSON.parse(new TextDecoder().decode(data))),
        optional("model/refusal.npy"),
        optional("model/gallery/embeddings.npy"),
    ]);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    ort.env.wasm.wasmBinary = await new Response(stream).arrayBuffer();
    ort.env.wasm.wasmPaths = new URL("runtime/", root).href;
    // Several threads need headers that not every host sends.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
    const session = await ort.InferenceSession.create(model, {executionProviders: ["wasm"]});
    const {size, crop} = manifest.input;
    const run = async (pixels) => {
        const photos = new ort.Tensor("float32", Float32Array.from(pixels), [1, size, size, 3]);
        return session.run({photos}, OUTPUTS);
    };
    await run(new Uint8Array(size * size * 3).fill(128)); // the first one takes longer
    const judge = new Judge(manifest, means?.map(direction));
    return {run, size, crop, judge, known: known?.map(direction) ?? []};
}

// A file of the site, kept by the browser; it is what the site's list says, or an error.
async function fetchChecked(path, {size, sha256}, progress) {
    const key = new URL(`${path}?sha256=${sha256}`, root);
    // Without a secure connection, browsers offer neither.
    const cache = await self.caches?.open("flowers-files").catch(() => null);
    const kept = await cache?.match(key);
    if (kept) {
        progress(size);
        return kept.arrayBuffer();
    }
    const answer = await fetch(key);
    if (!answer.ok) throw new PhotoError("not_there", {path, status: answer.status});
    const parts = [];
    let bytes = 0;
    for (const reader = answer.body.getReader(); ; ) {
        const {done, value} = await reader.read();
        if (done) break;
        parts.push(value);
        bytes += value.length;
        progress(Math.min(bytes, size));
    }
    const data = await new Blob(parts).arrayBuffer();
    const hex = (buffer) => Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, "0")).join("");
    const right = data.byteLength === size && (!crypto.subtle || hex(await crypto.subtle.digest("SHA-256", data)) === sha256);
    if (!right) throw new PhotoError("arrived_damaged", {path});
    await cache?.put(key, new Response(data)).catch(() => {}); // no room: it is fetched again
    return data;
}

// The answer to photos of one plant.
async function look(files) {
    const {run, size, crop, judge, known} = await ready;
    const started = performance.now();
    const each = [];
    for (const file of files) {
        const photo = await decode(file);
        try {
            const out = await run(photo.fit(size, crop));
            const answer = judge.of(out.logits.data, out.embedding.data);
            const seen = {
                width: photo.width,
                height: photo.height,
                maps: {data: out.class_maps.data, dims: out.class_maps.dims},
                picture: await photo.picture(PREVIEW),
                alone: judge.predict(answer, 1),
            };
            each.push({answer, seen});
        } finally {
            photo.close();
        }
    }
    const answers = each.map(({answer}) => answer);
    const whole = answers.length > 1 ? judge.together(answers) : answers[0];
    return {
        prediction: judge.predict(whole, 5),
        seen: each.map(({seen}) => seen),
        alike: nearest(known, whole.embedding),
        milliseconds: performance.now() - started,
        all: whole.probabilities,
        crop,
    };
}

// One of many photos.
async function name([file]) {
    const {run, size, crop, judge} = await ready;
    const photo = await decode(file);
    try {
        const out = await run(photo.fit(size, crop));
        const prediction = judge.predict(judge.of(out.logits.data, out.embedding.data), 1);
        return {prediction, picture: await photo.picture(THUMBNAIL, true)};
    } finally {
        photo.close();
    }
}

// The network's input, for those who compare it with Python's.
async function prepare([file]) {
    const {size, crop} = await ready;
    const photo = await decode(file);
    return photo.fit(size, crop);
}

self.onmessage = async ({data: {id, task, files}}) => {
    try {
        postMessage({id, result: await {look, name, prepare}[task](files)});
    } catch (error) {
        if (!(error instanceof PhotoError)) console.error(error);
        postMessage({id, error: told(error)});
    }
};
