"""The labelled photos of a bundle's gallery, as files that the page may serve."""

from __future__ import annotations

import atexit
import pathlib
import shutil
import tempfile
import urllib.parse
from collections.abc import Sequence

import gradio as gr
from gradio.processing_utils import save_pil_to_cache
from PIL import Image

from flowers_model import bundle
from page.html import TRIED, escape, strip
from page.words import Words


def file_url(path: str) -> str:
    """The URL of a file, relative because the page may be below a server's root."""
    return f"gradio_api/file={urllib.parse.quote(path)}"


def pictured(value: str = "", **settings) -> gr.HTML:
    """HTML with pictures at addresses as `file_url` gives them.

    Within the page of another place (`<gradio-app>`) they begin with where this server is, which
    gradio fills in for files; there it sets no `gradio_config`.
    """
    template = "value.replaceAll('src=\"gradio_api/', `src=\"${home.url}gradio_api/`)"
    return gr.HTML(
        value,
        html_template=f"${{window.gradio_config ? value : {template}}}",
        home={"path": "", "url": "/", "meta": {"_type": "gradio.FileData"}},
        apply_default_css=False,
        **settings,
    )


def temporary_url(picture: Image.Image, component: gr.HTML) -> str:
    """Write a picture into a file that gradio deletes in time; returns its URL.

    A data URI would stay in the server's memory for the whole session.

    Args:
        component: the component that shows the picture.
    """
    path = save_pil_to_cache(picture, component.GRADIO_CACHE, format="jpeg")
    component.temp_files.add(path)
    return file_url(path)


class Examples:
    """The photos of a gallery, in order.

    Attributes:
        files: their paths, all ending in .jpg, so that no browser takes one for a page or script.
        labels: their class names.
        by_class: the numbers of each class's photos, without classes that have none.
        unknown: the numbers of photos of flowers that the model does not know.
        credits: the origin of the photos.
    """

    def __init__(self, folder: pathlib.Path, display_names: dict[str, str]):
        gallery = bundle.read_gallery(folder)
        self.credits = gallery.credits
        self.files: list[str] = []
        self.labels: list[str] = []
        self.by_class: dict[str, list[int]] = {}
        self.unknown: list[int] = []
        self._shown: list[str] = []
        self._photos = gallery.photos
        room = self._open_room()
        for number, photo in enumerate(gallery.photos):
            copy = room / f"{number}.jpg"
            shutil.copyfile(folder / "gallery" / photo.file, copy)
            self.files.append(str(copy))
            self.labels.append(photo.label)
            self._shown.append(display_names.get(photo.label, photo.label))
            if photo.unknown:
                self.unknown.append(number)
            else:
                self.by_class.setdefault(photo.label, []).append(number)

    def _open_room(self) -> pathlib.Path:
        """A folder for copies of the files, which gradio serves.

        The files of a Hub repo are links into a cache, and gradio checks the target of a link.
        """
        room = pathlib.Path(tempfile.mkdtemp(prefix="flowers-gallery-")).resolve()
        atexit.register(shutil.rmtree, room, ignore_errors=True)
        gr.set_static_paths(room)
        return room

    def url(self, number: int) -> str:
        """The URL of a photo."""
        return file_url(self.files[number])

    def button(self, number: int, caption: bool = True) -> str:
        """A photo that can be tapped, as HTML."""
        label = escape(self._shown[number])
        below = f'<span class="caption">{label}</span>' if caption else ""
        return (
            f'<button type="button" class="photo" data-photo="{number}" title="{label}">'
            f'<img src="{self.url(number)}" alt="{"" if caption else label}" loading="lazy" '
            f'decoding="async">{below}</button>'
        )

    def figure(self, number: int, say: Words, caption: bool = False) -> str:
        """A photo that can be tapped, with its credit below, as HTML."""
        return f"<figure>{self.button(number, caption)}{self.credit(number, say)}</figure>"

    def strip(self, numbers: Sequence[int], say: Words) -> str:
        """A row of photos as HTML; empty if there are none."""
        return strip([self.figure(number, say, caption=True) for number in numbers])

    def credit(self, number: int, say: Words) -> str:
        """The credit of a photo as a line of HTML; empty if unknown."""
        taken = self.taken(number)
        return f'<p class="credit">{say("credit", credit=taken)}</p>' if taken else ""

    def taken(self, number: int) -> str:
        """The author and licence of a photo as HTML; may be empty."""
        photo = self._photos[number]
        parts = [
            _link(photo.author, photo.source),
            _link(photo.licence, photo.licence_url),
            escape(photo.changes or ""),
        ]
        return ", ".join(part for part in parts if part)

    def some(self, say: Words) -> str:
        """A few photos to start with, as HTML; empty if there are none."""
        classes = list(self.by_class.values())
        if len(classes) >= TRIED:  # one of each of several dissimilar classes
            chosen = [classes[len(classes) * i // TRIED][0] for i in range(TRIED)]
        else:
            chosen = [photo for photos in classes for photo in photos][:TRIED]
        words = say("try_some" if len(chosen) > 1 else "try_one")
        return f"<h3>{words}</h3>{self.strip(chosen, say)}" if chosen else ""


def _link(text: str | None, address: str | None) -> str:
    """A link to a web page; any other kind of URL is left out."""
    if not text or not (address or "").startswith(("https://", "http://")):
        return escape(text or "")
    return (
        f'<a href="{escape(address)}" target="_blank" rel="noopener noreferrer">{escape(text)}</a>'
    )
