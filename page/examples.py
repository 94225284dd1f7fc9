"""The labelled photos of a bundle's gallery, as files that the page may serve."""

from __future__ import annotations

import atexit
import pathlib
import shutil
import tempfile

import gradio as gr

from flowers_model import bundle


class Examples:
    """A gallery's photos in their order.

    Attributes:
        files: their paths, all called .jpg, so that no browser takes one for a page or script.
        labels: their names.
        by_class: the files of each name that has some.
    """

    def __init__(self, folder: pathlib.Path):
        # The files are copies: what a Hub repo holds are links into a cache, and gradio serves by
        # the place that a link leads to.
        room = pathlib.Path(tempfile.mkdtemp(prefix="flowers-gallery-")).resolve()
        atexit.register(shutil.rmtree, room, ignore_errors=True)
        gr.set_static_paths(room)
        self.files: list[str] = []
        self.labels: list[str] = []
        self.by_class: dict[str, list[str]] = {}
        for number, photo in enumerate(bundle.read_gallery(folder).photos):
            copy = room / f"{number}.jpg"
            shutil.copyfile(folder / "gallery" / photo.file, copy)
            self.files.append(str(copy))
            self.labels.append(photo.label)
            self.by_class.setdefault(photo.label, []).append(str(copy))
