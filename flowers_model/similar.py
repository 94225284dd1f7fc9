"""The gallery photos most similar to a given photo, so that users can judge an answer."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from flowers_model.bundle import read_embeddings, read_gallery
from flowers_model.uncertainty import directions


class Similar:
    """Finds the nearest photos in a bundle's gallery, by the cosine between embeddings.

    >>> similar = Similar(classifier.folder)
    >>> [similar.photos[i].file for i in similar.nearest(answers.embeddings[0], 3)]
    """

    def __init__(self, folder: str | os.PathLike):
        folder = pathlib.Path(folder)
        gallery = read_gallery(folder)
        embeddings = read_embeddings(folder, gallery)
        self.photos = gallery.photos if embeddings is not None else []
        self._directions = directions(np.empty((0, 1)) if embeddings is None else embeddings)

    def nearest(self, embedding: np.ndarray, count: int) -> list[int]:
        """The indices of the gallery's photos nearest to an embedding `(D,)`, nearest first.

        Empty if the bundle has no embeddings of its gallery, or only one photo, which would always
        be the nearest.

        >>> similar.nearest(answers.embeddings[0], 3)
        [12, 7, 31]
        """
        if len(self.photos) < 2:
            return []
        likeness = self._directions @ directions(embedding[None])[0]
        return np.argsort(-likeness, kind="stable")[:count].tolist()

    def likeness(self, embedding: np.ndarray, number: int) -> float:
        """The cosine between a photo of the gallery and an embedding `(D,)`.

        >>> similar.likeness(embedding, similar.nearest(embedding, 1)[0])
        """
        return float(self._directions[number] @ directions(embedding[None])[0])
