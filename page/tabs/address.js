// Follows the address that the page was opened with, of a flower or a labelled photo. Embedded in
// another page (<gradio-app>), address and title belong to that page.
if (!window.gradio_config) return;

const title = document.querySelector("#flowers-hero h1");
if (title && document.title === window.gradio_config.title) document.title = title.textContent;

// Embedded in huggingface.co, the address bar belongs to the parent page:
// https://huggingface.co/docs/hub/spaces-handle-url-parameters
document.addEventListener("addressed", () => {
    if (parent === window) return;
    parent.postMessage({queryString: "", hash: location.hash}, "https://huggingface.co");
});

const sent = new URLSearchParams(location.hash.slice(1));
// Going back from it leads to the start page.
if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
if (sent.has("flower")) trigger("open", {flower: sent.get("flower")});
else if (sent.has("photo")) trigger("choose", {photo: Number(sent.get("photo"))});
