// The tab that teaches a flower: its name, its photos and the result. What is taught stays in this
// browser and lasts for this visit.

import {PhotoError} from "./photo.js";
import {escape} from "./render.js";

// Args:
//     place: the tab; bar: the list of taught flowers, with the button that forgets them.
//     renderer: gets the taught flowers, for all parts of the page.
//     ask: sends a task to the worker; changed: called when the taught flowers have changed.
// Returns a function that adds photos to the tab.
export function begin(place, bar, renderer, ask, changed) {
    const find = (selector) => place.querySelector(selector);
    const [name, input, strip, press, said, after] = ["input[type=text]", "input[type=file]", ".strip", ".press", ".said", ".after"].map(find);
    const {teaching} = renderer.site;
    let chosen = []; // files and their object URLs

    const choose = (files) => {
        chosen.push(...files.map((file) => ({file, url: URL.createObjectURL(file)})));
        draw();
    };
    const leave = (number) => {
        for (const {url} of chosen.splice(number, 1)) URL.revokeObjectURL(url);
        draw();
    };
    const draw = () => {
        strip.innerHTML = chosen
            .map(({file, url}, i) => {
                const title = escape(renderer.say("teach_leave", {photo: escape(file.name)}));
                return `<button type="button" class="photo" data-number="${i}" title="${title}"><img src="${url}" alt="${title}"></button>`;
            })
            .join("");
    };

    // The name as entered, or as the model spells it if it knows the flower.
    const named = () => {
        const written = name.value.trim().replace(/\s+/g, " ");
        if (!written || written.length > teaching.longest) throw new PhotoError("teach_no_name", {most: teaching.longest});
        const known = [...renderer.flowers, ...renderer.taught.map((one) => one.name)];
        return known.find((one) => one.toLowerCase() === written.toLowerCase()) ?? written;
    };

    const teach = async () => {
        const name = named();
        const before = renderer.taught.find((one) => one.name === name);
        if (!before && renderer.taught.length >= teaching.flowers) throw new PhotoError("teach_flowers", {count: teaching.flowers});
        const count = chosen.length + (before?.photos.length ?? 0);
        if (!chosen.length || count > teaching.most) throw new PhotoError("teach_count", {most: teaching.most});
        said.innerHTML = `<p role="status">${renderer.say("teach_learning")}</p>`;
        const learned = await ask("teach", chosen.map(({file}) => file), {name});
        while (chosen.length) leave(0);
        know(learned);
        said.innerHTML = renderer.lesson();
        after.hidden = false;
    };

    const know = (learned) => {
        for (const {photos} of renderer.taught) for (const {url} of photos) URL.revokeObjectURL(url);
        renderer.taught = learned.map((one) => ({
            ...one,
            photos: one.photos.map((photo) => ({...photo, url: URL.createObjectURL(photo.picture)})),
        }));
        const names = renderer.taught.map((one) => `<b>${escape(one.name)}</b>`);
        bar.querySelector("p").innerHTML = `${renderer.words.teach_knows} ${names.join(renderer.words.comma)}`;
        bar.hidden = !learned.length;
        changed();
    };

    input.addEventListener("change", () => {
        choose([...input.files]);
        input.value = ""; // lets the visitor choose the same photo again
    });
    strip.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (button) leave(Number(button.dataset.number));
    });
    press.addEventListener("click", async () => {
        press.disabled = true;
        try {
            await teach();
        } catch (error) {
            const text = error instanceof PhotoError ? renderer.sorry(error) : renderer.say("not_done");
            said.innerHTML = `<p class="sorry" role="alert">${escape(text)}</p>`;
            if (!(error instanceof PhotoError)) console.error(error);
        }
        press.disabled = false;
    });
    bar.querySelector("button").addEventListener("click", async () => {
        know(await ask("forget", []));
        said.innerHTML = `<p role="status">${renderer.say("teach_forgotten")}</p>`;
        after.hidden = true;
    });
    return choose;
}
