// The gallery: finds flowers by name, opens one of them, and sends one of its photos to the model.
const place = () => document.getElementById("flowers-gallery");
let scrolled = 0;

element.addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    let found = 0;
    for (const card of place().querySelectorAll("[data-find]")) {
        card.hidden = !words.every((word) => card.dataset.find.includes(word));
        found += !card.hidden;
    }
    const count = element.querySelector(".count");
    count.textContent = found ? count.dataset.all : count.dataset.none;
});

element.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const {photo, flower} = button.dataset;
    if (photo) trigger("choose", {photo: Number(photo)});
    else if (flower) {
        if (!place().dataset.open) scrolled = scrollY;
        place().dataset.open ||= "waiting";
        trigger("open", {flower: Number(flower)});
    } else if (button.matches(".back")) history.back();
});

// The browser's Back, on phones mostly a gesture, leads from a flower to the gallery.
addEventListener("popstate", () => {
    if (!place()?.dataset.open) return;
    delete place().dataset.open;
    scrollTo(0, scrolled);
});
