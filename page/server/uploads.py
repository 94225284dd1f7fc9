"""Reading many files, photos and ZIPs of photos, within limits.

A ZIP is never unpacked to disk: its members are read into memory, one at a time, so that names
such as `../x` and links lead nowhere. The sizes in a ZIP are not trusted; bytes are counted as they
are decompressed.
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

FILES = 50  # per upload
MEGABYTE = 2**20
FILE_BYTES = 50 * MEGABYTE  # per photo
ALL_BYTES = 500 * MEGABYTE  # in total

_CHUNK = 2**16
# zipfile reads a ZIP's table of contents in one piece; this much lists about ten thousand files.
_LONGEST_READ = MEGABYTE
# bzip2 and LZMA, which zipfile could read, may decompress to a gigabyte before it can be checked.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclasses.dataclass(frozen=True)
class Item:
    """A file that may be a photo.

    Attributes:
        name: its name, with folders if it is in a ZIP; untrusted text.
        read: returns its bytes; raises UserError if they cannot or must not be read.
    """

    name: str
    read: Callable[[], bytes]


@contextlib.contextmanager
def opened(files: Sequence[tuple[str, str]]) -> Iterator[list[Item]]:
    """List uploaded files and the members of ZIPs, in order.

    Folders and the clutter of macOS and Windows are skipped. Items can be read while the context is
    open; their total size is limited to `ALL_BYTES`.

    Args:
        files: the name and path of each file.
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
                except Exception:  # zipfile raises nearly any exception for damaged data
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
    """A file with a maximal length of a read, whatever length the header of a ZIP asks for."""

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
    except Exception as error:  # zipfile raises nearly any exception for damaged data
        raise _refused("zip_photo_damaged") from error
