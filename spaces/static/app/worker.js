// Runs the network in a worker, so that the page stays responsive: photos in, answers out.

import * as ort from "../runtime/ort.wasm.min.mjs";
import {direction, Judge, nearest} from "./judge.js";
import {readArrays, readRows} from "./numpy.js";
import {decode, PhotoError} from "./photo.js";
import {logits} from "./teach/few_shot.js";
import {Teacher} from "./teach/lesson.js";

const PREVIEW = 800; // longest side in pixels of the photo that the page shows
const THUMBNAIL = 112; // side in pixels; shown at half that size, so it is sharp on phones too
const TAUGHT = 400; // longest side in pixels of a taught photo that the page shows
const OUTPUTS = ["logits", "embedding", "class_maps"];
const TO_TEACH = ["model/statistics.npz", "model/head.npz"]; // fetched once the page is ready

// The message that tells the page about an error: the name of a text, if there is one.
const told = ({word, values, message}) => ({word, values, message});

const root = new URL("../", import.meta.url);
const ready = open();
ready.then(
    () => postMessage({ready: true}),
    (error) => postMessage({failed: told(error)}),
);

async function open() {
    const site = await (await fetch(new URL("site.json", root))).json();
    const files = Object.entries(site.files).filter(([path]) => !TO_TEACH.includes(path));
    const total = files.reduce((sum, [, {size}]) => sum + size, 0);
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
    // Multiple threads require headers that not every host sends.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
    const session = await ort.InferenceSession.create(model, {executionProviders: ["wasm"]});
    const {size, crop} = manifest.input;
    const run = async (photo, outputs) => {
        const pixels = photo ? photo.fit(size, crop) : new Uint8Array(size * size * 3).fill(128);
        const photos = new ort.Tensor("float32", Float32Array.from(pixels), [1, size, size, 3]);
        return session.run({photos}, outputs);
    };
    await run(null, OUTPUTS); // warm-up: the first run takes longer
    const judge = new Judge(manifest, means?.map(direction));
    return {run, size, crop, judge, known: known?.map(direction) ?? [], manifest, site};
}

// What the visitor has taught: photos by name, and the resulting head and judge (null before that).
let visit = new Map();
let lesson = null;

const teacher = ready.then(async ({manifest, site}) => {
    if (!site.teaching) return null;
    const parts = await Promise.all(TO_TEACH.map((path) => fetchChecked(path, site.files[path], () => {}).then(readArrays)));
    return () => new Teacher(manifest, Object.assign({}, ...parts));
});
teacher.catch(() => {}); // `study` reports the error when teaching is used
let taught = null; // the Teacher, created when teaching is first used

// Runs the network with its own last layer, or with the taught one in its place.
async function see(photo) {
    const {run, judge} = await ready;
    if (!lesson) {
        const out = await run(photo, OUTPUTS);
        return {judge, embedding: out.embedding.data, logits: out.logits.data, maps: out.class_maps};
    }
    const {embedding, features} = await run(photo, ["embedding", "features"]);
    const [, height, width, depth] = features.dims;
    const maps = new Float32Array(height * width * lesson.head.bias.length);
    for (let i = 0; i < height * width; i++)
        maps.set(logits(lesson.head, features.data.subarray(i * depth, (i + 1) * depth)), i * lesson.head.bias.length);
    return {
        judge: lesson.judge,
        embedding: embedding.data,
        logits: logits(lesson.head, embedding.data),
        maps: {data: maps, dims: [1, height, width, lesson.head.bias.length]},
    };
}

// Fetches a file of the site or takes it from the browser's cache; throws if it does not have the
// size and SHA-256 that site.json gives.
async function fetchChecked(path, {size, sha256}, progress) {
    const key = new URL(`${path}?sha256=${sha256}`, root);
    // Browsers offer `caches` and `crypto.subtle` only on secure connections.
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
    await cache?.put(key, new Response(data)).catch(() => {}); // storage full: not cached
    return data;
}

// Classifies the photos of one plant together.
async function look(files) {
    const {crop, known, site} = await ready;
    const started = performance.now();
    const each = [];
    let judge;
    for (const file of files) {
        const photo = await decode(file);
        try {
            const out = await see(photo);
            judge = out.judge;
            const answer = judge.of(out.logits, out.embedding);
            const seen = {
                width: photo.width,
                height: photo.height,
                maps: {data: out.maps.data, dims: out.maps.dims},
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
    const own = [...visit.values()].flat().map(({embedding}) => direction(embedding));
    // The numbers of taught photos follow those of the gallery.
    const number = (i) => (i < known.length ? i : site.photos.length + i - known.length);
    return {
        prediction: judge.predict(whole, 5),
        seen: each.map(({seen}) => seen),
        alike: nearest([...known, ...own], whole.embedding).map(number),
        milliseconds: performance.now() - started,
        all: whole.probabilities,
        crop,
    };
}

// Classifies one of many photos.
async function name([file]) {
    const photo = await decode(file);
    try {
        const {judge, logits, embedding} = await see(photo);
        const prediction = judge.predict(judge.of(logits, embedding), 1);
        return {prediction, picture: await photo.picture(THUMBNAIL, true)};
    } finally {
        photo.close();
    }
}

// The slow part of teaching that does not depend on the photos, done while they are being chosen.
async function study() {
    taught ??= (await teacher)();
}

// Adds photos of a flower and teaches everything again. Returns all flowers taught so far.
async function teach(files, {name}) {
    const {run} = await ready;
    await study();
    const own = [...(visit.get(name) ?? [])];
    for (const file of files) {
        const photo = await decode(file);
        try {
            const {embedding} = await run(photo, ["embedding"]);
            const same = ([...visit.values()].flat().concat(own)).some((one) => one.embedding.every((value, i) => value === embedding.data[i]));
            if (!same) own.push({title: file.name, embedding: embedding.data, picture: await photo.picture(TAUGHT)});
        } finally {
            photo.close();
        }
    }
    if (!own.length) throw new PhotoError("teach_again");
    const photos = new Map(visit).set(name, own);
    const embeddings = [...photos].map(([name, those]) => [name, those.map(({embedding}) => embedding)]);
    const {manifest, head, means, classes} = taught.teach(embeddings);
    visit = photos;
    lesson = {head, judge: new Judge(manifest, means)};
    return classes.map(({doubts, photos, ...one}) => ({
        ...one,
        photos: visit.get(one.name).map(({title, picture}, i) => ({title, picture, doubt: doubts[i]})),
    }));
}

async function forget() {
    visit = new Map();
    lesson = null;
    return [];
}

// The network's input, to compare with Python's.
async function prepare([file]) {
    const {size, crop} = await ready;
    const photo = await decode(file);
    return photo.fit(size, crop);
}

self.onmessage = async ({data: {id, task, files, values}}) => {
    try {
        postMessage({id, result: await {look, name, prepare, study, teach, forget}[task](files, values)});
    } catch (error) {
        if (!(error instanceof PhotoError)) console.error(error);
        postMessage({id, error: told(error)});
    }
};
