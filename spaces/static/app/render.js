// Renders answers as HTML, as page/tabs/answer.py does. All text from a bundle is escaped.

import {enlarge} from "./fit.js";

const MASK = 64; // side of a drawn class map in pixels; the browser smooths it
const SHADE = 0.8; // opacity of the shade where the network did not look

const SIGNS = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"};
export const quote = (text) => text.replace(/[&<>"']/g, (sign) => SIGNS[sign]);
export const escape = (value) => quote(String(value).trim().replace(/\s+/g, " "));

export class Renderer {
    // Args:
    //     site: the contents of site.json, which spaces/static_site.py writes.
    //     words: the texts in the page's language, by name.
    constructor(site, words) {
        this.site = site;
        this.words = words;
        this.taught = []; // per flower taught in this visit: name, label, share right, photos
    }

    // The names of all classes, in label order.
    get flowers() {
        const {flowers} = this.site;
        return [...flowers, ...this.taught.map(({name}) => name).filter((name) => !flowers.includes(name))];
    }

    say(name, values = {}) {
        return this.words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
    }

    number(value, digits = 0) {
        return value.toFixed(digits).replace(".", this.words.decimal);
    }

    // A probability as HTML: never 0 % or 100 %, since no model can be that sure.
    percent(share) {
        const say = (value) => this.say("percent", {number: this.number(100 * value)});
        return share > 0.995 ? `&gt;${say(0.99)}` : share < 0.005 ? `&lt;${say(0.01)}` : say(share);
    }

    share(value) {
        return this.say("percent", {number: this.number(100 * value)});
    }

    photos(count) {
        return count === 1 ? this.words.one_photo : this.say("photos", {count});
    }

    // The text of an error: a PhotoError, or the worker's message made from one.
    reason({word, values, message}) {
        return word ? this.say(word, {needed: this.say("needed", {also: ""}), ...values}) : message;
    }

    sorry(error) {
        return this.say("sorry", {reason: this.reason(error)});
    }

    // The names of a label set, with the coverage that it promises.
    oneOf(names) {
        return `${this.say("set", this.site.coverage)} ${names}`;
    }

    // The display name of a class.
    shown(label) {
        return escape(this.site.display_names[label] ?? label);
    }

    // The same, followed in small print by the class name if it differs.
    named(label) {
        if (!this.site.display_names[label]) return escape(label);
        return `${this.shown(label)} <small class="own">${this.say("own", {name: escape(label)})}</small>`;
    }

    latin(label) {
        const name = this.site.scientific_names[label];
        return name ? `<i>${escape(name)}</i>` : "";
    }

    credit(number) {
        const {credit} = this.site.photos[number];
        return credit && `<p class="credit">${this.say("credit", {credit})}</p>`;
    }

    // A photo with its name and credit; the numbers of taught photos follow those of the gallery.
    figure(number) {
        const {photos} = this.site;
        if (number < photos.length) return `<figure>${this.photo(number)}${this.credit(number)}</figure>`;
        const all = this.taught.flatMap(({name, photos}) => photos.map(({url}) => ({name, url})));
        return this.#taughtFigure(all[number - photos.length]);
    }

    #taughtFigure({name, url}) {
        return `<figure><div class="photo"><img src="${url}" alt=""><span class="caption">${this.shown(name)}</span></div></figure>`;
    }

    // The cards of taught flowers, for the gallery.
    taughtCards() {
        const cards = this.taught.map(({name, label, right, photos}) => {
            const share = right === null ? "" : `<span class="right">${this.say("right_share", {share: this.share(right)})}</span>`;
            return `<li data-find="${escape(name.toLowerCase())}"><button type="button" data-flower="${label}"><img
                src="${photos[0].url}" alt=""><span class="label">${this.named(name)} ${this.latin(name)}</span>${share}</button></li>`;
        });
        return cards.length ? `<h3>${this.say("teach_here")}</h3><ul class="cards">${cards.join("")}</ul>` : "";
    }

    // The page of one flower, by its label.
    // Args:
    //     pages: the pages of the flowers that the model knew before.
    flower(number, pages) {
        const name = this.flowers[number];
        const here = this.taught.find((one) => one.name === name);
        const photos = here && here.photos.map(({url}) => this.#taughtFigure({name, url})).join("");
        const section = here ? `<h3>${this.say("teach_here")}</h3><div class="photos">${photos}</div>` : "";
        if (number < pages.length) return pages[number] + section;
        return `<button type="button" class="back">${this.say("all_flowers")}</button>
            <h2 tabindex="-1" data-flower="${escape(name)}">${escape(name)}</h2>${section}`;
    }

    // The result of teaching: the share right and the photos of each flower, with remarks.
    lesson() {
        const lines = this.taught.map(({name, right, photos}) => {
            const told = [`<b>${escape(name)}</b>`, this.photos(photos.length)];
            if (right !== null) told.push(this.say("teach_right", {share: this.share(right)}));
            return `<li>${told.join(this.words.comma)}</li>`;
        });
        const photos = this.taught.flatMap(({name, photos}) => photos.map(({url}) => this.#taughtFigure({name, url})));
        const notes = this.taught.flatMap((one) => this.#doubts(one));
        return `<div role="status"><p>${this.say("teach_knows")}</p><ul>${lines.join("")}</ul></div>
            <div class="strip">${photos.join("")}</div>
            ${notes.length ? `<h3>${this.say("teach_look")}</h3><ul class="doubts">${notes.join("")}</ul>` : ""}`;
    }

    #doubts({name, fresh, photos}) {
        const {fewest, most} = this.site.teaching;
        const few = {name: escape(name), photos: this.photos(photos.length), fewest, most};
        const notes = fresh && photos.length < fewest ? [`<li>${this.say("teach_few", few)}</li>`] : [];
        for (const {title, url, doubt} of photos) {
            if (!doubt || (doubt.name === name && !doubt.strange)) continue;
            const values = {photo: escape(title), name: escape(name), other: this.shown(doubt.name)};
            const text = this.say(doubt.name === name ? "teach_unsure" : "teach_odd", values);
            notes.push(`<li><img src="${url}" alt=""> ${text}</li>`);
        }
        return notes;
    }

    photo(number) {
        const {url, label} = this.site.photos[number];
        const name = this.shown(label);
        return `<button type="button" class="photo" data-photo="${number}" title="${name}"><img
            src="${escape(url)}" alt="" loading="lazy" decoding="async"><span
            class="caption">${name}</span></button>`;
    }

    // Args:
    //     result: the worker's answer; urls: the addresses of its photos.
    //     known: the number of a labelled photo, null for a visitor's own photo.
    answer({prediction, seen, alike, milliseconds, crop}, urls, known) {
        const truth = known === null ? null : this.site.photos[known].label;
        const names = prediction.labels.map((label, i) => this.#name(i, label, prediction.probabilities[i]));
        const figures = seen.map((one, i) => this.#figure(i, one, urls[i], prediction.labels, crop));
        const like = alike.filter((number) => number !== known).slice(0, this.site.similar);
        const strip = like.map((number) => this.figure(number)).join("");
        const offer = this.site.teaching && known === null ? `<button type="button" class="offer">${this.say("teach_offer")}</button>` : "";
        const title = this.say(truth === null ? "like_yours" : "like_it");
        return `<article class="answer" ${prediction.refused ? "data-refused" : ""}>
            <div class="head">${this.#headline(prediction, seen.length, truth)}</div>
            <div class="seen">${figures.join("")}<button type="button" class="switch" role="switch"
                aria-checked="false">${this.say("looked")}</button>${this.#each(seen, urls)}${known === null ? "" : this.credit(known)}</div>
            <div class="said"><ul class="names">${names.join("")}</ul>
            <p class="aside">${this.say("tap")} ${this.say("took", {count: this.number(milliseconds)})}</p>
            <button type="button" class="more" data-flower="${prediction.numbers[0]}">${this.say("more", {name: this.shown(prediction.labels[0])})}</button>${offer}</div>
            ${strip && `<section class="like"><h3>${title}</h3><div class="strip">${strip}</div></section>`}
            </article>`;
    }

    // Draws the class maps of an answer that is in the page: shades that stay clear where the photo
    // supports a name.
    shade(place, {prediction, seen}) {
        for (const canvas of place.querySelectorAll("canvas.map")) {
            const {data, dims} = seen[canvas.closest("figure").dataset.seen].maps;
            const [, height, width, names] = dims;
            const name = prediction.numbers[canvas.dataset.name];
            const values = Array.from({length: height * width}, (_, i) => data[i * names + name]);
            const low = Math.min(...values);
            const range = Math.max(Math.max(...values) - low, 1e-6);
            const heat = enlarge(values.map((value) => (value - low) / range), width, height, MASK);
            const shade = new ImageData(MASK, MASK);
            heat.forEach((one, i) => {
                shade.data[4 * i + 3] = 255 * SHADE * (1 - Math.min(1, Math.max(0, one)));
            });
            canvas.getContext("2d").putImageData(shade, 0, 0);
        }
    }

    #figure(number, {width, height}, url, labels, crop) {
        const side = crop * Math.min(height, width);
        const share = (length) => ((100 * side) / length).toFixed(2);
        const box = `left:${50 - share(width) / 2}%;top:${50 - share(height) / 2}%;width:${share(width)}%;height:${share(height)}%`;
        const maps = labels.map(
            (label, i) => `<canvas class="map" data-name="${i}" style="${box}" width="${MASK}"
                height="${MASK}" role="img" aria-label="${this.say("map", {name: this.shown(label)})}" hidden></canvas>`,
        );
        return `<figure data-seen="${number}" style="--ratio:${(width / height).toFixed(4)}"
            ${number ? "hidden" : ""}><img class="whole" src="${url}" alt="${this.say("answered")}">${maps.join("")}</figure>`;
    }

    #each(seen, urls) {
        if (seen.length === 1) return "";
        const buttons = seen.map(
            ({alone}, i) => `<button type="button" data-seen="${i}" aria-pressed="${!i}"><img
                src="${urls[i]}" alt="${this.say("numbered", {count: i + 1})}"><span>${this.shown(alone.labels[0])}</span>
                <span>${this.percent(alone.probabilities[0])}</span></button>`,
        );
        return `<p class="aside">${this.say("alone")}</p><div class="each">${buttons.join("")}</div>`;
    }

    #name(number, label, share) {
        return `<li><button type="button" data-name="${number}" aria-pressed="false">
            <span class="label">${this.named(label)} ${this.latin(label)}</span>
            <span class="share">${this.percent(share)}</span>
            <span class="bar"><span style="width:${(100 * share).toFixed(1)}%"></span></span></button></li>`;
    }

    #headline({labels, probabilities, refused, set}, photos, truth) {
        const lines = photos > 1 ? [`<p class="eyebrow">${this.say("together", {count: photos})}</p>`] : [];
        if (refused) lines.push(`<h2 tabindex="-1">${this.say("unknown")}</h2><p>${this.say("guess")}</p>`);
        else {
            lines.push(`<h2 tabindex="-1">${this.named(labels[0])}</h2>`);
            if (this.latin(labels[0])) lines.push(`<p class="latin">${this.latin(labels[0])}</p>`);
            lines.push(`<p class="sure">${this.say("sure", {share: this.percent(probabilities[0])})}</p>`);
            if (set?.length > 1) {
                const {listed} = this.site;
                const told = set.slice(0, listed).map((name) => `<span>${this.shown(name)}</span>`);
                const rest = set.length > listed ? this.say("rest", {count: set.length - listed}) : "";
                lines.push(`<p class="set">${this.oneOf(told.join(""))}${rest}</p>`);
            }
        }
        if (truth === labels[0]) lines.push(`<p class="truth right">${this.say("right")}</p>`);
        else if (truth !== null) {
            const strange = refused && !this.flowers.includes(truth);
            const name = `<strong>${this.named(truth)}</strong>`;
            lines.push(`<p class="truth ${strange ? "right" : ""}">${this.say(strange ? "strange" : "wrong", {name})}</p>`);
        }
        return lines.join("");
    }
}
