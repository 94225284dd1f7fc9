"""The argument parser and the error handling of all commands."""

from __future__ import annotations

import argparse
import difflib
import functools
import io
import os
import re
import sys
import textwrap
import traceback
import types
import urllib.parse
from collections.abc import Callable, Iterable
from typing import NoReturn

from flowers_model.errors import UserError
from flowers_model.files import is_full
from flowers_model.installation import as_started

MODEL_HELP = "a bundle's folder, or a repo on the Hub as USER/MODEL[@REVISION]"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and adds each flag's default to its help."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)  # flags stay on one line

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = any(action.default is none for none in (None, False, argparse.SUPPRESS))
        if hidden or action.default == [] or "default:" in action.help:
            return action.help
        return f"{action.help} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """The parser of a command: no abbreviated flags, and a `UserError` for every mistake.

    The usage line has the required arguments only. Example commands in the description are shown
    as they are started here: `flowers predict` for `python -m train.predict`.

    >>> parser = Parser("python -m train.predict", description="Name flowers.")
    """

    def __init__(self, prog: str | None = None, description: str = "", **options):
        options |= {"formatter_class": _Formatter, "allow_abbrev": False}
        super().__init__(prog, description=as_started(description), **options)

    def format_help(self) -> str:
        if self.usage is None:
            words = ["%(prog)s", "[options]"]
            for action in self._actions:
                if action.option_strings:
                    words += [*action.option_strings, action.metavar] if action.required else []
                else:
                    many = action.nargs == "*"
                    words.append(f"[{action.metavar} ...]" if many else action.metavar)
            self.usage = " ".join(words)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            word = unknown.split()[0]
            hint = suggestion(word.split("=")[0], self._option_string_actions)
            raise UserError(f"there is no {word}; {hint}")
        raise UserError(f"{message}; see --help")


def suggestion(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is not known: the most similar one that is."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else "see --help"


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
    """Print why a command ended, in one line; returns its status, None if a traceback is due."""
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
