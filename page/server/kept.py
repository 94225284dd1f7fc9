"""Photos that visitors allow the page to keep, with the names that they gave them."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Sequence

import numpy as np
from PIL import Image

from flowers_model import hub
from flowers_model.errors import UserError
from flowers_model.files import expanded, replacing
from page.html import escape
from page.words import ENGLISH, Words

SIDE = 1024  # longest side of a kept photo, pixels
PHOTOS = 2000  # at most; at this size, about 0.5 GB
MINUTES = 5  # between two commits to a dataset repo


class KeptPhotos:
    """A folder of photos, one subfolder per class, for `datasets` and `--data folder:`.

    Photos are upright JPEGs without EXIF data, named after a hash of their content, so that the
    same photo of the same class is kept once.

    Attributes:
        folder: the folder.
        repo_id: the dataset repo that they are committed to; None for none.
    """

    def __init__(self, place: str, class_names: Sequence[str]):
        """Open the folder, or the dataset repo.

        Args:
            place: a folder, created if it does not exist; or `USER/DATASET`, created as a private
                dataset repo if it does not exist. An existing folder takes precedence.
            class_names: the allowed names.

        Raises:
            UserError: if a class name cannot be the name of a folder, or the folder is read-only.
            HubError: if the repo cannot be written to.
        """
        if bad := [name for name in class_names if not _is_folder_name(name)]:
            raise UserError(
                f"photos cannot be kept as {bad[0]!r}, which cannot be the name of a folder: "
                "leave out --feedback, or rename the class"
            )
        self._class_names = frozenset(class_names)
        self._scheduler = None
        if hub.is_repo_id(place) and not os.path.isdir(place):
            self.repo_id = place
            self.folder = pathlib.Path(tempfile.mkdtemp(prefix="flowers-kept-"))
            self._scheduler = hub.schedule_commits(self.folder, place, MINUTES)
        else:
            self.repo_id = None
            self.folder = expanded(place)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=self.folder).close()
            except OSError as error:
                raise UserError(
                    f"photos cannot be kept in {place!r} ({error.strerror}): "
                    "give a folder that can be written to, or USER/DATASET"
                ) from error
        self._lock = self._scheduler.lock if self._scheduler else threading.Lock()
        self._count = sum(1 for _ in self.folder.glob("*/*.jpg"))

    def keep(self, photo: np.ndarray, name: str, new: bool = False) -> None:
        """Keep a photo, uint8 `(H, W, 3)`, as one of class `name`.

        Args:
            new: whether names other than those of classes are allowed, for taught flowers.

        Raises:
            UserError: if the name is not allowed or cannot be the name of a folder, or if no more
                photos can be kept.
        """
        if name not in self._class_names and not new:
            raise UserError("this name is not on the list; choose one that is")
        if not _is_folder_name(name):
            raise UserError(ENGLISH("teach_folder", name=name), "teach_folder", name=name)
        picture = Image.fromarray(photo)
        picture.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=92)
        data = file.getvalue()
        path = self.folder / name / f"{hashlib.sha256(data).hexdigest()[:20]}.jpg"
        # The scheduler lists the folder under this lock, and must not see incomplete files
        with self._lock:
            if path.exists():
                return
            if self._count >= PHOTOS:
                raise UserError(ENGLISH("feedback_full"), "feedback_full")
            with replacing(path) as temporary:
                temporary.write_bytes(data)
            self._count += 1

    def where(self, say: Words) -> str:
        """Where visitors' photos are kept, in their language, as HTML."""
        if self.repo_id is None:
            return say("feedback_here")
        return say("feedback_repo", repo=escape(self.repo_id))

    def close(self) -> None:
        """Commit the last photos to the dataset repo, if there is one, and delete them here.

        Raises:
            HubError: if that fails; then the photos stay.
        """
        if self._scheduler is not None:
            hub.finish_commits(self._scheduler)
            shutil.rmtree(self.folder, ignore_errors=True)


def _is_folder_name(name: str) -> bool:
    """Whether a folder can have that name on all systems, and is read as a class of that name."""
    return (
        bool(name)
        and name == name.strip(" .")
        and not name.startswith(("__", "@"))
        and not any(letter in '<>:"/\\|?*' or ord(letter) < 32 for letter in name)
    )
