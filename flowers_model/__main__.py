"""The command `flowers`; in a clone that is not installed, `python -m flowers_model`."""

from __future__ import annotations

import importlib.util
import runpy
import sys

from flowers_model import __version__, installation
from flowers_model.command import Parser, reporting_mistakes, suggestion
from flowers_model.errors import UserError
from flowers_model.installation import COMMANDS, ROOT, SERVING, install_line, spoken


def flowers() -> None:
    """The entry point of the installed command `flowers`."""
    installation.started_as = "flowers"
    sys.exit(main(sys.argv[1:]))


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Start the named command with the remaining arguments, as if its own file were started."""
    parser = Parser(
        usage=f"{installation.started_as} COMMAND ...",
        description="Train, evaluate, publish and serve flower classifiers.",
        epilog="commands:\n"
        + "\n".join(f"  {name:<11} {command.about}" for name, command in COMMANDS.items()),
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "command", metavar="COMMAND", help="one of the commands below; each has a --help"
    )
    name = parser.parse_args(arguments[:1]).command
    if name not in COMMANDS:
        raise UserError(f"there is no command {name!r}; {suggestion(name, COMMANDS)}")
    can_train = importlib.util.find_spec("keras") is not None
    missing = f"{spoken(name)} needs the packages for training: {install_line('train')}"
    if name not in SERVING and not can_train:
        raise UserError(missing)
    sys.argv[1:] = arguments[1:]
    sys.path.insert(0, str(ROOT))
    place = COMMANDS[name].place
    try:
        if place.endswith(".py"):
            runpy.run_path(str(ROOT / place), run_name="__main__")
        else:
            runpy.run_module(place, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:  # `flowers predict --data tfrecord:PATH`, for one
        if can_train:
            raise
        raise UserError(missing) from error
    return 0


if __name__ == "__main__":
    installation.started_as = "python -m flowers_model"
    sys.exit(main(sys.argv[1:]))
