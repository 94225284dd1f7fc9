"""Files that are there whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


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


def cache_folder() -> pathlib.Path:
    """Where what can be had again is kept: `$FLOWERS_DATA`, or `~/.cache/flowers`."""
    return pathlib.Path(os.environ.get("FLOWERS_DATA") or "~/.cache/flowers").expanduser()
