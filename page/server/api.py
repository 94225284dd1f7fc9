"""The page's API: what programs and assistants may call.

Three endpoints of gradio's, which its clients and MCP reach, and a plain one: `POST /classify` with
a photo's bytes as the body, or as a form's file, gives what gradio's `/classify` gives, in one
request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import pathlib
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np
from gradio.components.api_component import Api
from gradio_client.utils import is_file_obj_with_meta
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowers_model import hub
from flowers_model.classifier import FlowerClassifier, Prediction
from flowers_model.errors import UserError
from flowers_model.explain import explain as draw_map
from page.html import sorry
from page.server import limits
from page.server.limits import BusyError, Workers
from page.verdict import verdict
from page.words import ENGLISH

if TYPE_CHECKING:
    from page.context import Page

BATCH = 50  # photos of one call
TOP = 5  # names that are given


# What an upload and an answer are, as gradio's documentation of the API shows them.
UPLOAD = {
    "anyOf": [
        {"type": "string", "description": "a data: URI"},
        {"type": "object", "properties": {"path": {"type": "string"}, "meta": {}}},
    ]
}
ANSWER = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "label": {"type": "string"},
        "display_name": {"type": "string"},
        "confidences": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"label": {"type": "string"}, "confidence": {"type": "number"}},
            },
        },
        "refused": {"type": "boolean"},
        "refusal_score": {"type": "number"},
        "label_set": {"type": "array", "items": {"type": "string"}},
        "label_set_coverage": {"type": "number"},
    },
}
EXAMPLE = {"path": "photo.jpg", "url": "photo.jpg", "meta": {"_type": "gradio.FileData"}}


def add(page: Page) -> tuple[Route, ...]:
    """Add the endpoints `/classify`, `/classify_batch` and `/explain`; returns the plain one."""
    classifier = page.classifier
    model = model_id(classifier)
    workers = Workers(limits.THREADS, limits.WAITING)

    def name(data: bytes) -> dict:
        [prediction] = classifier.classify(data, TOP)
        return _answer(model, prediction)

    def name_upload(photo: dict | str | None) -> dict:
        return name(_read(photo))

    def name_many(photos: list[dict | str]) -> list[dict]:
        inputs, answers = [], []
        for photo in photos:
            try:
                inputs.append(classifier.prepare(_read(photo)))
                answers.append(None)
            except UserError as error:
                answers.append({"error": sorry(error)})
        named = iter(())
        if inputs:
            found = classifier.answer(np.stack(inputs))
            named = iter(classifier.predictions(found, TOP))
        return [one or _answer(model, next(named)) for one in answers]

    def draw(photo: dict | str | None):
        return draw_map(classifier, _read(photo))

    async def work(function, *arguments):
        try:
            return await asyncio.wrap_future(workers.submit(function, *arguments))
        except UserError as error:
            raise gr.Error(sorry(error), print_exception=False) from None

    async def classify(photo):
        """Name the flower in a photo: a dictionary with the likeliest name, `label`, and what to
        call it to people, `display_name`, where the data set's name misleads; the five
        likeliest with their calibrated probabilities, 0 to 1 and highest first, `confidences`;
        whether the photo was `refused`, since it does not look like a flower that the model knows,
        with a `message` then; its `refusal_score`, above 1 where it was; the `label_set`, names of
        which one is right for so many photos as `label_set_coverage` says, 0 to 1; and the `model`.

        Args:
            photo: a JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF: an uploaded file, or a data: URI in base64. URLs are refused.
        """  # noqa: E501
        return await work(name_upload, photo)

    async def classify_batch(photos):
        """Name the flowers in up to 50 photos: a list of dictionaries in their order, each as
        `/classify` gives it, or with an `error` for what cannot be read as a photo.

        Args:
            photos: up to 50 photos, each as for classify.
        """
        if not isinstance(photos, list) or not 1 <= len(photos) <= BATCH:
            raise gr.Error(f"Sorry, a batch is 1 to {BATCH} photos.", print_exception=False)
        return await work(name_many, photos)

    async def explain(photo):
        """Draw where the network looked: the middle square of a photo, with the places that spoke
        for the likeliest name in warm light.

        Args:
            photo: as for classify.
        """
        return await work(draw, photo)

    async def classify_plainly(request: Request) -> JSONResponse:
        try:
            data = await _sent(request)
            answer = await asyncio.wrap_future(workers.submit(name, data))
        except UserError as error:
            status = 503 if isinstance(error, BusyError) else 400
            return JSONResponse({"error": sorry(error)}, status)
        return JSONResponse(answer)

    # Calls wait for the workers, not for one another in gradio's queue. And without gradio's
    # preprocessing: files arrive as they are.
    settings = {"preprocess": False, "queue": False, "concurrency_limit": None}
    answer = Api(None, ANSWER, "Answer")
    gr.on([], classify, _upload("Photo", UPLOAD, EXAMPLE), answer, api_name="classify", **settings)
    answers = Api(None, {"type": "array", "items": ANSWER}, "Answers")
    photos = _upload("Photos", {"type": "array", "items": UPLOAD}, [EXAMPLE])
    gr.on([], classify_batch, photos, answers, api_name="classify_batch", **settings)
    picture = gr.Image(label="Where the network looked", format="jpeg", visible=False)
    gr.on([], explain, _upload("Photo", UPLOAD, EXAMPLE), picture, api_name="explain", **settings)
    return (Route("/classify", classify_plainly, methods=["POST"]),)


def model_id(classifier: FlowerClassifier) -> str:
    """`USER/MODEL@COMMIT` of a model from the Hub; of others, the preset and its time."""
    if repo := hub.cached_repo(classifier.folder):
        return "@".join(repo)
    made = classifier.manifest.provenance
    return f"{made.preset} of {made.created}"


def _upload(label: str, schema: dict, example: dict | list) -> Api:
    component = Api(None, schema, label)
    component.example_payload = component.example_value = lambda: example
    return component


def _answer(model: str, prediction: Prediction) -> dict:
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    message = {"message": f"{verdict(prediction, ENGLISH).title}."} if prediction.refused else {}
    return {
        "model": model,
        "label": prediction.labels[0],
        "display_name": prediction.shown(prediction.labels[0]),
        "confidences": [{"label": label, "confidence": share} for label, share in pairs],
        "refused": prediction.refused,
        "refusal_score": prediction.refusal_score,
        "label_set": prediction.label_set,
        "label_set_coverage": prediction.coverage,
    } | message


async def _sent(request: Request) -> bytes:
    """The body of a request or, where that is a form, its file, as `curl -F` sends it.

    Raises:
        UserError: where a form has no file, or several.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await request.body()
    try:
        async with request.form() as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            if len(files) == 1:
                return await files[0].read()
    except HTTPException as error:
        if error.status_code != 400:  # too large
            raise
        raise UserError("this form cannot be read; send the photo as the body") from error
    raise UserError(f"this form has {len(files) or 'no'} files; send one, or a photo as the body")


def _read(photo: dict | str | None) -> bytes:
    """The bytes of a photo as a client sends it.

    Raises:
        UserError: where there is none.
    """
    if isinstance(photo, str) and photo.startswith("data:"):
        try:
            return base64.b64decode(photo.partition(",")[2], validate=True)
        except binascii.Error:
            raise UserError("this data: URI is not in base64") from None
    # gradio has checked of these, and only of these, that they are uploads.
    if not is_file_obj_with_meta(photo):
        raise UserError("there is no photo here; send one as a file, or as a data: URI in base64")
    try:
        return pathlib.Path(photo["path"]).read_bytes()
    except OSError:
        raise UserError("this upload is not here any more; send the photo again") from None
