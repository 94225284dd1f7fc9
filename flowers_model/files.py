"""Atomic writes, and folders for caches and temporary files."""

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
# HDF5 and NumPy use messages instead of error numbers.
_FULL_WORDS = ("No space left", "Disk quota exceeded", "File too large", "requested and")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yield a temporary path beside `path`, and rename it to `path` on success.

    The temporary path does not exist yet: write a file there, or make a folder. It keeps the
    suffixes of `path`, which some writers need. On an error it is removed and `path` is unchanged.
    File contents reach the disk before the rename, so a power cut leaves the old or the new file,
    never half of one. A folder at `path` is replaced as a whole.

    >>> with replacing("table.csv") as temporary:
    ...     temporary.write_text("photo,guess")
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
    """A path with `~` or `~USER` at its start replaced by the home folder.

    Raises:
        UserError: if there is no such user.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{os.fspath(path)!r} starts with the home of an unknown user: write the full path"
        ) from None


def check_output(path: str | os.PathLike) -> None:
    """Check that a file or folder can be written at `path`, before a long computation.

    >>> check_output("runs/new")

    Raises:
        UserError: if it cannot.
    """
    place = pathlib.Path(path).absolute().parent
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path)  # raises OSError if a name is too long
        while not os.path.lexists(place):
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            return
    except NotADirectoryError:
        reason = f"{place} is a file"
    except OSError as error:
        reason = f"{place}: {error.strerror}"
    raise UserError(f"{str(path)!r} cannot be written ({reason}): give another path")


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is the cause of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, OSError | RuntimeError) and any(w in str(error) for w in _FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_clutter(name: str, folder: bool = False) -> bool:
    """Whether a file or a folder is hidden, or clutter that systems leave next to photos.

    Such as `._photo.jpg` and `__MACOSX/` of macOS, `@eaDir/` of Synology, `Thumbs.db` of Windows.
    """
    if folder:
        return name.startswith((".", "__", "@"))
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")


def own_folder() -> pathlib.Path:
    """A private temporary folder of this user, the same in every process.

    >>> own_folder()
    PosixPath('/tmp/flowers-1000')
    """
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    folder = pathlib.Path(tempfile.gettempdir(), f"flowers-{user}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != getattr(os, "getuid", lambda: 0)():
            raise PermissionError  # it belongs to another user, who could put anything there
    except OSError:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="flowers-"))
    return folder


def settle() -> None:
    """Without a home folder, as for a random user in a container, put caches into `own_folder`.

    Call it before other imports: libraries look for their caches in the home folder on import.

    >>> settle()
    """
    home = pathlib.Path(os.path.expanduser("~"))
    if home.is_absolute() and (_can_be_made(home / ".cache") or (home / ".cache").is_dir()):
        return
    os.environ["HOME"] = str(own_folder())
    log.warning("caches cannot be kept in %s; they go to %s", home, os.environ["HOME"])


def legible(name: str | os.PathLike) -> str:
    """A file name as text that can be written as UTF-8: other bytes are escaped as `\\udce9`.

    >>> legible("rose.jpg")
    'rose.jpg'
    """
    return os.fspath(name).encode("utf-8", "backslashreplace").decode()


def cache_folder() -> pathlib.Path:
    """The folder for downloads and caches: `$FLOWERS_DATA`, or `~/.cache/flowers`.

    If it neither exists nor can be created, a folder inside `own_folder`.

    >>> cache_folder()
    PosixPath('/home/ada/.cache/flowers')
    """
    folder = expanded(os.environ.get("FLOWERS_DATA") or "~/.cache/flowers")
    if not folder.is_dir() and not _can_be_made(folder):
        other = own_folder() / "cache"
        log.warning("%s cannot be created; downloads and caches go to %s", folder, other)
        os.environ["FLOWERS_DATA"] = str(other)
        return other
    return folder


def _can_be_made(folder: pathlib.Path) -> bool:
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
