"""Teach it a flower that it does not know: for one visit, in all parts of the page."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import gradio as gr

from flowers_model.bundle import Taught
from flowers_model.errors import UserError
from flowers_model.photo import decode
from page import words
from page.context import PRIVATE, Page
from page.html import escape, sorry, strip
from page.server.kept import KeptPhotos
from page.visit import FEWEST, LONGEST, MOST, Visit, taught
from page.words import Words


class Bar:
    """What the visitor has taught, above all tabs, and the button that forgets it.

    Attributes:
        row: the whole; hidden while nothing is taught.
        said: the taught names.
        forget: the button.
    """

    def __init__(self, page: Page):
        with gr.Row(visible=False, elem_id="flowers-visit") as self.row:
            self.said = gr.HTML("", apply_default_css=False, elem_id="flowers-visit-knows")
            self.forget = gr.Button(
                page.frame.text("teach_forget"), scale=0, min_width=160, elem_id="flowers-forget"
            )

    def of(self, visit: Visit | None, say: Words) -> dict:
        """What `row` and `said` become."""
        names = [f"<b>{escape(name)}</b>" for name in visit.photos] if visit else []
        return {
            self.row: gr.Row(visible=visit is not None),
            self.said: f"<p>{say('teach_knows')} {say.listed(names)}</p>",
        }


class Teach:
    """The tab: a name and photos, what was learned of them, and what can be done with it.

    Attributes:
        files: the photos that are about to be taught.
        again: the button that leads to the answers.
        taught, forgotten: the events after which the page knows something else.
    """

    def __init__(self, page: Page, bar: Bar):
        """Add the components and connect their events."""
        self._page, self._bar = page, bar
        frame = page.frame
        numbers = {"fewest": FEWEST, "most": MOST}
        with gr.Column(elem_id="flowers-teach"):
            gr.Markdown(frame.text("teach_introduction", **numbers))
            name = gr.Textbox(
                label=frame.text("teach_name"), max_length=LONGEST, elem_id="flowers-teach-name"
            )
            self.files = gr.File(
                label=frame.text("teach_photos", **numbers),
                file_count="multiple",
                elem_id="flowers-teach-photos",
            )
            press = gr.Button(
                frame.text("teach_press"), variant="primary", elem_id="flowers-teach-it"
            )
            self._said = gr.HTML("", apply_default_css=False, elem_id="flowers-teach-said")
            with gr.Column(visible=False) as self._after:
                with gr.Row():
                    self.again = gr.Button(
                        frame.text("teach_try"), variant="primary", elem_id="flowers-teach-try"
                    )
                    make = gr.Button(frame.text("teach_download"), elem_id="flowers-teach-download")
                self._model = gr.File(
                    label=frame.text("teach_model"), visible=False, elem_id="flowers-teach-model"
                )
                self._sent = gr.HTML("", apply_default_css=False, elem_id="flowers-teach-sent")
                if page.kept is not None:
                    self._add_sending(page.kept)
        changed = [page.visit, self._said, self.files, self._after, self._model, self._sent]
        changed += [bar.row, bar.said]
        waiting = press.click(self._wait, None, self._said, queue=False, **PRIVATE)
        self.taught = waiting.then(
            self._teach, [page.visit, name, self.files], changed, preprocess=False, **PRIVATE
        )
        self.forgotten = bar.forget.click(self._forget, None, changed, **PRIVATE)
        make.click(self._make, page.visit, self._model, **PRIVATE)

    def _add_sending(self, kept: KeptPhotos) -> None:
        """Add what sends the taught photos to the page's owner, who wants them."""

        def explain(say: Words) -> str:
            text = say("teach_send_say", button=say("teach_send"), where=kept.where(say))
            return f"<p>{text}</p>"

        def send(visit: Visit | None, request: gr.Request) -> str:
            if visit is None:
                return ""
            say = words.of(request)
            try:
                for name, photos in visit.photos.items():
                    for _, data in photos:
                        kept.keep(decode(data), name, new=True)
            except UserError as error:
                return _alert(sorry(error, say))
            count = sum(map(len, visit.photos.values()))
            told = say("feedback_kept", name=say.listed([*visit.photos]), photos=say.photos(count))
            return f'<p role="status">{escape(told)}</p>'

        frame = self._page.frame
        gr.HTML(frame.html("sending", explain), apply_default_css=False)
        press = gr.Button(frame.text("teach_send"), elem_id="flowers-teach-send")
        press.click(send, self._page.visit, self._sent, **PRIVATE)

    def _wait(self, request: gr.Request) -> str:
        return f'<p role="status">{words.of(request)("teach_learning")}</p>'

    def _teach(self, visit: Visit | None, name: object, sent: object, request: gr.Request) -> dict:
        say = words.of(request)
        try:
            visit = taught(self._page.classifier, visit, name, sent, say)
        except FileNotFoundError:  # deleted, as promised
            return {self._said: _alert(say("gone"))}
        except UserError as error:
            return {self._said: _alert(sorry(error, say))}
        return self._changed(visit, _lesson(visit, say), say)

    def _forget(self, request: gr.Request) -> dict:
        say = words.of(request)
        return self._changed(None, f'<p role="status">{say("teach_forgotten")}</p>', say)

    def _changed(self, visit: Visit | None, said: str, say: Words) -> dict:
        """What the components become when the page knows something else."""
        return {
            self._page.visit: visit,
            self._said: said,
            self.files: None,
            self._after: gr.Column(visible=visit is not None),
            self._model: gr.File(visible=False, value=None),
            self._sent: "",
            **self._bar.of(visit, say),
        }

    def _make(self, visit: Visit | None) -> dict:
        """The taught model as a ZIP of its bundle."""
        if visit is None:
            return {}
        cache = pathlib.Path(self._model.GRADIO_CACHE)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as room:
            visit.lesson.write(pathlib.Path(room, "model"))
            folder = pathlib.Path(tempfile.mkdtemp(dir=cache))
            path = shutil.make_archive(str(folder / "taught-model"), "zip", room, "model")
        self._model.temp_files.add(path)
        return {self._model: gr.File(value=path, visible=True)}


def add(page: Page, bar: Bar) -> Teach:
    """Add the tab."""
    return Teach(page, bar)


def paths(files: Sequence[dict] | None) -> list[str] | None:
    """A visitor's photos, as `Teach.files` takes them."""
    return [file["path"] for file in files] if files else None


def _lesson(visit: Visit, say: Words) -> str:
    """What was learned, and what is to be said of it, as HTML."""
    lines = []
    for one in visit.lesson.classes:
        told = [f"<b>{escape(one.name)}</b>", say.photos(one.photos)]
        if one.right is not None:
            told.append(say("teach_right", share=say.share(one.right, 0)))
        lines.append(f"<li>{say.listed(told)}</li>")
    notes = "".join(
        f"<li>{note}</li>" for one in visit.lesson.classes for note in _doubts(visit, one, say)
    )
    notes = f'<h3>{say("teach_look")}</h3><ul class="doubts">{notes}</ul>' if notes else ""
    photos = strip([one for name in visit.photos for one in visit.figures(name)])
    return (
        f'<div role="status"><p>{say("teach_knows")}</p><ul>{"".join(lines)}</ul></div>'
        f"{photos}{notes}"
    )


def _doubts(visit: Visit, taught: Taught, say: Words) -> list[str]:
    """What is to be said of a flower's photos, as HTML: too few, or one that may be wrong."""
    name, lesson = escape(taught.name), visit.lesson
    notes = []
    if taught.new and taught.photos < FEWEST:
        few = {"photos": say.photos(taught.photos), "fewest": FEWEST, "most": MOST}
        notes.append(say("teach_few", name=name, **few))
    examples, answers = lesson.examples[taught.name], lesson.answers[taught.name]
    shown = visit.classifier.manifest.display_names
    for example, address, answer in zip(
        examples, visit.thumbnails[taught.name], answers, strict=True
    ):
        if answer is None or answer == (taught.name, False):
            continue
        label, _ = answer
        word = "teach_unsure" if label == taught.name else "teach_odd"
        other = escape(shown.get(label, label))
        text = say(word, photo=escape(example.title), name=name, other=other)
        notes.append(f'<img src="{address}" alt=""> {text}')
    return notes


def _alert(text: str) -> str:
    return f'<p class="sorry" role="alert">{escape(text)}</p>'
