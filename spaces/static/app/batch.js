// The tab for many photos: classifies photos, or ZIPs of photos, one after the other, and writes
// the same table as page/tabs/batch.py, for page/tabs/many.js.

import {escape, quote} from "./render.js";
import {PhotoError} from "./photo.js";
import {isZip, members} from "./zip.js";

const FORMULAS = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]/; // how spreadsheet formulas begin

const harmless = (text) => {
    const plain = text.replace(/(?! )[\p{C}\p{Z}]/gu, " ");
    return FORMULAS.test(plain) ? `'${plain}` : plain;
};

// A row of the CSV; all cells are quoted, and none can be read as a formula.
function writeLine({name, prediction: found, problem}) {
    const cells = found
        ? [
              harmless(found.labels[0]),
              found.probabilities[0].toFixed(6),
              found.refused ? "yes" : "no",
              found.score === null ? "" : found.score.toFixed(4),
              harmless((found.set ?? []).join(";")),
          ]
        : ["", "", "", "", ""];
    const line = [harmless(name), ...cells, harmless(problem ?? "")];
    return line.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(",");
}

// Args:
//     place: the tab; ask: sends a task to the worker.
export function begin(place, renderer, ask) {
    const find = (selector) => place.querySelector(selector);
    const [input, status, stop, tools, table] = ["input[type=file]", "#flowers-many-status", "#flowers-many-stop", "#flowers-many-tools", "#flowers-many-table"].map(find);
    let rows = [];
    let run = 0; // a newer run ends the earlier ones

    const line = (row, number) => {
        const {name, prediction: found, problem, url} = row;
        const file = `<span class="file"><bdi>${escape(name)}</bdi></span>`;
        const known = `data-number="${number}" data-line="${quote(writeLine(row))}"`;
        if (!found) return `<tr ${known}><td>${file}</td><td colspan="2" class="problem">${escape(renderer.say("sorry", {reason: problem}))}</td></tr>`;
        const label = renderer.named(found.labels[0]);
        let guess = `<strong>${label}</strong>`;
        if (found.refused)
            guess = `<p>${renderer.say("unknown")}</p><p>${renderer.say("if_one", {name: label})}</p>`;
        else if (found.set?.length > 1)
            guess += `<p>${renderer.oneOf(found.set.map((one) => renderer.shown(one)).join(renderer.words.comma))}</p>`;
        return `<tr ${known} data-sure="${found.probabilities[0]}" ${found.refused ? "data-refused" : ""}><td><img alt="" src="${url}">${file}</td><td>${guess}</td><td>${renderer.percent(found.probabilities[0])}</td></tr>`;
    };

    const clear = () => {
        for (const {url} of rows) URL.revokeObjectURL(url);
        rows = [];
        tools.hidden = table.hidden = true;
        find("tbody").innerHTML = "";
    };

    const listed = async (files) => {
        const items = [];
        for (const file of files) {
            if (!(await isZip(file))) items.push({name: file.name, read: async () => file});
            else
                items.push(
                    ...(await members(file).catch((error) => {
                        if (!(error instanceof PhotoError)) throw error;
                        return [{name: file.name, read: () => Promise.reject(error)}];
                    })),
                );
        }
        return items;
    };

    const name = async (files) => {
        const mine = ++run;
        clear();
        const items = await listed(files);
        if (mine !== run || !items.length) return;
        const started = performance.now();
        stop.hidden = table.hidden = false;
        for (const item of items) {
            status.innerHTML = `<p><progress aria-label="${renderer.say("named_photos")}" value="${rows.length}" max="${items.length}"></progress> ${renderer.say("progress", {done: rows.length, count: items.length})}</p>`;
            let row = {name: item.name};
            try {
                const {prediction, picture} = await ask("name", [await item.read()]);
                row = {...row, prediction, url: URL.createObjectURL(picture)};
            } catch (error) {
                if (!(error instanceof PhotoError)) throw error;
                row.problem = renderer.reason(error);
            }
            if (mine !== run) return;
            rows.push(row);
            find("tbody").insertAdjacentHTML("beforeend", line(row, rows.length));
        }
        finish((performance.now() - started) / 1000);
    };

    const finish = (seconds) => {
        run++;
        stop.hidden = true;
        const named = rows.filter((row) => row.prediction).length;
        const photos = renderer.photos(named);
        const said = [
            seconds === undefined
                ? renderer.say("named_until", {photos})
                : renderer.say("named_in", {photos, seconds: renderer.number(seconds, 1)}),
        ];
        if (named < rows.length) said.push(renderer.say("could_not", {count: rows.length - named}));
        status.innerHTML = `<p role="status">${said.join(" ")}</p>`;
        tools.hidden = !rows.length;
        tools.dispatchEvent(new Event("change")); // applies the chosen order
    };

    input.addEventListener("change", () => {
        name([...input.files]);
        input.value = "";
    });
    stop.addEventListener("click", () => finish());
}
