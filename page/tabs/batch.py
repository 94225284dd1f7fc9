"""The tab for many photos, or ZIPs of photos: they are classified one after another into a table.

The table exists only in the browser, where many.js sorts it, and writes a CSV from the lines that
its rows carry.
"""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import pathlib
import time
from collections.abc import Iterator, Sequence

import gradio as gr
import numpy as np
from PIL import Image

from flowers_model.classifier import FlowerClassifier, Prediction
from flowers_model.errors import UserError
from flowers_model.photo import decode
from page import words
from page.context import PRIVATE, Page
from page.examples import pictured, temporary_url
from page.html import escape, flower
from page.server import uploads
from page.verdict import verdict
from page.visit import Visit
from page.words import ENGLISH, Words

# The first characters of formulas; some spreadsheets accept the full-width forms as well.
FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
THUMBNAIL = 112  # side, pixels: sharp at half that size, on a phone too
COLUMNS = ("photo", *Prediction.COLUMNS, "error")


@dataclasses.dataclass(frozen=True)
class Row:
    """The answer for a file, or the reason why there is none."""

    name: str  # the name of the file
    prediction: Prediction | None = None
    picture: Image.Image | None = None  # a thumbnail
    problem: str = ""


def answer(classifier: FlowerClassifier, item: uploads.Item, say: Words = ENGLISH) -> Row:
    """Classify one of many files; a problem is described by `say`."""
    try:
        pixels = decode(item.read())
        [prediction] = classifier.classify(pixels, top=1)
    except UserError as error:
        return Row(item.name, problem=say.reason(error))
    return Row(item.name, prediction, _thumbnail(pixels))


def write_line(row: Row) -> str:
    """A row of the CSV, with the label set separated by semicolons.

    All cells are quoted, and none starts like a formula, because spreadsheets would run it.
    """
    cells = {"photo": row.name, "error": row.problem}
    if row.prediction is not None:
        cells |= row.prediction.as_row()
    # A negative score is a number, not a formula.
    return _quoted(
        cells.get(name, "") if name == "refusal_score" else _harmless(cells.get(name, ""))
        for name in COLUMNS
    )


def tools(say: Words) -> str:
    """The controls to sort, filter and download the table, as HTML."""
    orders = "".join(
        f'<option value="{value}">{say(name)}</option>'
        for value, name in (("0", "as_chosen"), ("1", "least_sure"), ("-1", "most_sure"))
    )
    return (
        f'<div class="tools" data-head="{html.escape(_quoted(COLUMNS))}">'
        f"<label>{say('order')} <select>{orders}</select></label>"
        f'<label><input type="checkbox"> {say("only_unknown")}</label>'
        f'<button type="button">{say("download")}</button></div>'
    )


def head(say: Words) -> str:
    """The head of the table as HTML."""
    cells = "".join(
        f'<th scope="col">{say(name)}</th>'
        for name in ("column_photo", "column_name", "column_sure")
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>"


class Batch:
    """The tab: files, progress, controls and table."""

    def __init__(self, page: Page):
        frame = page.frame
        self._page = page
        gr.Markdown(frame.text("many_server", most=uploads.FILES))
        files = gr.File(
            file_count="multiple",
            label=frame.text("many_files"),
            height=180,
            elem_id="flowers-many-files",
        )
        with gr.Row(elem_id="flowers-many-bar"):
            self._status = gr.HTML(apply_default_css=False, elem_id="flowers-many-status")
            self._stop = gr.Button(
                frame.text("stop"), visible=False, size="sm", scale=0, elem_id="flowers-many-stop"
            )
            self._bar = gr.HTML(
                frame.html("many_tools", tools),
                js_on_load=pathlib.Path(__file__).with_name("many.js").read_text("utf-8"),
                apply_default_css=False,
                visible=False,
                elem_id="flowers-many-tools",
            )
        self._table = pictured(elem_id="flowers-many-table")

        outputs = [self._status, self._stop, self._bar, self._table]
        waiting = files.upload(
            self._wait, None, outputs, api_name="wait_many", queue=False, **PRIVATE
        )
        running = waiting.then(
            self._run,
            [files, page.visit],
            outputs,
            api_name="many",
            preprocess=False,
            **PRIVATE,
        )
        # Both cancel, because a removed photo must not be processed any more.
        for event, function, name in (
            (self._stop.click, self._stopped, "stop_many"),
            (files.clear, self._clear, "clear_many"),
        ):
            event(function, None, outputs, api_name=name, cancels=[running], **PRIVATE)

    def _wait(self, request: gr.Request) -> dict:
        return {
            self._status: _status(words.of(request)("waiting")),
            self._stop: gr.Button(visible=True),
            self._bar: gr.HTML(visible=False),
            self._table: "",
        }

    def _run(
        self, sent: list[dict] | None, visit: Visit | None, request: gr.Request
    ) -> Iterator[dict]:
        started = time.perf_counter()
        say = words.of(request)
        classifier = self._page.knowing(visit)
        rows: list[Row] = []
        body = head(say)
        files = [(one.get("orig_name") or "photo", one["path"]) for one in sent or []]
        try:
            with uploads.opened(files) as items:
                count = min(len(items), uploads.FILES)
                for item in items[:count]:
                    yield {self._status: _progress(len(rows), count, say)}
                    rows.append(answer(classifier, item, say))
                    body += _line(len(rows), rows[-1], self._url(rows[-1]), say)
                    # Without the end of the table, which browsers supply: if a text only grows,
                    # only the new part is sent.
                    yield {self._table: body}
                left_out = len(items) - len(rows)
        except OSError:  # the upload was deleted in the meantime
            yield {self._status: _status(say("gone")), **self._idle()}
            return
        seconds = time.perf_counter() - started
        yield {self._status: _status(_summary(rows, left_out, seconds, say)), **self._idle()}

    def _url(self, row: Row) -> str:
        """The address of a row's thumbnail."""
        return "" if row.picture is None else temporary_url(row.picture, self._table)

    def _idle(self, shown: bool = True) -> dict:
        return {self._stop: gr.Button(visible=False), self._bar: gr.HTML(visible=shown)}

    def _stopped(self, request: gr.Request) -> dict:
        return {self._status: _status(words.of(request)("stopped")), **self._idle()}

    def _clear(self) -> dict:
        return {self._status: "", self._table: "", **self._idle(shown=False)}


def add(page: Page) -> None:
    """Add the tab."""
    Batch(page)


def _line(number: int, row: Row, url: str, say: Words) -> str:
    """A row of the table as HTML; names of files and classes are untrusted text."""
    name = f'<span class="file"><bdi>{escape(row.name)}</bdi></span>'
    known = f'data-number="{number}" data-line="{html.escape(write_line(row))}"'
    if row.prediction is None:
        problem = escape(say("sorry", reason=row.problem))
        return f'<tr {known}><td>{name}</td><td colspan="2" class="problem">{problem}</td></tr>'
    found = row.prediction
    known += f' data-sure="{found.probabilities[0]:.6f}"{" data-refused" if found.refused else ""}'
    picture = f'<img alt="" src="{url}">'
    said = verdict(found, say)
    guess = f"<strong>{said.title}</strong>"
    if found.refused:
        likeliest = say("if_one", name=flower(found, found.labels[0], say))
        guess = f"<p>{said.title}</p><p>{likeliest}</p>"
    elif said.names:
        guess += f"<p>{said.promise} {say.listed(said.names)}</p>"
    share = say.percent(found.probabilities[0])
    return f"<tr {known}><td>{picture}{name}</td><td>{guess}</td><td>{share}</td></tr>"


def _thumbnail(pixels: np.ndarray) -> Image.Image:
    """The middle square of a photo, uint8 `(H, W, 3)`, small."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    # With `reducing_gap`, a large photo is first reduced by an integer factor, which is fast.
    return square.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula (OWASP: "CSV Injection")."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"'{text}" if text.lstrip().startswith(FORMULAS) else text


def _quoted(cells: Sequence[str]) -> str:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="").writerow(cells)
    return file.getvalue()


def _status(text: str) -> str:
    return f'<p role="status">{html.escape(text)}</p>'


def _progress(done: int, count: int, say: Words) -> str:
    label = say("named_photos")
    bar = f'<progress aria-label="{label}" value="{done}" max="{count}"></progress>'
    return f"<p>{bar} {say('progress', done=done, count=count)}</p>"


def _summary(rows: Sequence[Row], left_out: int, seconds: float, say: Words) -> str:
    named = say.photos(sum(row.prediction is not None for row in rows))
    said = [say("named_in", photos=named, seconds=say.number(seconds, 1))]
    if problems := sum(row.prediction is None for row in rows):
        said.append(say("could_not", count=problems))
    if left_out:
        said.append(say("left_out", count=left_out, most=uploads.FILES))
    return " ".join(said)
