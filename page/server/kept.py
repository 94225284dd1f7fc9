"""Photos that visitors let the page keep, with the names that they gave them."""

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
PHOTOS = 2000  # that are kept at most; of this size, about 0.5 GB
MINUTES = 5  # between two commits to a dataset repo


class KeptPhotos:
    """A folder of photos, one folder a class, as `datasets` and `--data folder:` read them.

    Photos are upright JPEGs without EXIF, called by a hash of their content: the same photo under
    the same name is kept once.

    Attributes:
        folder: where they are.
        repo_id: the dataset repo that receives them, too; None where there is none.
    """

    def __init__(self, place: str, class_names: Sequence[str]):
        """Open the folder, or the dataset repo.

        Args:
            place: a folder, made where it is not there; or `USER/DATASET`, made as a private
                dataset repo where it does not exist. A folder that is there wins.
            class_names: the names that photos may have.

        Raises:
            UserError: for a class whose name cannot be a folder's, and a folder that cannot be
                written to.
            HubError: for a repo that cannot be written to.
        """
        if bad := [name for name in class_names if not _is_folder_name(name)]:
            raise UserError(
                f"photos cannot be kept as {bad[0]!r}, which is no name for a folder: "
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
            new: whether the name may be one that no class has: of a flower that was taught.

        Raises:
            UserError: for a name that is no class's, for a new one that cannot be a folder's, and
                where no more photos can be kept.
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
        with self._lock:  # the scheduler lists the folder under it, and must not see halves
            if path.exists():
                return
            if self._count >= PHOTOS:
                raise UserError(ENGLISH("feedback_full"), "feedback_full")
            with replacing(path) as temporary:
                temporary.write_bytes(data)
            self._count += 1

    def where(self, say: Words) -> str:
        """Where visitors' photos are kept, in their words, as HTML."""
        if self.repo_id is None:
            return say("feedback_here")
        return say("feedback_repo", repo=escape(self.repo_id))

    def close(self) -> None:
        """Send what the dataset repo has not received, and delete the photos here.

        Where there is no repo, nothing is done.

        Raises:
            HubError: where it cannot be sent; the photos stay.
        """
        if self._scheduler is not None:
            hub.finish_commits(self._scheduler)
            shutil.rmtree(self.folder, ignore_errors=True)


def _is_folder_name(name: str) -> bool:
    """Whether a folder can have that name on all systems, and is read as a class by that name."""
    return (
        bool(name)
        and name == name.strip(" .")
        and not name.startswith(("__", "@"))
        and not any(letter in '<>:"/\\|?*' or ord(letter) < 32 for letter in name)
    )
