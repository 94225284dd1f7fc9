// The address that the page was opened by, of a flower or of a labelled photo, is followed. Within
// another page (<gradio-app>), address and title are that page's.
if (!window.gradio_config) return;

const title = document.querySelector("#flowers-hero h1");
if (title && document.title === window.gradio_config.title) document.title = title.textContent;

// Within huggingface.co's frame the address is the frame's owner's:
// https://huggingface.co/docs/hub/spaces-handle-url-parameters
document.addEventListener("addressed", () => {
    if (parent === window) return;
    parent.postMessage({queryString: "", hash: location.hash}, "https://huggingface.co");
});

const sent = new URLSearchParams(location.hash.slice(1));
// So that the way back from it leads to the page as it is opened otherwise.
if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
if (sent.has("flower")) trigger("open", {flower: sent.get("flower")});
else if (sent.has("photo")) trigger("choose", {photo: Number(sent.get("photo"))});
