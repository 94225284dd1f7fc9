"""Files that are there whole or not at all."""

import contextlib
import errno
import getpass
import logging
import os
import pathlib
import shutil
import stat
import tempfile
from collections.abc import Iterator

from flowers_model.errors import UserError

log = logging.getLogger("flowers")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# HDF5 and NumPy put the number into words of their own.
_FULL_WORDS = ("No space left", "Disk quota exceeded", "File too large", "requested and")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`.

    The temporary path does not exist yet: write a file there, or make a folder. It keeps the
    suffixes of `path`, which some writers go by. On an error it is removed and `path` stays as
    it was. File contents reach the disk before the rename, so a power cut leaves the old or the
    new, never a half. A folder in the place of `path` is replaced as a whole.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    room = pathlib.Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        temporary = room / path.name
        yield temporary
        if temporary.is_dir():
            if path.exists():
                os.rename(path, room / ".replaced")
        else:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def expanded(path: str | os.PathLike) -> pathlib.Path:
    """A path with `~` and `~USER` at its start as a home.

    Raises:
        UserError: where there is no such user.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{os.fspath(path)!r} begins with the home of a user that is not known here: write the "
            "whole path"
        ) from None


def check_output(path: str | os.PathLike) -> None:
    """Check, before the work, that a file or folder can be written at `path`.

    Raises:
        UserError: where it cannot.
    """
    place = pathlib.Path(path).absolute().parent
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path)  # an OSError where a name is too long
        while not os.path.lexists(place):
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            return
    except NotADirectoryError:
        reason = f"{place} is a file"
    except OSError as error:
        reason = f"{place}: {error.strerror}"
    raise UserError(f"{str(path)!r} cannot be written ({reason}): give a place that can")


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is at the root of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, OSError | RuntimeError) and any(w in str(error) for w in _FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_clutter(name: str, folder: bool = False) -> bool:
    """Whether a file or a folder is hidden, or one that systems leave beside photos.

    As macOS's `._photo.jpg` and `__MACOSX/`, a Synology's `@eaDir/`, Windows's `Thumbs.db`.
    """
    if folder:
        return name.startswith((".", "__", "@"))
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")


def own_folder() -> pathlib.Path:
    """A folder for temporary files that is this user's alone, and the same in every process."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    folder = pathlib.Path(tempfile.gettempdir(), f"flowers-{user}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != getattr(os, "getuid", lambda: 0)():
            raise PermissionError  # somebody else's, who could put anything there
    except OSError:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="flowers-"))
    return folder


def settle() -> None:
    """Where there is no home, as for random users of containers, have caches in `own_folder`.

    Libraries look for their caches below the home when they are imported.
    """
    home = pathlib.Path(os.path.expanduser("~"))
    if home.is_absolute() and (_can_be_made(home / ".cache") or (home / ".cache").is_dir()):
        return
    os.environ["HOME"] = str(own_folder())
    log.warning("no cache can be kept in the home %s; it goes to %s", home, os.environ["HOME"])


def legible(name: str | os.PathLike) -> str:
    """A file's name as text that can be written: bytes that are no UTF-8 become `\\udce9`."""
    return os.fspath(name).encode("utf-8", "backslashreplace").decode()


def cache_folder() -> pathlib.Path:
    """Where what can be had again is kept: `$FLOWERS_DATA`, or `~/.cache/flowers`.

    Where such a folder can neither be found nor made, it is in `own_folder`.
    """
    folder = expanded(os.environ.get("FLOWERS_DATA") or "~/.cache/flowers")
    if not folder.is_dir() and not _can_be_made(folder):
        other = own_folder() / "cache"
        log.warning("%s cannot be made; what can be had again goes to %s", folder, other)
        os.environ["FLOWERS_DATA"] = str(other)
        return other
    return folder


def _can_be_made(folder: pathlib.Path) -> bool:
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
