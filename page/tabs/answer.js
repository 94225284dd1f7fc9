// The answer: switches between its photos, and shows for a name where the network looked.
const card = () => element.querySelector(".answer");

const shine = (name) => {
    const lit = name !== null;
    for (const map of element.querySelectorAll(".map")) map.hidden = map.dataset.name !== name;
    for (const button of element.querySelectorAll("[data-name]:is(button)"))
        button.setAttribute("aria-pressed", String(button.dataset.name === name));
    element.querySelector(".switch").setAttribute("aria-checked", String(lit));
    card().toggleAttribute("data-lit", lit);
};

element.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const {photo, flower, name, seen} = button.dataset;
    if (photo) trigger("choose", {photo: Number(photo)});
    else if (flower) trigger("open", {flower: Number(flower)});
    else if (name) shine(button.getAttribute("aria-pressed") === "true" ? null : name);
    else if (button.matches(".offer")) trigger("teach", {});
    else if (button.matches(".switch")) shine(card().hasAttribute("data-lit") ? null : "0");
    else if (seen) {
        for (const figure of element.querySelectorAll("figure[data-seen]"))
            figure.hidden = figure.dataset.seen !== seen;
        for (const other of element.querySelectorAll("button[data-seen]"))
            other.setAttribute("aria-pressed", String(other === button));
    }
});
