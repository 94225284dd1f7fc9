// Takes a visitor's photos (chosen, dropped, pasted or taken) and uploads them.
const ENOUGH = 1600; // pixels; larger photos are scaled down before the upload
const LARGE = 1.5e6; // bytes
const place = document.getElementById("flowers-name");
const [zone, dialog, status] = [".zone", "dialog", ".status"].map((s) => element.querySelector(s));
const [chooser, camera] = element.querySelectorAll("input");
const {most, words} = element.querySelector(".intake").dataset;
const texts = JSON.parse(words);
let stream = null;

const text = (name, values = {}) => texts[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);

const say = (said, busy = false) => {
    status.textContent = said;
    zone.toggleAttribute("data-busy", busy);
};

const shrunk = async (file) => {
    if (file.size < LARGE || props.stays) return file;
    // Files that this browser cannot decode (mostly HEIC) are uploaded as they are.
    const whole = await createImageBitmap(file).catch(() => null);
    const scale = whole && ENOUGH / Math.max(whole.width, whole.height);
    if (!whole || scale >= 1) return file;
    const canvas = new OffscreenCanvas(whole.width * scale, whole.height * scale);
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, canvas.width, canvas.height);
    const blob = await canvas.convertToBlob({type: "image/jpeg", quality: 0.92});
    return new File([blob], file.name, {type: blob.type});
};

const send = async (files) => {
    if (!files.length || zone.hasAttribute("data-busy")) return;
    if (files.length > most) {
        say(text("too_many", {count: files.length, most}));
        return;
    }
    const sending = files.length > 1 ? "sending_many" : "sending";
    say(text(props.stays ? "looking" : sending, {count: files.length}), true);
    try {
        props.value = await Promise.all(
            [...files].map(async (file) => ({
                ...(await upload(await shrunk(file))),
                orig_name: file.name,
                meta: {_type: "gradio.FileData"},
            })),
        );
    } catch {
        say(text("not_sent"));
        return;
    }
    say(text("looking"), true);
    trigger("upload");
};

for (const input of [chooser, camera])
    input.addEventListener("change", () => {
        send([...input.files]);
        input.value = ""; // lets the visitor choose the same photo again
    });

// Takes photos dropped or pasted anywhere while this tab is shown; embedded in another page
// (<gradio-app>), only within the app.
const around = (!window.gradio_config && element.closest("gradio-app")) || document;
const listening = () => element.isConnected && element.offsetParent;
const carried = (items) => [...(items?.files ?? [])];
around.addEventListener("dragover", (event) => {
    if (!listening() || !event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    zone.toggleAttribute("data-over", true);
});
for (const name of ["dragleave", "drop"])
    around.addEventListener(name, () => zone.removeAttribute("data-over"));
around.addEventListener("drop", (event) => {
    if (!listening() || !carried(event.dataTransfer).length) return;
    event.preventDefault();
    send(carried(event.dataTransfer));
});
around.addEventListener("paste", (event) => {
    if (listening()) send(carried(event.clipboardData));
});
element.querySelector(".paste").addEventListener("click", async () => {
    try {
        const files = [];
        for (const item of await navigator.clipboard.read()) {
            const type = item.types.find((one) => one.startsWith("image/"));
            if (type) files.push(new File([await item.getType(type)], "pasted", {type}));
        }
        if (files.length) send(files);
        else say(text("nothing_copied"));
    } catch {
        say(text("clipboard_closed"));
    }
});

// Phones open their own camera app; elsewhere the page shows a live picture of the camera.
element.querySelector(".take").addEventListener("click", async () => {
    if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices) {
        camera.click();
        return;
    }
    try {
        stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1600}}});
    } catch {
        say(text("no_camera"));
        return;
    }
    const video = dialog.querySelector("video");
    video.srcObject = stream;
    dialog.showModal();
    await video.play();
});
dialog.addEventListener("close", () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
});
dialog.querySelector(".shoot").addEventListener("click", async () => {
    const video = dialog.querySelector("video");
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    const blob = await canvas.convertToBlob({type: "image/jpeg", quality: 0.95});
    send([new File([blob], "taken.jpg", {type: blob.type})]);
});
dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());

document.addEventListener("answered", () => {
    say("");
    place.dataset.answered = "";
    const heading = document.querySelector("#flowers-answer h2, #flowers-answer .sorry");
    heading?.focus({preventScroll: true});
    const {top} = document.getElementById("flowers-answer").getBoundingClientRect();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (top < 0 || top > innerHeight / 3)
        place.scrollIntoView({behavior: still ? "instant" : "smooth"});
});
