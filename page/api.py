"""The page's API: what programs may call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from flowers_model.classifier import Prediction
from flowers_model.errors import UserError
from flowers_model.explain import explain
from page.text import UNKNOWN, read, sorry

if TYPE_CHECKING:
    from page import Page


def add(page: Page) -> None:
    """Add the endpoint `/classify`."""
    classifier = page.classifier

    def classify(photo: dict | None):
        """Name the flower in a photo.

        Takes one file: JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF. Gives a dictionary with the
        likeliest name, `label`, and the five likeliest with their calibrated probabilities, 0 to 1
        and highest first, `confidences`; a picture of where the network looked; and a dictionary
        that says whether the photo was `refused`, since it does not look like a flower that the
        model knows, with a `message` then; its `refusal_score`, above 1 where it was; and the
        `label_set`, the names of which one is right for 9 photos of 10.
        """
        try:
            pixels = read(photo)
            [prediction] = classifier.classify(pixels)
            picture = explain(classifier, pixels)
        except UserError as error:
            raise gr.Error(sorry(error), print_exception=False) from None
        shares = dict(zip(prediction.labels, prediction.probabilities, strict=True))
        return shares, picture, _verdict(prediction)

    photo = gr.Image(label="Photo", visible=False)
    answer = [
        gr.Label(label="Names", num_top_classes=5, visible=False),
        gr.Image(label="Where the network looked", format="jpeg", visible=False),
        gr.JSON(label="Verdict", visible=False),
    ]
    # Without gradio's preprocessing, which decodes by other rules: files arrive as they are.
    gr.on([], classify, photo, answer, api_name="classify", preprocess=False)


def _verdict(prediction: Prediction) -> dict:
    message = {"message": f"{UNKNOWN}."} if prediction.refused else {}
    return {
        "refused": prediction.refused,
        "refusal_score": prediction.refusal_score,
        "label_set": prediction.label_set,
    } | message
