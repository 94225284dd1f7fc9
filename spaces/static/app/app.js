// The page: its tabs and addresses, and the messages between its parts and the worker.

import {begin as beginBatch} from "./batch.js";
import {PhotoError} from "./photo.js";
import {escape, Renderer} from "./render.js";
import {begin as beginTeaching} from "./teach.js";
import intake from "./page/intake.js";
import answerScript from "./page/answer.js";
import galleryScript from "./page/gallery.js";
import manyScript from "./page/many.js";

const find = (selector) => document.querySelector(selector);
const root = document.documentElement;
const read = async (path) => (await fetch(path)).json();
const [site, said] = await Promise.all([read("site.json"), read(`language/${root.lang}/page.json`)]);
if (root.lang !== "en") {
    document.title = said.words.title;
    find("main").innerHTML = said.main;
    delete root.dataset.translating;
}
const [answer, taught, index, flower, loading] = ["#flowers-answer", "#flowers-taught", "#flowers-index", "#flowers-flower", "#loading"].map(find);
const renderer = new Renderer(site, said.words);

// The network.

const worker = new Worker(new URL("worker.js", import.meta.url), {type: "module"});
const waiting = new Map();
let last = 0;

const ask = (task, files, values) =>
    new Promise((resolve, reject) => {
        waiting.set(++last, {resolve, reject});
        worker.postMessage({id: last, task, files, values});
    });

let failed = false;

worker.onmessage = ({data}) => {
    if (data.ready) {
        loading.hidden = true;
        root.dataset.ready = "";
    } else if (data.failed) {
        failed = true;
        loading.firstChild.textContent = renderer.say("not_opened", {reason: renderer.reason(data.failed)});
        loading.querySelector("progress").hidden = true;
    } else if (data.progress !== undefined) {
        if (failed) return; // other files may still be downloading
        const [done, total] = [data.progress, data.total].map((bytes) => renderer.number(bytes / 1e6, 1));
        loading.firstChild.textContent = renderer.say("fetching", {done, total});
        Object.assign(loading.querySelector("progress"), {value: data.progress, max: data.total});
    } else {
        const {resolve, reject} = waiting.get(data.id);
        waiting.delete(data.id);
        if (data.error) reject(data.error.word ? new PhotoError(data.error.word, data.error.values) : new Error(data.error.message));
        else resolve(data.result);
    }
};
worker.onerror = () => {
    loading.hidden = false;
    loading.firstChild.textContent = renderer.say("too_old");
};

// Naming a flower.

let urls = [];
let shown = null; // the photos on show, and the number of a labelled photo

async function show(files, known = null) {
    shown = {files, known};
    try {
        const result = await ask("look", files);
        urls.forEach((url) => URL.revokeObjectURL(url));
        urls = result.seen.map(({picture}) => URL.createObjectURL(picture));
        answer.innerHTML = renderer.answer(result, urls, known);
        renderer.shade(answer, result);
    } catch (error) {
        const said = error instanceof PhotoError ? renderer.sorry(error) : renderer.say("not_done");
        answer.innerHTML = `<p class="sorry" role="alert" tabindex="-1">${escape(said)}</p>`;
        if (!(error instanceof PhotoError)) console.error(error);
    }
}

async function answered(files, known) {
    await show(files, known);
    document.dispatchEvent(new Event("answered"));
}

async function showLabelled(number) {
    const photo = await fetch(site.photos[number].url).catch(() => null);
    if (photo?.ok) await answered([await photo.blob()], number);
}

const photos = {stays: true};
intake(find("#flowers-photo"), () => {
    if (location.hash) go("", false);
    answered(photos.value.map(({file}) => file));
}, photos, async (file) => ({file}));

const events = {
    choose: ({photo}) => go(`photo=${photo}`),
    open: (event) => go(`flower=${encodeURIComponent(renderer.flowers[event.flower])}`),
    teach: () => {
        choose(shown.files);
        go("teach");
    },
};
const trigger = (name, data) => events[name](data);
answerScript(answer, trigger);
for (const place of [taught, index, flower]) galleryScript(place, trigger);
find("#flowers-examples")?.addEventListener("click", (event) => {
    const button = event.target.closest("[data-photo]");
    if (button) trigger("choose", {photo: Number(button.dataset.photo)});
});
manyScript(find("#flowers-many-tools"));
beginBatch(find("#panel-many"), renderer, ask);

// After teaching, every part of the page knows the new flowers.

function known() {
    taught.innerHTML = renderer.taughtCards();
    if (shown) show(shown.files, shown.known);
    const open = new URLSearchParams(location.hash.slice(1)).get("flower");
    if (open !== null) renderer.flowers.includes(open) ? follow() : go("gallery"); // if it was forgotten
}

const choose = site.teaching && beginTeaching(find("#flowers-teach"), find("#flowers-visit"), renderer, ask, known);
find("#flowers-teach .try")?.addEventListener("click", () => go(""));

// Tabs, and an address for each of them, each flower and each labelled photo.

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(name) {
    for (const tab of tabs) {
        const chosen = tab.id === `tab-${name}`;
        tab.setAttribute("aria-selected", String(chosen));
        tab.tabIndex = chosen ? 0 : -1;
        find(`#panel-${tab.id.slice(4)}`).hidden = !chosen;
        const row = tab.parentElement; // scrolls on narrow screens
        if (chosen) row.scrollLeft = tab.offsetLeft - row.offsetLeft - 16;
    }
    if (name === "teach") ask("study", []).catch(() => {}); // teaching reports the error
}

let pages = null; // the pages of all flowers, loaded when the first one is opened

async function follow() {
    const address = new URLSearchParams(location.hash.slice(1));
    const wanted = renderer.flowers.indexOf(address.get("flower"));
    const number = Number(address.get("photo") ?? -1);
    const place = find("#flowers-gallery");
    delete place.dataset.open;
    if (wanted >= 0) {
        select("gallery");
        pages ??= await read(`language/${root.lang}/flowers.json`);
        flower.innerHTML = renderer.flower(wanted, pages);
        place.dataset.open = "yes";
        place.scrollIntoView();
        flower.querySelector("h2").focus({preventScroll: true});
    } else if (number in site.photos) {
        select("name");
        await showLabelled(number);
    } else {
        const name = [...address.keys()][0];
        select(tabs.some((tab) => tab.id === `tab-${name}`) ? name : "name");
    }
}

// Changes the address of the page and follows it.
function go(address, following = true) {
    history.pushState(null, "", address ? `#${address}` : location.pathname + location.search);
    tell();
    if (following) follow();
}

// Embedded in huggingface.co, the address bar belongs to the parent page:
// https://huggingface.co/docs/hub/spaces-handle-url-parameters
function tell() {
    if (parent !== window) parent.postMessage({queryString: "", hash: location.hash}, "https://huggingface.co");
}

for (const [i, tab] of tabs.entries()) {
    tab.addEventListener("click", () => go(tab.id === "tab-name" ? "" : tab.id.slice(4)));
    tab.addEventListener("keydown", ({key}) => {
        const to = {ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: tabs.length - 1}[key];
        if (to === undefined) return;
        const next = tabs[(to + tabs.length) % tabs.length];
        next.click();
        next.focus();
    });
}
addEventListener("popstate", () => {
    tell();
    follow();
});
if (location.hash) {
    // Going back from a flower that was opened by a link leads to the gallery.
    const sent = location.hash;
    if (sent.startsWith("#flower=")) {
        history.replaceState(null, "", "#gallery");
        history.pushState(null, "", sent);
    }
    follow();
}

// Lets the page open offline next time.
navigator.serviceWorker?.register(`service-worker.js?lang=${root.lang}`).catch(() => {});
