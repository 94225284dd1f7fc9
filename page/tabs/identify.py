"""The tab that names a flower in a visitor's photos, or in a labelled photo."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import gradio as gr
import numpy as np
from PIL import Image

from flowers_model.errors import UserError
from flowers_model.photo import decode
from flowers_model.similar import Similar
from page import words
from page.context import PRIVATE, Page
from page.examples import pictured, temporary_url
from page.html import MOST, SIMILAR, chosen, escape, read, sorry, strip
from page.tabs import feedback, intake
from page.tabs.answer import Answer, Seen, render
from page.visit import Visit
from page.words import ENGLISH, Words

HERE = pathlib.Path(__file__).parent
PREVIEW = 800  # pixels, the longest side of the photo that the page shows
# Tells the page's own script to show the answer.
ANSWERED = """() => requestAnimationFrame(() => {
    const {photo} = document.querySelector("#flowers-answer .answer")?.dataset ?? {};
    const here = location.pathname + location.search;
    // Within another page (<gradio-app>), the address is that page's.
    if (window.gradio_config)
        history.replaceState(history.state, "", photo ? `#photo=${photo}` : here);
    for (const name of ["addressed", "answered"]) document.dispatchEvent(new Event(name));
})"""
# Sends the number of a photo that was tapped.
CHOOSE = """
element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-photo]");
    if (button) trigger("choose", {photo: Number(button.dataset.photo)});
});
"""


class Photo(NamedTuple):
    """A photo of a visitor, as the network and the page need it."""

    input: np.ndarray  # uint8 (S, S, 3)
    shape: tuple[int, int]  # height and width, pixels
    url: str  # its URL


class Identify:
    """The tab: a visitor's photos, their answer, and some labelled photos to try.

    Attributes:
        photos: the visitor's photos, a list of files; None if the answer is to a labelled photo.
        answer: the answer; its event `open` carries the number of a `flower`.
    """

    def __init__(self, page: Page):
        """Add the components, connect their events, and run the network once."""
        classifier, frame = page.classifier, page.frame
        self._page, self._examples = page, page.examples
        self._similar = Similar(classifier.folder)
        with gr.Column(elem_id="flowers-name"):
            self.photos = intake.photos(frame)
            scripts = [HERE / "answer.js", HERE / "address.js"]
            self.answer = pictured(
                js_on_load="\n".join(script.read_text("utf-8") for script in scripts),
                elem_id="flowers-answer",
            )
            if page.kept is not None:
                feedback.add(page.kept, classifier.manifest, self.photos, frame)
            tried = pictured(
                frame.html("examples", page.examples.some),
                js_on_load=CHOOSE,
                visible=bool(page.examples.files),
                elem_id="flowers-examples",
            )
            note = frame.html("note", lambda say: _note(page, say))
            gr.HTML(note, apply_default_css=False, elem_classes="note")

        # Without gradio's preprocessing, which decodes photos in another way.
        sent = self.photos.upload(
            self.show, [self.photos, page.visit], self.answer, preprocess=False, **PRIVATE
        )
        sent.then(js=ANSWERED)
        for shown in (tried, self.answer):
            tapped = shown.choose(
                self.show_example, page.visit, [self.photos, self.answer], **PRIVATE
            )
            tapped.then(js=ANSWERED)

        # The first photo takes longer, and should not be a visitor's.
        self._say([self._prepared(np.full((64, 64, 3), 128, np.uint8), "")], 0, None, ENGLISH)

    def show_example(self, visit: Visit | None, event: gr.EventData, request: gr.Request) -> dict:
        """Answer the labelled photo whose number is `photo` in an event.

        Args:
            visit: what the visitor has taught.

        Returns:
            The new values of `photos` and `answer`, in the visitor's language.
        """
        started = time.perf_counter()
        examples, say = self._examples, words.of(request)
        number = chosen(event, "photo", len(examples.files), say)
        pixels = decode(pathlib.Path(examples.files[number]).read_bytes())
        photo = self._prepared(pixels, examples.url(number))
        said = self._say([photo], started, visit, say, number)
        return {self.photos: None, self.answer: said}

    def show(self, files: list[dict] | None, visit: Visit | None, request: gr.Request) -> str:
        """The answer to a visitor's photos, as HTML.

        Args:
            files: as gradio describes them.
            visit: what the visitor has taught.
        """
        started = time.perf_counter()
        say = words.of(request)
        try:
            if not files:
                raise UserError("there is no photo here; send one as a file")
            if len(files) > MOST:
                raise UserError(f"these are {len(files)} photos; send up to {MOST} of one plant")
            photos = []
            for file in files:  # one after the other: a photo can be large while it is decoded
                pixels = read(file)
                photos.append(self._prepared(pixels, self._preview(pixels)))
            return self._say(photos, started, visit, say)
        except UserError as error:
            return f'<p class="sorry" role="alert" tabindex="-1">{escape(sorry(error, say))}</p>'

    def _prepared(self, pixels: np.ndarray, url: str) -> Photo:
        return Photo(self._page.classifier.prepare(pixels), pixels.shape[:2], url)

    def _preview(self, pixels: np.ndarray) -> str:
        """The URL of an upright copy of a photo, in a size and format that every browser shows."""
        picture = Image.fromarray(pixels)
        picture.thumbnail((PREVIEW, PREVIEW))
        return temporary_url(picture, self.answer)

    def _say(
        self,
        photos: Sequence[Photo],
        started: float,
        visit: Visit | None,
        say: Words,
        known: int | None = None,
    ) -> str:
        """The answer to photos of one plant, as HTML.

        Args:
            started: the start of the answer, from `time.perf_counter()`.
            visit: what the visitor has taught.
            say: the visitor's words.
            known: the number of a labelled photo.
        """
        classifier, examples = self._page.knowing(visit), self._examples
        flowers = {label: number for number, label in enumerate(classifier.label_names)}
        logits, embeddings, maps = classifier.engine.run(
            np.stack([photo.input for photo in photos]), ("logits", "embedding", "class_maps")
        )
        each = classifier.judge(logits, embeddings)
        whole = each if len(photos) == 1 else classifier.together(each)
        [prediction] = classifier.predictions(whole, top=5)
        alone = classifier.predictions(each, top=1)
        maps = maps[..., [flowers[label] for label in prediction.labels]]
        seen = [
            Seen(photo.url, photo.shape, heat, one.shown(one.labels[0]), one.probabilities[0])
            for photo, heat, one in zip(photos, maps, alone, strict=True)
        ]
        answer = Answer(
            prediction,
            seen,
            classifier.manifest.input.crop,
            classifier.manifest.scientific_names,
            flowers,
            self._alike(whole.embeddings[0], visit, known, say),
            time.perf_counter() - started,
            truth=None if known is None else examples.labels[known],
            credit="" if known is None else examples.credit(known, say),
            known=known,
            teachable=self._page.teachable and known is None,
        )
        return render(answer, say)

    def _alike(
        self, embedding: np.ndarray, visit: Visit | None, known: int | None, say: Words
    ) -> str:
        """The labelled photos most like one, including those that the visitor has taught."""
        similar, examples = self._similar, self._examples
        found = [
            (similar.likeness(embedding, number), examples.figure(number, say, caption=True))
            for number in similar.nearest(embedding, SIMILAR + 1)
            if number != known
        ]
        found += visit.alike(embedding) if visit else []
        found.sort(key=lambda one: -one[0])
        return strip([figure for _, figure in found[:SIMILAR]])


def add(page: Page) -> Identify:
    """Add the tab."""
    return Identify(page)


def _note(page: Page, say: Words) -> str:
    """Notes on privacy and on what not to rely on, as HTML."""
    lines = [say("privacy_server"), say("caution", count=len(page.classifier.label_names))]
    if page.kept is not None:
        names = {"button": say("feedback_keep"), "wrong": say("feedback_wrong")}
        lines[0] += f" {say('privacy_unless', **names)}"
        if page.teachable:
            lines[0] += f" {say('privacy_send', button=say('teach_send'))}"
    return "".join(f"<p>{line}</p>" for line in lines)
