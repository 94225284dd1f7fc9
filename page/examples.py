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
    """Where a browser finds a file: relative, since a page may live below a server's root."""
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
    """Write a picture into a file that gradio deletes in time; returns where a browser finds it.

    An address that held the picture itself would stay in the server's memory of the session.

    Args:
        component: what shows the picture.
    """
    path = save_pil_to_cache(picture, component.GRADIO_CACHE, format="jpeg")
    component.temp_files.add(path)
    return file_url(path)


class Examples:
    """A gallery's photos in their order.

    Attributes:
        files: their paths, all called .jpg, so that no browser takes one for a page or script.
        labels: their names.
        by_class: the numbers of the photos of each class that has some.
        unknown: the numbers of the photos of flowers that the model does not know.
        credits: where they come from.
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
        """The folder for copies of the files, which gradio serves.

        What a Hub repo holds are links into a cache, and gradio goes by the place that a link
        leads to.
        """
        room = pathlib.Path(tempfile.mkdtemp(prefix="flowers-gallery-")).resolve()
        atexit.register(shutil.rmtree, room, ignore_errors=True)
        gr.set_static_paths(room)
        return room

    def url(self, number: int) -> str:
        """Where a browser finds a photo."""
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
        """A photo that can be tapped, over who took it, as HTML."""
        return f"<figure>{self.button(number, caption)}{self.credit(number, say)}</figure>"

    def strip(self, numbers: Sequence[int], say: Words) -> str:
        """Photos in a row, as HTML; empty where there are none."""
        return strip([self.figure(number, say, caption=True) for number in numbers])

    def credit(self, number: int, say: Words) -> str:
        """Who took a photo, as a line of HTML; empty where the gallery does not tell."""
        taken = self.taken(number)
        return f'<p class="credit">{say("credit", credit=taken)}</p>' if taken else ""

    def taken(self, number: int) -> str:
        """By whom a photo was taken, and under what terms it is here, as HTML; may be empty."""
        photo = self._photos[number]
        parts = [
            _link(photo.author, photo.source),
            _link(photo.licence, photo.licence_url),
            escape(photo.changes or ""),
        ]
        return ", ".join(part for part in parts if part)

    def some(self, say: Words) -> str:
        """A few photos to begin with, as HTML; empty where there are none."""
        classes = list(self.by_class.values())
        if len(classes) >= TRIED:  # one each of classes that lie far apart
            chosen = [classes[len(classes) * i // TRIED][0] for i in range(TRIED)]
        else:
            chosen = [photo for photos in classes for photo in photos][:TRIED]
        words = say("try_some" if len(chosen) > 1 else "try_one")
        return f"<h3>{words}</h3>{self.strip(chosen, say)}" if chosen else ""


def _link(text: str | None, address: str | None) -> str:
    """A link to a web page, and to nothing else that an address could be."""
    if not text or not (address or "").startswith(("https://", "http://")):
        return escape(text or "")
    return (
        f'<a href="{escape(address)}" target="_blank" rel="noopener noreferrer">{escape(text)}</a>'
    )
