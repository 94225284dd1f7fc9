"""The page's API, for programs and AI assistants.

Three gradio endpoints for its clients and MCP, and a plain one: `POST /classify` with a photo's
bytes as the body, or as the file of a form, returns the same as gradio's `/classify`, in a single
request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import pathlib
from collections.abc import Callable
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

BATCH = 50  # photos per call
TOP = 5  # names per answer


# The schemas of an upload and an answer, for gradio's documentation of the API.
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


class Endpoints:
    """The endpoints of one model.

    The docstrings of `classify`, `classify_batch` and `explain` are the documentation of the API on
    the page, and the descriptions of the tools that assistants read.
    """

    def __init__(self, classifier: FlowerClassifier):
        self._classifier = classifier
        self._model = model_id(classifier)
        self._workers = Workers(limits.THREADS, limits.WAITING)

    async def classify(self, photo):
        """Name the flower in a photo: a dictionary with the likeliest name, `label`, and its
        `display_name` to show to people, which differs if the name in the dataset is misleading;
        the five likeliest names with their calibrated probabilities, 0 to 1 and highest first,
        `confidences`; whether the photo was `refused` because it does not look like a flower that
        the model knows, with a `message` if so; its `refusal_score`, above 1 if it was refused; the
        `label_set`, names of which one is right for a share of photos of `label_set_coverage`, 0 to
        1; and the `model`.

        Args:
            photo: a JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF: an uploaded file, or a data: URI in base64. URLs are refused.
        """  # noqa: E501
        return await self._work(lambda: self._name(_read(photo)))

    async def classify_batch(self, photos):
        """Name the flowers in up to 50 photos: a list of dictionaries in the same order, each as
        `/classify` returns it, or with an `error` if it cannot be read as a photo.

        Args:
            photos: up to 50 photos, each as for classify.
        """
        if not isinstance(photos, list) or not 1 <= len(photos) <= BATCH:
            raise gr.Error(f"Sorry, a batch is 1 to {BATCH} photos.", print_exception=False)
        return await self._work(lambda: self._name_many(photos))

    async def explain(self, photo):
        """Draw which parts of a photo decided the answer: its middle square, with the evidence for
        the likeliest name in warm light.

        Args:
            photo: as for classify.
        """
        return await self._work(lambda: draw_map(self._classifier, _read(photo)))

    async def classify_plainly(self, request: Request) -> JSONResponse:
        """`POST /classify` with a photo as the body, or as the file of a form."""
        try:
            data = await _sent(request)
            answer = await asyncio.wrap_future(self._workers.submit(self._name, data))
        except UserError as error:
            status = 503 if isinstance(error, BusyError) else 400
            return JSONResponse({"error": sorry(error)}, status)
        return JSONResponse(answer)

    async def _work(self, call: Callable[[], object]) -> object:
        """The result of a call, computed by one of the workers."""
        try:
            return await asyncio.wrap_future(self._workers.submit(call))
        except UserError as error:
            raise gr.Error(sorry(error), print_exception=False) from None

    def _name(self, data: bytes) -> dict:
        [prediction] = self._classifier.classify(data, TOP)
        return _answer(self._model, prediction)

    def _name_many(self, photos: list[dict | str]) -> list[dict]:
        inputs, answers = [], []
        for photo in photos:
            try:
                inputs.append(self._classifier.prepare(_read(photo)))
                answers.append(None)
            except UserError as error:
                answers.append({"error": sorry(error)})
        named = iter(())
        if inputs:
            found = self._classifier.answer(np.stack(inputs))
            named = iter(self._classifier.predictions(found, TOP))
        return [one or _answer(self._model, next(named)) for one in answers]


def add(page: Page) -> tuple[Route, ...]:
    """Add the endpoints `/classify`, `/classify_batch` and `/explain`; returns the plain one."""
    endpoints = Endpoints(page.classifier)
    photo = _upload("Photo", UPLOAD, EXAMPLE)
    photos = _upload("Photos", {"type": "array", "items": UPLOAD}, [EXAMPLE])
    answer = Api(None, ANSWER, "Answer")
    answers = Api(None, {"type": "array", "items": ANSWER}, "Answers")
    picture = gr.Image(label="Where the network looked", format="jpeg", visible=False)
    for name, function, inputs, outputs in (
        ("classify", endpoints.classify, photo, answer),
        ("classify_batch", endpoints.classify_batch, photos, answers),
        ("explain", endpoints.explain, _upload("Photo", UPLOAD, EXAMPLE), picture),
    ):
        gr.on(
            [],
            function,
            inputs,
            outputs,
            api_name=name,
            preprocess=False,  # files arrive as they are
            queue=False,  # calls wait for the workers, not for one another
            concurrency_limit=None,
        )
    return (Route("/classify", endpoints.classify_plainly, methods=["POST"]),)


def model_id(classifier: FlowerClassifier) -> str:
    """`USER/MODEL@COMMIT` for a model from the Hub; else its preset and creation time."""
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
    """The body of a request or, if that is a form as `curl -F` sends it, the form's file.

    Raises:
        UserError: if a form has no file, or several.
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
        UserError: if there is no photo.
    """
    if isinstance(photo, str) and photo.startswith("data:"):
        try:
            return base64.b64decode(photo.partition(",")[2], validate=True)
        except binascii.Error:
            raise UserError("this data: URI is not in base64") from None
    # Only for these has gradio checked that they are uploads.
    if not is_file_obj_with_meta(photo):
        raise UserError("there is no photo here; send one as a file, or as a data: URI in base64")
    try:
        return pathlib.Path(photo["path"]).read_bytes()
    except OSError:
        raise UserError("this upload is not here any more; send the photo again") from None
