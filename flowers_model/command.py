"""What all commands of the project have in common."""

from __future__ import annotations

import argparse
import difflib
import functools
import io
import sys
from collections.abc import Callable
from typing import NoReturn

from flowers_model.errors import UserError


class Parser(argparse.ArgumentParser):
    """Takes flags by their whole names, and raises `UserError` for those that cannot be used."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            word = unknown.split()[0]
            close = difflib.get_close_matches(word.split("=")[0], self._option_string_actions, n=1)
            raise UserError(
                f"there is no {word}; "
                + (f"did you mean {close[0]}?" if close else "--help lists what there is")
            )
        raise UserError(f"{message}; --help lists what there is")


def reporting_mistakes(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """A command's `main` that ends mistakes and interruptions in one line.

    After a `UserError` it returns status 2, after Ctrl-C 130. What the terminal or the pipe cannot
    show is printed escaped, as `\\u685c`.
    """

    @functools.wraps(main)
    def reporting(arguments: list[str]) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return main(arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return reporting
