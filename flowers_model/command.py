"""The argument parser and the error handling of all commands."""

from __future__ import annotations

import argparse
import difflib
import functools
import io
import os
import re
import sys
import traceback
import types
import urllib.parse
from collections.abc import Callable, Iterable
from typing import NoReturn

from flowers_model.errors import UserError
from flowers_model.files import is_full


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` without abbreviated flags that raises `UserError` on mistakes.

    >>> parser = Parser("python -m train.predict", description="Name flowers.")
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            word = unknown.split()[0]
            hint = suggestion(word.split("=")[0], self._option_string_actions)
            raise UserError(f"there is no {word}; {hint}")
        raise UserError(f"{message}; --help lists what there is")


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to say of a word that is not known: the one that was meant, perhaps."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else "--help lists what there is"


def reporting_mistakes(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """Decorate a command's `main` so that mistakes and interruptions end in one line.

    A `UserError` gives exit status 2, a full disk 1, Ctrl-C 130, and a closed pipe 141.
    Characters that the terminal or the pipe cannot show are escaped, as `\\u685c`.

    >>> @reporting_mistakes
    ... def main(arguments: list[str]) -> int: ...
    """

    @functools.wraps(main)
    def reporting(arguments: list[str]) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            _check_working_folder()
            return main(arguments)
        except BaseException as error:
            status = _told(error)
            if status is None:
                raise
            return status
        finally:
            _flush()

    return reporting


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the working folder is gone: change to another, and start again") from None


def _told(error: BaseException) -> int | None:
    """Say in one line what ended a command; returns its status, None for what needs a traceback."""
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, BrokenPipeError):
        return 141
    if isinstance(error, Exception) and is_full(error):
        print(f"stopped: the disk is full ({error}): make room, and start again", file=sys.stderr)
        return 1
    if name := _misread_variable(error):
        value = os.environ[name]
        print(f"error: {name} is {value!r} ({error}): correct it, or unset it", file=sys.stderr)
        return 2
    while error is not None:  # libraries make ImportErrors of it
        if isinstance(error, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
            return 130
        error = error.__cause__ or error.__context__
    return None


def _misread_variable(error: BaseException) -> str | None:
    """The environment variable that a library could not use when it was imported, if any."""
    imported = (
        frame.f_code.co_name == "<module>" and frame.f_globals["__name__"] != "__main__"
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    if not any(imported):
        return None
    certificates = os.environ.get("SSL_CERT_FILE")
    if isinstance(error, FileNotFoundError) and certificates and not os.path.exists(certificates):
        return "SSL_CERT_FILE"
    if isinstance(error, ValueError):
        said = str(error)
        for name in filter(re.compile("(GRADIO|HF|JAX|XLA|KERAS|TF)_").match, os.environ):
            if name in said.upper() or repr(os.environ[name]) in said:
                return name
        try:
            urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "")).port  # noqa: B018
        except ValueError:
            return "HF_ENDPOINT"
    return None


def _flush() -> None:
    """Write out what was printed; what nobody reads any more, as after `| head`, is dropped."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _before_main(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    status = _told(error)
    if status is None:
        sys.__excepthook__(kind, error, trace)
    else:
        sys.stderr.flush()
        os._exit(status)


# Libraries are imported before `main`, which takes seconds.
sys.excepthook = _before_main
