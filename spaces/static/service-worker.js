// Makes the page work offline after one visit. The files of one version are cached together; a new
// version takes over once no page of the old one is open. The model and its runtime are cached by
// app/worker.js, which verifies them.

const VERSION = "{{version}}";
const LANGUAGE = new URL(location).searchParams.get("lang");
const SHELL = {{shell}};
const FILES = [...SHELL, ...["page", "flowers"].map((name) => `language/${LANGUAGE}/${name}.json`)];

self.addEventListener("install", (event) => {
    const fetched = FILES.map((path) => new Request(path, {cache: "no-cache"}));
    event.waitUntil(caches.open(VERSION).then((cache) => cache.addAll(fetched)));
});

self.addEventListener("activate", (event) => {
    const forget = async () => {
        for (const name of await caches.keys())
            if (name.startsWith("flowers-page-") && name !== VERSION) await caches.delete(name);
        const kept = await caches.open("flowers-files");
        const {files} = await (await caches.match("site.json")).json();
        const wanted = Object.entries(files).map(([path, {sha256}]) => new URL(`${path}?sha256=${sha256}`, registration.scope).href);
        for (const {url} of await kept.keys()) if (!wanted.includes(url)) await kept.delete(url);
        await clients.claim();
    };
    event.waitUntil(forget());
});

self.addEventListener("fetch", (event) => {
    const {request} = event;
    const url = new URL(request.url);
    if (request.method !== "GET" || url.origin !== location.origin || url.searchParams.has("sha256")) return;
    const answer = async () => {
        const cache = await caches.open(VERSION);
        const kept = await cache.match(request, {ignoreSearch: request.mode === "navigate"});
        if (kept) return kept;
        const fetched = await fetch(request);
        // Gallery photos and other languages are cached when they are first used.
        if (fetched.ok && /\/(model\/gallery|language)\//.test(url.pathname)) await cache.put(request, fetched.clone());
        return fetched;
    };
    event.respondWith(answer());
});
