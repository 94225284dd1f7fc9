// Many at once: photos, or ZIPs of them, named one after the other; a table, and a CSV of it, as
// page/tabs/batch.py writes it.

import {escape, percent} from "./render.js";
import {PhotoError} from "./photo.js";
import {isZip, members} from "./zip.js";

const COLUMNS = ["photo", "guess", "probability", "refused", "refusal_score", "label_set", "error"];
const FORMULAS = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]/; // what they begin with, for spreadsheets

const harmless = (text) => {
    const plain = text.replace(/(?! )[\p{C}\p{Z}]/gu, " ");
    return FORMULAS.test(plain) ? `'${plain}` : plain;
};

// A line a file; all cells are quoted, and none begins like a formula.
export function writeCsv(rows) {
    const lines = rows.map(({name, prediction: found, problem}) => {
        const cells = found
            ? [
                  harmless(found.labels[0]),
                  found.probabilities[0].toFixed(6),
                  found.refused ? "yes" : "no",
                  found.score === null ? "" : found.score.toFixed(4),
                  harmless((found.set ?? []).join(";")),
              ]
            : ["", "", "", "", ""];
        return [harmless(name), ...cells, harmless(problem ?? "")];
    });
    const quoted = (cells) => cells.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(",");
    return [COLUMNS, ...lines].map((cells) => `${quoted(cells)}\r\n`).join("");
}

// Args:
//     place: the tab; ask: gives a file to the worker.
export function begin(place, renderer, ask) {
    const find = (selector) => place.querySelector(selector);
    const [input, status, stop, tools, table] = ["input[type=file]", "#many-status", "#many-stop", "#many-tools", "#many-table"].map(find);
    let rows = [];
    let run = 0; // a newer one ends those before it

    const line = ({name, prediction: found, problem, url}) => {
        const file = `<span class="file"><bdi>${escape(name)}</bdi></span>`;
        if (!found) return `<tr><td>${file}</td><td colspan="2" class="problem">Sorry, ${escape(problem)}.</td></tr>`;
        const label = renderer.named(found.labels[0]);
        let guess = `<strong>${label}</strong>`;
        if (found.refused)
            guess = `<p>${renderer.say("unknown")}.</p><p>${renderer.say("if_one", {name: label})}</p>`;
        else if (found.set?.length > 1)
            guess += `<p>${renderer.say("set")} ${found.set.map((one) => renderer.shown(one)).join(", ")}</p>`;
        return `<tr><td><img alt="" src="${url}">${file}</td><td>${guess}</td><td>${percent(found.probabilities[0])}</td></tr>`;
    };

    const draw = () => {
        const sort = find("[name=sort]").value;
        const refused = find("[name=refused]").checked;
        const sure = (row) => row.prediction?.probabilities[0] ?? -1;
        const shown = rows.filter((row) => !refused || row.prediction?.refused);
        if (sort !== "order") shown.sort((a, b) => (sort === "least" ? sure(a) - sure(b) : sure(b) - sure(a)));
        find("tbody").innerHTML = shown.map(line).join("");
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
            status.innerHTML = `<p><progress aria-label="Photos named" value="${rows.length}" max="${items.length}"></progress> ${rows.length} of ${items.length}</p>`;
            let row = {name: item.name};
            try {
                const {prediction, picture} = await ask("name", [await item.read()]);
                row = {...row, prediction, url: URL.createObjectURL(picture)};
            } catch (error) {
                if (!(error instanceof PhotoError)) throw error;
                row.problem = error.message;
            }
            if (mine !== run) return;
            rows.push(row);
            find("tbody").insertAdjacentHTML("beforeend", line(row));
        }
        finish((performance.now() - started) / 1000);
    };

    const finish = (seconds) => {
        run++;
        stop.hidden = true;
        const named = rows.filter((row) => row.prediction).length;
        const said = [`${named} ${named === 1 ? "photo" : "photos"} named${seconds === undefined ? "; stopped" : ` in ${seconds.toFixed(1)} s`}.`];
        if (named < rows.length) said.push(`${rows.length - named} could not be.`);
        status.innerHTML = `<p role="status">${said.join(" ")}</p>`;
        tools.hidden = !rows.length;
        draw();
    };

    input.addEventListener("change", () => {
        name([...input.files]);
        input.value = "";
    });
    stop.addEventListener("click", () => finish());
    tools.addEventListener("change", draw);
    find("#many-save").addEventListener("click", () => {
        // With a byte order mark Excel takes it for UTF-8.
        const url = URL.createObjectURL(new Blob(["\ufeff", writeCsv(rows)], {type: "text/csv"}));
        Object.assign(document.createElement("a"), {href: url, download: "flowers.csv"}).click();
        setTimeout(() => URL.revokeObjectURL(url), 60000);
    });
}
