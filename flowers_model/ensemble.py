"""Average the calibrated probabilities of several models with the same classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from flowers_model.classifier import Answers, FlowerClassifier
from flowers_model.uncertainty import label_sets


def average(models: Sequence[FlowerClassifier], parts: Sequence[Sequence[Answers]]) -> Answers:
    """Average the answers of models with the same classes to the same N photos.

    Refusal scores and limits of label sets are averaged as well, but their promises (flowers kept,
    coverage) no longer hold and must be measured. Embeddings are those of the first model.

    >>> answers = average([first, second], [[first.answer(inputs)], [second.answer(inputs)]])

    Args:
        models: one or more.
        parts: for each model, its answers to one or more views of the photos, with the classes in
            its own order.

    Returns:
        Answers with the classes in the order of the first model.
    """
    answers = [
        _in_order(part, [model.label_names.index(name) for name in models[0].label_names])
        for model, said in zip(models, parts, strict=True)
        for part in said
    ]
    if len(answers) == 1:
        return answers[0]
    probabilities = np.mean([part.probabilities for part in answers], axis=0)
    scores = [part.refusal_scores for part in answers]
    calibrated = [model.manifest.calibration.label_sets for model in models]
    sets = None
    if None not in calibrated:
        sets = label_sets(probabilities, float(np.mean([one.limit for one in calibrated])))
    return Answers(
        probabilities=probabilities,
        embeddings=answers[0].embeddings,
        refusal_scores=None if any(s is None for s in scores) else np.mean(scores, axis=0),
        label_sets=sets,
    )


def _in_order(answers: Answers, order: list[int]) -> Answers:
    """The same answers with the classes in another order."""
    sets = answers.label_sets
    return dataclasses.replace(
        answers,
        probabilities=answers.probabilities[:, order],
        logits=answers.logits[:, order],
        label_sets=None if sets is None else sets[:, order],
    )
