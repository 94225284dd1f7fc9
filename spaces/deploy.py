"""Make a Hugging Face Space of the page: `python spaces/deploy.py USER/SPACE --model USER/MODEL`.

A Space is a folder: the page, the packages that it needs, the Space's card, its own lean
requirements, and `model.txt`, which tells the page its models. With `--dry-run DIR` that folder is
written, and nothing is sent anywhere. Deploying again changes only what changed.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence

# `python spaces/deploy.py` puts spaces/ on the path, and the project's root is what is wanted.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from flowers_model import bundle, hub
from flowers_model.classifier import DEFAULT
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import replacing

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
FILES = {"LICENSE", "README.md", "app.py", "model.txt", "requirements.txt", "thumbnail.png"}
PACKAGES = {"flowers_model", "page"}
NAMES = FILES | PACKAGES


def _parser() -> Parser:
    parser = Parser(description="Make a Hugging Face Space of the page.")
    parser.add_argument("space", metavar="USER/SPACE", help="made where it does not exist")
    parser.add_argument(
        "--model",
        metavar="USER/MODEL[@REVISION]",
        action="append",
        required=True,
        help="the published model that the page shows; given again, the page compares them",
    )
    parser.add_argument("--private", action="store_true", help="a Space that only you can see")
    parser.add_argument(
        "--hardware", metavar="NAME", help="what it runs on, such as cpu-basic (default: as it is)"
    )
    parser.add_argument(
        "--variable",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an environment variable of the Space; may be given several times",
    )
    parser.add_argument(
        "--secret",
        metavar="NAME",
        action="append",
        default=[],
        help="the same, with the value that it has here, kept secret: HF_TOKEN for a private model",
    )
    parser.add_argument(
        "--restart", action="store_true", help="have it built anew even if nothing has changed"
    )
    parser.add_argument(
        "--dry-run", metavar="DIR", type=pathlib.Path, help="write the Space's folder, send nothing"
    )
    return parser


def assemble(
    folder: pathlib.Path, space: str, models: Sequence[str], preload: Sequence[str] | None = None
) -> None:
    """Write a Space's folder, which does not exist yet.

    Args:
        space: `USER/SPACE`.
        models: `USER/MODEL[@REVISION]` of each that it shows; it is about the first of them.
        preload: what the Hub is to fetch when it builds the Space, so that it starts at once; by
            default the models that have no revision.
    """
    # Its models come from the Hub, not with the code.
    unwanted = shutil.ignore_patterns("__pycache__", ".*", DEFAULT.name)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=unwanted)
    for file in (ROOT / "app.py", ROOT / "LICENSE", HERE / "requirements.txt"):
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(ROOT / "docs" / "page.png", folder / "thumbnail.png")
    names = [hub.split_name(model) for model in models]
    if preload is None:
        preload = [repo_id for repo_id, revision in names if revision is None]
    repo_ids = list(dict.fromkeys(repo_id for repo_id, _ in names))
    card = (HERE / "README.md").read_text("utf-8")
    card = card.replace("preload_from_hub:\n- USER/MODEL\n", _yaml("preload_from_hub", preload))
    card = card.replace("models:\n- USER/MODEL\n", _yaml("models", repo_ids))
    link = "[USER/MODEL](https://huggingface.co/USER/MODEL)"
    links = [link.replace("USER/MODEL", repo_id) for repo_id in repo_ids]
    card = card.replace(link, " and ".join(links)).replace("USER/SPACE", space)
    (folder / "README.md").write_text(card, "utf-8", newline="\n")
    (folder / "model.txt").write_text("".join(f"{m}\n" for m in models), "utf-8", newline="\n")


def _yaml(name: str, values: Sequence[str]) -> str:
    """A list in a card's front matter; nothing for an empty one."""
    return "".join([f"{name}:\n", *(f"- {value}\n" for value in values)]) if values else ""


def write(folder: pathlib.Path, space: str, models: Sequence[str]) -> None:
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
            assemble(temporary, space, models)
    except OSError as error:
        raise UserError(f"cannot write {str(folder)!r}: {error.strerror or error}") from error


def deploy(space: str, models: Sequence[str], **settings) -> str:
    """Push a Space of published models, in one commit; returns its URL.

    Args:
        settings: as of `flowers_model.hub.publish_space`.

    Raises:
        HubError: for all that keeps it from being pushed.
    """
    hub.check_login(space, "space")
    preload = []
    for model in models:
        repo_id, revision = hub.split_name(model)
        info = hub.check_published(repo_id, revision)
        if info.private:
            continue  # it would be fetched without a token
        # With a revision, the Hub wants a commit, and the files by name.
        files = ",".join(sorted(bundle.REQUIRED_FILES))
        preload.append(f"{repo_id} {files} {info.sha}" if revision else repo_id)
    with tempfile.TemporaryDirectory() as room:
        folder = pathlib.Path(room, "space")
        assemble(folder, space, models, preload)
        patterns = [*FILES, *(f"{package}/*" for package in PACKAGES)]
        message = f"Show {' and '.join(models)}"
        return hub.publish_space(folder, space, patterns, message, **settings)


def _variables(pairs: Sequence[str]) -> dict[str, str]:
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UserError(f"--variable {pair!r} is none: give NAME=VALUE")
        variables[name] = value
    return variables


def _secrets(names: Sequence[str]) -> dict[str, str]:
    for name in names:
        if not os.environ.get(name):
            raise UserError(f"--secret {name} takes the value of the variable {name}: set it here")
    return {name: os.environ[name] for name in names}


@reporting_mistakes
def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if not hub.is_repo_id(options.space):
        raise UserError(f"{options.space!r} is no name for a Space: give USER/SPACE")
    for model in options.model:
        if hub.split_name(model) is None:
            raise UserError(
                f"{model!r} is no model on the Hub: give USER/MODEL or USER/MODEL@REVISION "
                "(`python train/run.py --push-to USER/MODEL` publishes one)"
            )
    if options.dry_run is None:
        print(
            deploy(
                options.space,
                options.model,
                private=options.private,
                hardware=options.hardware,
                variables=_variables(options.variable),
                secrets=_secrets(options.secret),
                restart=options.restart,
            )
        )
    else:
        write(options.dry_run, options.space, options.model)
        folder = shlex.quote(str(options.dry_run))
        print(
            f"{folder} is what {options.space} would be; in an environment of its own:\n"
            f"cd {folder} && pip install -r requirements.txt && python app.py"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
