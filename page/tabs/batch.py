"""Many at once: photos, or a ZIP of them, named one after the other; a table, and a CSV of it."""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import io
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np
from gradio.processing_utils import save_pil_to_cache
from PIL import Image

from flowers_model.classifier import FlowerClassifier, Prediction
from flowers_model.errors import UserError
from flowers_model.photo import decode
from page.examples import file_url
from page.html import UNKNOWN, WORDS, escape, flower, percent, sorry
from page.server import uploads

if TYPE_CHECKING:
    from page.context import Page

# What formulas begin with; the wide forms are read as the same signs by some spreadsheets.
FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
THUMBNAIL = 112  # side, pixels: sharp at half that size, on a phone too
COLUMNS = ("photo", "guess", "probability", "refused", "refusal_score", "label_set", "error")
INTRODUCTION = (
    f"Up to {uploads.FILES} photos at a time, or a ZIP of them, with folders or without. They are "
    "forgotten like every other photo; the table is in your browser alone."
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One file's answer, or why there is none."""

    name: str  # as its owner called it
    prediction: Prediction | None = None
    picture: Image.Image | None = None  # a thumbnail
    problem: str = ""


def answer(classifier: FlowerClassifier, item: uploads.Item) -> Row:
    """Name one of many files."""
    try:
        pixels = decode(item.read())
        [prediction] = classifier.classify(pixels, top=1)
    except UserError as error:
        return Row(item.name, problem=str(error))
    return Row(item.name, prediction, _thumbnail(pixels))


def write_csv(rows: Sequence[Row]) -> str:
    """A line a file, the label set parted by semicolons.

    All cells are quoted, and none begins like a formula, for spreadsheets would run it.
    """
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for row in rows:
        cells = [""] * 5
        if found := row.prediction:
            cells = [
                found.labels[0],
                f"{found.probabilities[0]:.6f}",
                "yes" if found.refused else "no",
                "" if found.refusal_score is None else f"{found.refusal_score:.4f}",
                ";".join(found.label_set or []),
            ]
            # A negative score is a number, not a formula.
            cells = [_harmless(cells[0]), *cells[1:4], _harmless(cells[4])]
        writer.writerow([_harmless(row.name), *cells, _harmless(row.problem)])
    return file.getvalue()


def add(page: Page) -> None:
    """Add the tab's files, its progress, its table and its download."""
    classifier = page.classifier

    def wait() -> dict:
        return {
            status: _status("Waiting for its turn …"),
            stop: gr.Button(visible=True),
            download: "",
            table: "",
        }

    def run(sent: list[dict] | None) -> Iterator[dict]:
        started = time.perf_counter()
        rows: list[Row] = []
        body = ""
        files = [(one.get("orig_name") or "photo", one["path"]) for one in sent or []]
        try:
            with uploads.opened(files) as items:
                count = min(len(items), uploads.FILES)
                for item in items[:count]:
                    yield {status: _progress(len(rows), count)}
                    rows.append(answer(classifier, item))
                    body += _line(rows[-1], preview(rows[-1]))
                    # Never the end of the table, which browsers supply: text that only grows is
                    # sent as what is new.
                    yield {table: HEAD + body, download: _link(rows)}
                left_out = len(items) - len(rows)
        except OSError:  # the upload has been deleted meanwhile
            yield {status: _status("Sorry, the photos are gone by now; send them again."), **idle()}
            return
        seconds = time.perf_counter() - started
        yield {status: _status(_summary(rows, left_out, seconds)), **idle()}

    def preview(row: Row) -> str:
        """The address of a thumbnail: a file that gradio deletes in time.

        An address that held the picture itself would stay in the server's memory of the session.
        """
        if row.picture is None:
            return ""
        path = save_pil_to_cache(row.picture, table.GRADIO_CACHE, format="jpeg")
        table.temp_files.add(path)
        return file_url(path)

    def idle() -> dict:
        return {stop: gr.Button(visible=False)}

    def stopped() -> dict:
        return {status: _status("Stopped."), **idle()}

    def clear() -> dict:
        return {status: "", download: "", table: "", **idle()}

    gr.Markdown(INTRODUCTION)
    files = gr.File(
        file_count="multiple", label="Photos, or a ZIP of them", height=180, elem_id="many-files"
    )
    with gr.Row(elem_id="many-bar"):
        status = gr.HTML(apply_default_css=False, elem_id="many-status")
        stop = gr.Button("Stop", visible=False, size="sm", scale=0, elem_id="many-stop")
        download = gr.HTML(apply_default_css=False, elem_id="many-download")
    table = gr.HTML(apply_default_css=False, elem_id="many-table")

    outputs = [status, stop, download, table]
    inside = {"api_visibility": "private", "show_progress": "hidden"}
    waiting = files.upload(wait, None, outputs, api_name="wait_many", queue=False, **inside)
    running = waiting.then(run, files, outputs, api_name="many", preprocess=False, **inside)
    # Both cancel, for a photo that is taken away must not be worked on.
    stop.click(stopped, None, outputs, api_name="stop_many", cancels=[running], **inside)
    files.clear(clear, None, outputs, api_name="clear_many", cancels=[running], **inside)


HEAD = (
    '<table><thead><tr><th scope="col">Photo</th><th scope="col">Name</th>'
    '<th scope="col">Sure</th></tr></thead><tbody>'
)


def _line(row: Row, url: str) -> str:
    """A row of the table, as HTML; names of files and classes are a stranger's text."""
    name = f'<span class="file"><bdi>{escape(row.name)}</bdi></span>'
    if row.prediction is None:
        problem = escape(sorry(UserError(row.problem)))
        return f'<tr><td>{name}</td><td colspan="2" class="problem">{problem}</td></tr>'
    found = row.prediction
    picture = f'<img alt="" src="{url}">'
    guess = f"<strong>{flower(found, found.labels[0])}</strong>"
    if found.refused:
        likeliest = WORDS["if_one"].format(name=flower(found, found.labels[0]))
        guess = f"<p>{UNKNOWN}.</p><p>{likeliest}</p>"
    elif len(found.label_set or []) > 1:
        names = ", ".join(escape(found.shown(label)) for label in found.label_set)
        guess += f"<p>{WORDS['set']} {names}</p>"
    share = percent(found.probabilities[0])
    return f"<tr><td>{picture}{name}</td><td>{guess}</td><td>{share}</td></tr>"


def _thumbnail(pixels: np.ndarray) -> Image.Image:
    """The middle square of a photo, uint8 `(H, W, 3)`, small."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    # By `reducing_gap` a large photo is first shrunk by a whole number, in a fraction of the time.
    return square.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _harmless(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: OWASP's "CSV Injection"."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"'{text}" if text.lstrip().startswith(FORMULAS) else text


def _link(rows: Sequence[Row]) -> str:
    """The table as a file that only the visitor's browser has."""
    # With a byte order mark Excel takes it for UTF-8.
    data = base64.b64encode(write_csv(rows).encode("utf-8-sig")).decode()
    return f'<a download="flowers.csv" href="data:text/csv;base64,{data}">Download as CSV</a>'


def _status(text: str) -> str:
    return f'<p role="status">{html.escape(text)}</p>'


def _progress(done: int, count: int) -> str:
    bar = f'<progress aria-label="Photos named" value="{done}" max="{count}"></progress>'
    return f"<p>{bar} {done} of {count}</p>"


def _summary(rows: Sequence[Row], left_out: int, seconds: float) -> str:
    named = sum(row.prediction is not None for row in rows)
    said = [f"{named} {'photo' if named == 1 else 'photos'} named in {seconds:.1f} s."]
    if problems := len(rows) - named:
        said.append(f"{problems} could not be.")
    if left_out:
        said.append(f"{left_out} more left out: at most {uploads.FILES} at a time are read.")
    return " ".join(said)
