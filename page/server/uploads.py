"""Many files at once: photos, and ZIPs of photos, read within limits.

A ZIP is never unpacked to disk: its members are read into memory, one at a time, so that names
such as `../x` and links lead nowhere. What a ZIP says of sizes is not believed; bytes are counted
as they come out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import pathlib
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NoReturn

from flowers_model.errors import UserError
from flowers_model.files import is_clutter
from page.words import ENGLISH

FILES = 50  # that are read at a time
MEGABYTE = 2**20
FILE_BYTES = 50 * MEGABYTE  # of one photo
ALL_BYTES = 500 * MEGABYTE  # of all photos together

_CHUNK = 2**16
# zipfile reads a ZIP's table of contents in one piece; this much lists about ten thousand files.
_LONGEST_READ = MEGABYTE
# bzip2 and LZMA, which zipfile would also read, give out a gigabyte before one can look.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclasses.dataclass(frozen=True)
class Item:
    """A file that may be a photo.

    Attributes:
        name: as its owner called it, inside a ZIP with its folders; any text at all.
        read: gives its bytes; raises UserError where they cannot or must not be had.
    """

    name: str
    read: Callable[[], bytes]


@contextlib.contextmanager
def opened(files: Sequence[tuple[str, str]]) -> Iterator[list[Item]]:
    """List uploaded files, and the members of those that are ZIPs, in their order.

    Folders and what macOS and Windows leave in archives are passed over. Items can be read while
    the context is open; all of them together count towards `ALL_BYTES`.

    Args:
        files: name and path of each.
    """
    budget = _Budget()
    items = []
    with contextlib.ExitStack() as stack:
        for name, path in files:
            if _is_zip(name, path):
                try:
                    file = stack.enter_context(_Bounded(path))
                    archive = stack.enter_context(zipfile.ZipFile(file))
                except UserError as error:
                    items.append(Item(name, functools.partial(_refuse, error)))
                except Exception:  # On damaged data zipfile raises nearly anything.
                    items.append(Item(name, functools.partial(_refuse, _refused("zip_damaged"))))
                else:
                    items += [
                        Item(member.filename, functools.partial(_read, archive, member, budget))
                        for member in archive.infolist()
                        if not member.is_dir() and not _is_clutter(member.filename)
                    ]
            else:
                items.append(Item(name, functools.partial(_read_file, path, budget)))
        yield items


class _Budget:
    """The bytes that may still be read."""

    def __init__(self):
        self.left = ALL_BYTES

    def read(self, file: BinaryIO) -> bytes:
        data = bytearray()
        while chunk := file.read(_CHUNK):
            data += chunk
            self.left -= len(chunk)
            if len(data) > FILE_BYTES:
                raise _refused("file_too_large", most=FILE_BYTES // MEGABYTE)
            if self.left < 0:
                raise _refused("all_too_large", most=ALL_BYTES // MEGABYTE)
        return bytes(data)


class _Bounded(io.FileIO):
    """A file of which no single read is long, whatever length a ZIP's header asks for."""

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > _LONGEST_READ:
            data = super().read(_LONGEST_READ + 1)
            if len(data) > _LONGEST_READ:
                raise _refused("zip_too_many", most=FILES)
            return data
        return super().read(size)


def _is_zip(name: str, path: str) -> bool:
    with open(path, "rb") as file:
        start = file.read(4)
    return start in (b"PK\x03\x04", b"PK\x05\x06") or name.lower().endswith(".zip")


def _is_clutter(name: str) -> bool:
    *folders, file = pathlib.PurePosixPath(name).parts or ("",)
    return is_clutter(file) or any(is_clutter(one, True) for one in folders if one != "..")


def _refused(word: str, **values: int) -> UserError:
    """Why a file is not read, in one of the page's words."""
    return UserError(ENGLISH(word, **values), word, **values)


def _refuse(error: UserError) -> NoReturn:
    raise error


def _read_file(path: str, budget: _Budget) -> bytes:
    with open(path, "rb") as file:
        return budget.read(file)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: _Budget) -> bytes:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _refused("zip_link")
    if member.flag_bits & 0x1:
        raise _refused("zip_encrypted")
    if member.compress_type not in _METHODS:
        raise _refused("zip_method")
    try:
        with archive.open(member) as file:
            return budget.read(file)
    except UserError:
        raise
    except Exception as error:  # On damaged data zipfile raises nearly anything.
        raise _refused("zip_photo_damaged") from error
