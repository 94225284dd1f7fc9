"""Teach it a flower that it does not know: for one visit, in the visitor's session alone."""

from __future__ import annotations

import base64
import dataclasses
import pathlib
import shutil
import tempfile

import gradio as gr
import numpy as np

from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier
from flowers_model.errors import UserError
from flowers_model.grow import read_head
from flowers_model.lesson import Example, Lesson
from flowers_model.photo import decode, reduced
from flowers_model.similar import Similar
from flowers_model.uncertainty import directions
from page import words
from page.context import PRIVATE, Page
from page.html import SIMILAR, escape, flower, read, sorry
from page.verdict import verdict
from page.words import Words

FEWEST, MOST = 3, 10  # photos of a flower
FLOWERS = 5  # that one visit teaches
LONGEST = 60  # letters of a name
SIDE = 512  # longest side of a photo that is kept for the visit, pixels
THUMBNAIL = 112  # pixels
VISIT = 3600  # seconds without a call after which a visit is forgotten


@dataclasses.dataclass(frozen=True)
class Visit:
    """What a visitor has taught.

    Attributes:
        photos: by flower, a title and JPEG bytes each.
        thumbnails: of them, as addresses, in the order of the embeddings that the lesson keeps.
    """

    photos: dict[str, list[tuple[str, bytes]]]
    lesson: Lesson
    thumbnails: list[str]


def can_be_taught(classifier: FlowerClassifier) -> bool:
    """Whether a model has what teaching needs: the statistics, and a head without hidden layers."""
    if not (classifier.folder / bundle.STATISTICS).is_file():
        return False
    try:
        read_head(classifier.folder)
    except UserError:
        return False
    return True


def taught(
    classifier: FlowerClassifier, visit: Visit | None, name: object, files: object, say: Words
) -> Visit:
    """The visit with more photos of a flower.

    Args:
        name: as the visitor wrote it.
        files: as gradio describes them.
        say: the visitor's words.

    Raises:
        UserError: for a name or photos that cannot be used.
    """
    name = " ".join(name.split()) if isinstance(name, str) else ""
    if not name or len(name) > LONGEST or not name.isprintable():
        raise UserError(say("teach_no_name", most=LONGEST))
    known = {one.casefold(): one for one in classifier.label_names}
    name = known.get(name.casefold(), name)
    photos = dict(visit.photos) if visit else {}
    photos = {one: list(those) for one, those in photos.items()}
    name = next((one for one in photos if one.casefold() == name.casefold()), name)
    files = files if isinstance(files, list) else []
    own = photos.setdefault(name, [])
    if len(photos) > FLOWERS:
        raise UserError(say("teach_flowers", count=FLOWERS))
    if not files or len(own) + len(files) > MOST:
        raise UserError(say("teach_count", most=MOST))
    for file in files:
        title = str(file.get("orig_name") or f"photo {len(own) + 1}")
        own.append((title, reduced(read(file), SIDE, quality=92)))
    lesson = classifier.teach(
        {
            one: [Example(title, decode(data)) for title, data in those]
            for one, those in photos.items()
        },
        "a visit",
    )
    # A photo that came twice counts once.
    thumbnails = [_thumbnail(one.pixels) for those in lesson.examples.values() for one in those]
    return Visit(photos, lesson, thumbnails)


def add(page: Page) -> None:
    """Add the tab."""
    classifier, frame = page.classifier, page.frame
    numbers = {"fewest": FEWEST, "most": MOST}
    similar = Similar(classifier.folder)

    def teach(visit: Visit | None, name: object, sent: object, request: gr.Request) -> dict:
        say = words.of(request)
        try:
            visit = taught(classifier, visit, name, sent, say)
        except FileNotFoundError:  # deleted, as promised
            return {said: _alert(say("gone"))}
        except UserError as error:
            return {said: _alert(sorry(error, say))}
        return {
            state: visit,
            said: _lesson(visit, say),
            files: None,
            after: gr.Column(visible=True),
            answer: "",
            download: gr.File(visible=False, value=None),
        }

    def show(visit: Visit | None, file: dict | None, request: gr.Request) -> str:
        say = words.of(request)
        if visit is None or not file:
            return ""
        try:
            pixels = read(file)
        except FileNotFoundError:
            return _alert(say("feedback_gone"))
        except UserError as error:
            return _alert(sorry(error, say))
        model = visit.lesson.classifier
        answers = model.answer(model.prepare(pixels)[None])
        return _answer(visit, answers, _alike(visit, answers.embeddings[0]), say)

    def _alike(visit: Visit, embedding: np.ndarray) -> str:
        """The labelled photos most like this one, taught ones among them."""
        own = visit.lesson.statistics.taught[-len(visit.thumbnails) :]
        cosines = directions(own) @ directions(embedding[None])[0]
        names = [name for name, those in visit.lesson.examples.items() for _ in those]
        found = [
            (float(cosine), name, thumbnail)
            for cosine, name, thumbnail in zip(cosines, names, visit.thumbnails, strict=True)
        ]
        for number in similar.nearest(embedding, SIMILAR):
            cosine = similar.likeness(embedding, number)
            found.append((cosine, page.examples.labels[number], page.examples.url(number)))
        found.sort(key=lambda one: -one[0])
        return "".join(
            f'<figure><img src="{address}" alt="" width="{THUMBNAIL}">'
            f'<figcaption class="caption">{escape(name)}</figcaption></figure>'
            for _, name, address in found[:SIMILAR]
        )

    def make(visit: Visit | None) -> dict:
        if visit is None:
            return {}
        with tempfile.TemporaryDirectory() as room:
            visit.lesson.write(pathlib.Path(room, "model"))
            folder = pathlib.Path(tempfile.mkdtemp(dir=_cache(download)))
            path = shutil.make_archive(str(folder / "taught-model"), "zip", room, "model")
        download.temp_files.add(path)
        return {download: gr.File(value=path, visible=True)}

    def forget(request: gr.Request) -> dict:
        return {
            state: None,
            said: f'<p role="status">{words.of(request)("teach_forgotten")}</p>',
            after: gr.Column(visible=False),
            answer: "",
            photo: None,
            download: gr.File(visible=False, value=None),
        }

    state = gr.State(None, time_to_live=VISIT)
    with gr.Column(elem_id="flowers-teach"):
        gr.Markdown(frame.text("teach_introduction", **numbers))
        name = gr.Textbox(
            label=frame.text("teach_name"), max_length=LONGEST, elem_id="flowers-teach-name"
        )
        files = gr.File(
            label=frame.text("teach_photos", **numbers),
            file_count="multiple",
            type="filepath",
            elem_id="flowers-teach-photos",
        )
        press = gr.Button(frame.text("teach_press"), variant="primary", elem_id="flowers-teach-it")
        said = gr.HTML("", apply_default_css=False, elem_id="flowers-teach-said")
        with gr.Column(visible=False) as after:
            photo = gr.File(label=frame.text("teach_try"), elem_id="flowers-teach-try")
            answer = gr.HTML("", apply_default_css=False, elem_id="flowers-teach-answer")
            with gr.Row():
                ask = gr.Button(frame.text("teach_download"), elem_id="flowers-teach-download")
                drop = gr.Button(frame.text("teach_forget"), elem_id="flowers-teach-forget")
            download = gr.File(
                label=frame.text("teach_model"), visible=False, elem_id="flowers-teach-model"
            )
    settings = {"preprocess": False, **PRIVATE}
    press.click(
        teach, [state, name, files], [state, said, files, after, answer, download], **settings
    )
    photo.upload(show, [state, photo], answer, **settings)
    ask.click(make, state, download, **PRIVATE)
    drop.click(forget, None, [state, said, after, answer, photo, download], **PRIVATE)


def _cache(component: gr.File) -> str:
    folder = pathlib.Path(component.GRADIO_CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _lesson(visit: Visit, say: Words) -> str:
    """What was learned, and what is to be said of it, as HTML."""
    lines = []
    for one in visit.lesson.classes:
        told = [f"<b>{escape(one.name)}</b>", say.photos(one.photos)]
        if one.right is not None:
            told.append(say("teach_right", share=say.share(one.right, 0)))
        lines.append(f"<li>{say.listed(told)}</li>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in visit.lesson.notes)
    notes = f"<h3>{say('teach_look')}</h3><ul>{notes}</ul>" if notes else ""
    photos = "".join(
        f'<img src="{address}" alt="" width="{THUMBNAIL}">' for address in visit.thumbnails
    )
    return (
        f'<div role="status"><p>{say("teach_knows")}</p><ul>{"".join(lines)}</ul></div>'
        f'<div class="strip">{photos}</div>{notes}'
    )


def _answer(visit: Visit, answers: object, alike: str, say: Words) -> str:
    """The answer to a photo, as HTML."""
    [prediction] = visit.lesson.classifier.predictions(answers, top=5)
    rows = "".join(
        f"<li>{flower(prediction, label, say)} <b>{say.percent(probability)}</b></li>"
        for label, probability in zip(prediction.labels, prediction.probabilities, strict=True)
    )
    head = verdict(prediction, say).title
    if prediction.refused:
        head += f". {say('if_one', name=escape(prediction.shown(prediction.labels[0])))}"
    return (
        f'<div role="status"><h3>{head}</h3><ol>{rows}</ol></div>'
        f'<h3>{say("like_it")}</h3><div class="strip">{alike}</div>'
    )


def _thumbnail(pixels: np.ndarray) -> str:
    """A small picture as an address."""
    data = reduced(pixels, 2 * THUMBNAIL, quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _alert(text: str) -> str:
    return f'<p class="sorry" role="alert">{escape(text)}</p>'
