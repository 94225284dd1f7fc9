"""Make a Hugging Face Space of the page: `python spaces/deploy.py USER/SPACE --model USER/MODEL`.

A Space is a folder: the page, the packages that it needs, the Space's card, its own lean
requirements, and `model.txt`, which tells the page its model. With `--dry-run DIR` that folder is
written, and nothing is sent anywhere.
"""

from __future__ import annotations

import pathlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence

# `python spaces/deploy.py` puts spaces/ on the path, and the project's root is what is wanted.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from flowers_model import hub
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import replacing

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
FILES = {"LICENSE", "README.md", "app.py", "model.txt", "requirements.txt"}
PACKAGES = {"flowers_model", "page"}
NAMES = FILES | PACKAGES


def _parser() -> Parser:
    parser = Parser(description="Make a Hugging Face Space of the page.")
    parser.add_argument("space", metavar="USER/SPACE", help="made where it does not exist")
    parser.add_argument(
        "--model",
        metavar="USER/MODEL[@REVISION]",
        required=True,
        help="the published model that the page shows",
    )
    parser.add_argument(
        "--dry-run", metavar="DIR", type=pathlib.Path, help="write the Space's folder, send nothing"
    )
    return parser


def assemble(folder: pathlib.Path, model: str) -> None:
    """Write a Space's folder, which does not exist yet; it shows `USER/MODEL[@REVISION]`."""
    repo_id, _, _ = model.partition("@")
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=unwanted)
    for file in (ROOT / "app.py", ROOT / "LICENSE", HERE / "requirements.txt"):
        shutil.copyfile(file, folder / file.name)
    card = (HERE / "README.md").read_text("utf-8").replace("USER/MODEL", repo_id)
    (folder / "README.md").write_text(card, "utf-8", newline="\n")
    (folder / "model.txt").write_text(f"{model}\n", "utf-8", newline="\n")


def write(folder: pathlib.Path, model: str) -> None:
    """Write a Space's folder, also in the place of an earlier one.

    Raises:
        UserError: where something else is in its place, and where it cannot be written.
    """
    try:
        if folder.exists() and {path.name for path in folder.iterdir()} not in (set(), NAMES):
            raise UserError(
                f"{str(folder)!r} holds something else than a Space; give a new or an empty folder"
            )
        with replacing(folder.resolve()) as temporary:
            assemble(temporary, model)
    except OSError as error:
        raise UserError(f"cannot write {str(folder)!r}: {error.strerror or error}") from error


def deploy(space: str, model: str) -> str:
    """Push a Space of a published model, in one commit; returns its URL.

    Raises:
        HubError: for all that keeps it from being pushed.
    """
    hub.check_login(space, "space")
    hub.check_published(*hub.split_name(model))
    with tempfile.TemporaryDirectory() as room:
        folder = pathlib.Path(room, "space")
        assemble(folder, model)
        patterns = [*FILES, *(f"{package}/*" for package in PACKAGES)]
        return hub.publish_space(folder, space, patterns, f"Show {model}")


@reporting_mistakes
def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if not hub.is_repo_id(options.space):
        raise UserError(f"{options.space!r} is no name for a Space: give USER/SPACE")
    if hub.split_name(options.model) is None:
        raise UserError(
            f"{options.model!r} is no model on the Hub: give USER/MODEL or USER/MODEL@REVISION "
            "(`python train/run.py --push-to USER/MODEL` publishes one)"
        )
    if options.dry_run is None:
        print(deploy(options.space, options.model))
    else:
        write(options.dry_run, options.model)
        folder = shlex.quote(str(options.dry_run))
        print(
            f"{folder} is what {options.space} would be; in an environment of its own:\n"
            f"cd {folder} && pip install -r requirements.txt && python app.py"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
