"""What a visitor has taught: for one visit, only in the visitor's session."""

from __future__ import annotations

import base64
import dataclasses

import numpy as np

from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier
from flowers_model.errors import UserError
from flowers_model.grow import read_head
from flowers_model.lesson import Example, Lesson
from flowers_model.photo import decode, reduced
from flowers_model.uncertainty import directions
from page.html import escape, read
from page.words import Words

FEWEST, MOST = 3, 10  # photos of a flower
FLOWERS = 5  # per visit, at most
LONGEST = 60  # characters of a name
SIDE = 512  # pixels, the longest side of photos that are kept for the visit
THUMBNAIL = 224  # pixels, the longest side of thumbnails
FORGOTTEN = 3600  # seconds without a call after which a visit is forgotten


@dataclasses.dataclass(frozen=True)
class Visit:
    """What a visitor has taught.

    Attributes:
        photos: by flower, the title and JPEG bytes of each photo.
        thumbnails: by flower, the learned photos as data URIs.
    """

    photos: dict[str, list[tuple[str, bytes]]]
    lesson: Lesson
    thumbnails: dict[str, list[str]]

    @property
    def classifier(self) -> FlowerClassifier:
        """The taught model."""
        return self.lesson.classifier

    def figures(self, name: str) -> list[str]:
        """The photos of a taught flower, as HTML."""
        return [_figure(name, address) for address in self.thumbnails[name]]

    def alike(self, embedding: np.ndarray) -> list[tuple[float, str]]:
        """The cosine between each taught photo and an embedding `(D,)`, and the photo as HTML."""
        figures = [one for name in self.thumbnails for one in self.figures(name)]
        own = self.lesson.statistics.taught[-len(figures) :]  # in the order of the photos
        cosines = directions(own) @ directions(embedding[None])[0]
        return list(zip(cosines.tolist(), figures, strict=True))


def can_be_taught(classifier: FlowerClassifier) -> bool:
    """Whether a model has what teaching needs: statistics, and a head without hidden layers."""
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
        classifier: the page's original model.
        name: the flower's name, as the visitor wrote it.
        files: as gradio describes them.
        say: the visitor's words.

    Raises:
        UserError: if the name or the photos cannot be used.
    """
    photos = {one: list(those) for one, those in visit.photos.items()} if visit else {}
    name = _named(name, [*classifier.label_names, *photos], say)
    files = files if isinstance(files, list) else []
    own = photos.setdefault(name, [])
    if len(photos) > FLOWERS:
        raise UserError(say("teach_flowers", count=FLOWERS))
    if not files or len(own) + len(files) > MOST:
        raise UserError(say("teach_count", most=MOST))
    for file in files:
        title = str(file.get("orig_name") or f"photo {len(own) + 1}")
        own.append((title, reduced(read(file), SIDE, quality=92)))
    examples = {
        one: [Example(title, decode(data)) for title, data in those]
        for one, those in photos.items()
    }
    lesson = classifier.teach(examples, "a visit")
    # A photo that was sent twice counts once.
    learned = lesson.examples.items()
    return Visit(photos, lesson, {one: [_thumbnail(e.pixels) for e in es] for one, es in learned})


def _named(name: object, known: list[str], say: Words) -> str:
    """A flower's name as the visitor wrote it, or the spelling that is known already."""
    name = " ".join(name.split()) if isinstance(name, str) else ""
    if not name or len(name) > LONGEST or not name.isprintable():
        raise UserError(say("teach_no_name", most=LONGEST))
    return next((one for one in known if one.casefold() == name.casefold()), name)


def _figure(name: str, address: str) -> str:
    """A taught photo with its name below, as HTML."""
    return (
        f'<figure><div class="photo"><img src="{address}" alt="">'
        f'<span class="caption">{escape(name)}</span></div></figure>'
    )


def _thumbnail(pixels: np.ndarray) -> str:
    """A small picture as a data URI: gradio would delete a file before the visit ends."""
    data = reduced(pixels, THUMBNAIL, quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
