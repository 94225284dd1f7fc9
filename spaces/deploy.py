"""Deploy the page of a published model as a Hugging Face Space.

    python spaces/deploy.py USER/SPACE --model USER/MODEL

There are three kinds of Space (https://huggingface.co/docs/hub/spaces-overview):

- `gradio`: the page as `python app.py` serves it; the Hub's CPU hardware requires PRO.
- `static`: the page that runs entirely in the visitor's browser; free for every account.
- `zerogpu`: the Gradio page on ZeroGPU; free for two Spaces of an account that is over 30 days old
  and has a verified email address (https://huggingface.co/docs/hub/spaces-zerogpu).

Without `--kind`, an existing Space keeps its kind, and a new one is `gradio`, or `static` if the
account may not create that. Deploying again uploads only the files that changed.
"""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence

# `python spaces/deploy.py` puts spaces/ on the path; imports need the project's root as well.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from flowers_model import bundle, hub
from flowers_model.classifier import DEFAULT
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.installation import PROJECT, spoken

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
KINDS = ("gradio", "static", "zerogpu")
FILES = {"LICENSE", "README.md", "app.py", "model.txt", "requirements.txt", "thumbnail.png"}
PACKAGES = {"flowers_model", "page"}
# Of a Space on ZeroGPU.
ENTRY = "zero.py"
ZERO_HARDWARE = "zero-a10g"
ZERO_PYTHON = "3.12.12"
ZERO_REQUIREMENT = "spaces>=0.51,<1"
ZERO_CARD = f"suggested_hardware: {ZERO_HARDWARE}\n"


def _parser() -> Parser:
    parser = Parser(
        spoken("deploy"),
        description=__doc__,
    )
    parser.add_argument(
        "space", metavar="USER/SPACE", help="the Space, created if it does not exist"
    )
    parser.add_argument(
        "--model",
        metavar="USER/MODEL[@REVISION]",
        action="append",
        required=True,
        help="a published model; the page compares several. A static Space takes only one, which "
        "may also be a bundle's folder",
    )
    parser.add_argument("--kind", choices=KINDS, help="kind of Space, see above")
    parser.add_argument("--private", action="store_true", help="create the Space as a private one")
    parser.add_argument(
        "--hardware", metavar="NAME", help="hardware, such as t4-small (default: unchanged)"
    )
    parser.add_argument(
        "--variable",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set an environment variable of the Space; repeatable",
    )
    parser.add_argument(
        "--secret",
        metavar="NAME",
        action="append",
        default=[],
        help="set a secret of the Space to the value of the environment variable NAME, such as "
        "HF_TOKEN for a private model; repeatable",
    )
    parser.add_argument(
        "--restart", action="store_true", help="rebuild the Space even if nothing changed"
    )
    parser.add_argument(
        "--dry-run",
        metavar="DIR",
        type=pathlib.Path,
        help="write the Space's files to this folder and upload nothing",
    )
    return parser


def assemble(
    folder: pathlib.Path,
    space: str,
    models: Sequence[str],
    preload: Sequence[str] | None = None,
    kind: str = "gradio",
) -> None:
    """Write the files of a Space into a new folder.

    Args:
        space: `USER/SPACE`.
        models: `USER/MODEL[@REVISION]` of each model; texts are about the first. A static Space has
            one model, which may be a bundle's folder.
        preload: what the Hub should download when it builds the Space, so that it starts faster; by
            default the models without a revision.
        kind: one of `KINDS`.
    """
    names = [name for name in map(hub.split_name, models) if name]
    if preload is None:
        preload = [repo_id for repo_id, revision in names if revision is None]
    repo_ids = list(dict.fromkeys(repo_id for repo_id, _ in names))
    if kind == "static":
        import static_site  # which imports gradio and takes seconds

        host = re.sub(r"[^a-z0-9]+", "-", space.lower())
        static_site.write(folder, models[0], f"https://{host}.static.hf.space/")
        card = (HERE / "static/README.md").read_text("utf-8")
    else:
        _copy_page(folder, models)
        card = (HERE / "README.md").read_text("utf-8")
    if kind == "zerogpu":
        shutil.copyfile(HERE / ENTRY, folder / ENTRY)
        with open(folder / "requirements.txt", "a", encoding="utf-8", newline="\n") as file:
            file.write(f"{ZERO_REQUIREMENT}\n")
        card = card.replace("app_file: app.py\n", f"app_file: {ENTRY}\n{ZERO_CARD}")
        card = re.sub('python_version: ".*"', f'python_version: "{ZERO_PYTHON}"', card)
    card = card.replace("preload_from_hub:\n- USER/MODEL\n", _yaml("preload_from_hub", preload))
    card = card.replace("models:\n- USER/MODEL\n", _yaml("models", repo_ids))
    link = "[USER/MODEL](https://huggingface.co/USER/MODEL)"
    links = [link.replace("USER/MODEL", repo_id) for repo_id in repo_ids]
    card = card.replace(link, " and ".join(links) or "its owner's model")
    (folder / "README.md").write_text(card.replace("USER/SPACE", space), "utf-8", newline="\n")


def _copy_page(folder: pathlib.Path, models: Sequence[str]) -> None:
    """Copy the page that `app.py` serves, and write the list of its models on the Hub."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*", DEFAULT.name, PROJECT.name)
    for package in (DEFAULT.parent, ROOT / "page"):
        shutil.copytree(package, folder / package.name, ignore=unwanted)
    for file in (ROOT / "app.py", ROOT / "LICENSE", HERE / "requirements.txt"):
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(ROOT / "docs" / "page.png", folder / "thumbnail.png")
    (folder / "model.txt").write_text("".join(f"{m}\n" for m in models), "utf-8", newline="\n")


def _contents(kind: str) -> tuple[set[str], set[str]]:
    """The names of the files and folders in a Space of this kind."""
    if kind == "static":
        import static_site

        return static_site.FILES | static_site.FORMER | {"README.md"}, static_site.FOLDERS
    return FILES | ({ENTRY} if kind == "zerogpu" else set()), PACKAGES


def _kind_of(files: Collection[str]) -> str:
    """The kind of a Space with these files."""
    if "site.json" in files:
        return "static"
    return "zerogpu" if ENTRY in files else "gradio"


def _yaml(name: str, values: Sequence[str]) -> str:
    """A list in a card's front matter; empty for an empty list."""
    return "".join([f"{name}:\n", *(f"- {value}\n" for value in values)]) if values else ""


def write(folder: pathlib.Path, space: str, models: Sequence[str], kind: str = "gradio") -> None:
    """Write the files of a Space into a folder, or replace those of an earlier Space.

    Raises:
        UserError: if the folder has other files, or cannot be written.
    """
    try:
        held = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if held and ("README.md" not in held or held - set.union(*_contents(_kind_of(held)))):
            raise UserError(
                f"{str(folder)!r} contains other files than those of a Space; give a new or an "
                "empty folder"
            )
        with replacing(folder.resolve()) as temporary:
            assemble(temporary, space, models, kind=kind)
    except OSError as error:
        raise UserError(f"cannot write {str(folder)!r}: {error.strerror or error}") from error


def deploy(space: str, models: Sequence[str], kind: str | None = None, **settings) -> str:
    """Push a Space of published models, in one commit; returns its URL.

    Args:
        kind: one of `KINDS`; None to keep the kind of an existing Space, or to choose what the
            account may create, with a message to standard error.
        settings: as for `flowers_model.hub.publish_space`.

    Raises:
        HubError: if it cannot be pushed.
    """
    hub.check_login(space, "space")
    preload = []
    for model in models:
        if kind == "static" and os.path.isdir(model):
            continue
        repo_id, revision = hub.split_name(model)
        info = hub.check_published(repo_id, revision)
        if info.private:
            if kind == "static" and not settings.get("private"):
                raise UserError(
                    f"{model} is private, and a static Space would show it to everyone: "
                    "give --private, too"
                )
            continue  # the Hub would download it without a token
        # For a revision, the Hub requires a commit and the names of files.
        files = ",".join(sorted(bundle.REQUIRED_FILES))
        preload.append(f"{repo_id} {files} {info.sha}" if revision else repo_id)
    known = hub.list_space(space)
    chosen = kind or (_kind_of(known) if known is not None else "gradio")
    if chosen == "zerogpu":
        settings["hardware"] = ZERO_HARDWARE
    files, folders = map(set.union, _contents(chosen), _contents(_kind_of(known or ())))
    with tempfile.TemporaryDirectory() as room:
        folder = pathlib.Path(room, "space")
        assemble(folder, space, models, preload, chosen)
        patterns = [*files, *(f"{name}/*" for name in folders)]
        message = f"Show {' and '.join(models)}"
        sdk = "static" if chosen == "static" else "gradio"
        try:
            return hub.publish_space(folder, space, patterns, message, sdk, **settings)
        except hub.PlanError as error:
            if kind is not None or known is not None or len(models) > 1 or _of_a_server(settings):
                raise UserError(f"{error}; --kind static is free") from error
            print(
                f"creating a static Space, because {str(error).partition(': ')[2]}", file=sys.stderr
            )
    return deploy(space, models, "static", **settings)


def _of_a_server(settings: Mapping) -> list[str]:
    """The settings that are useless for a static Space."""
    return [name for name in ("hardware", "variables", "secrets", "restart") if settings.get(name)]


def _variables(pairs: Sequence[str]) -> dict[str, str]:
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UserError(f"--variable {pair!r} must be NAME=VALUE")
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
        raise UserError(f"{options.space!r} is not the name of a Space: give USER/SPACE")
    static = options.kind == "static"
    for model in options.model:
        if hub.split_name(model) is None and not (static and os.path.isdir(model)):
            raise UserError(
                f"{model!r} is not a model on the Hub: give USER/MODEL or USER/MODEL@REVISION "
                f"(`{spoken('train')} --push-to USER/MODEL` publishes one)"
            )
    settings = {
        "private": options.private,
        "hardware": options.hardware,
        "variables": _variables(options.variable),
        "secrets": _secrets(options.secret),
        "restart": options.restart,
    }
    if static and len(options.model) > 1:
        raise UserError("a static Space shows one model: give --model once")
    if static and (useless := _of_a_server(settings)):
        flag = useless[0].removesuffix("s")
        raise UserError(f"a static Space has no server: leave out --{flag}, or give another --kind")
    if options.kind == "zerogpu" and options.hardware not in (None, ZERO_HARDWARE):
        raise UserError(
            "--kind zerogpu runs on ZeroGPU: leave out --hardware, or give --kind gradio"
        )
    if options.dry_run is None:
        print(deploy(options.space, options.model, options.kind, **settings))
    else:
        write(options.dry_run, options.space, options.model, options.kind or "gradio")
        folder = shlex.quote(str(options.dry_run))
        print(f"{folder} has the files of {options.space}; ", end="")
        if static:
            print(f"to see it:\npython -m http.server -d {folder}")
        else:
            start = ENTRY if options.kind == "zerogpu" else "app.py"
            print(
                "in an environment of its own:\n"
                f"cd {folder} && pip install -r requirements.txt && python {start}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
