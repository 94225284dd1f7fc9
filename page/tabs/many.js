// The table of many photos: sorts and filters its rows, and downloads all of them as a CSV.
const [order, unknown] = ["select", "input"].map((one) => element.querySelector(one));
const body = () => document.querySelector("#flowers-many-table tbody");
const rows = () => [...body().rows].sort((a, b) => a.dataset.number - b.dataset.number);

element.addEventListener("change", () => {
    const way = Number(order.value);
    const sure = (row) => Number(row.dataset.sure ?? -1);
    const sorted = rows().sort((a, b) => way * (sure(a) - sure(b)));
    for (const row of sorted) row.hidden = unknown.checked && !("refused" in row.dataset);
    body().append(...sorted);
});

element.querySelector("button").addEventListener("click", () => {
    const {head} = element.querySelector(".tools").dataset;
    const lines = [head, ...rows().map((row) => row.dataset.line)].map((line) => `${line}\r\n`);
    // The byte order mark makes Excel read the file as UTF-8.
    const url = URL.createObjectURL(new Blob(["\ufeff", ...lines], {type: "text/csv"}));
    Object.assign(document.createElement("a"), {href: url, download: "flowers.csv"}).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
});
