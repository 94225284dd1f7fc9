"""The client that all calls to the Hub go through: names of repos, login, and retries."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.utils import filter_repo_objects, validate_repo_id

from flowers_model import bundle
from flowers_model.hub.errors import TROUBLE, HubError, asked_pause, explain, root

# The files of a bundle: what is published, and what is fetched from a repo.
BUNDLE = [
    *bundle.REQUIRED_FILES,
    *bundle.OPTIONAL_FILES,
    *(f"{folder}/*" for folder in bundle.FOLDERS),
]
HIDDEN = [".*", "*/.*"]

PAUSES = (1, 2, 4)  # seconds before each retry
LONGEST_PAUSE = 60  # seconds; if the Hub asks for a longer one, the call fails
TIMEOUT = 10  # seconds without an answer until the Hub counts as unreachable

T = TypeVar("T")


def connect() -> huggingface_hub.HfApi:
    """The Hub of HF_ENDPOINT, or huggingface.co."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    return huggingface_hub.HfApi(endpoint=endpoint or None, library_name="flowers_model")


def persist(call: Callable[..., T], *args, **kwargs) -> T:
    """`call(*args, **kwargs)`, retried after errors that may be temporary."""
    for pause in PAUSES:
        try:
            return call(*args, **kwargs)
        except TROUBLE as error:
            asked = asked_pause(root(error))
            if asked is None or asked > LONGEST_PAUSE:
                raise
        time.sleep(max(pause, asked))
    return call(*args, **kwargs)


def matching(paths: Iterable[str], patterns: Sequence[str] = BUNDLE) -> list[str]:
    """The paths that match one of the patterns, without hidden files."""
    return list(filter_repo_objects(paths, allow_patterns=patterns, ignore_patterns=HIDDEN))


def split_name(name: str) -> tuple[str, str | None] | None:
    """Repo and revision of `USER/MODEL` or `USER/MODEL@REVISION`; None if it is neither.

    >>> split_name("ada/flowers@v1")
    ('ada/flowers', 'v1')
    """
    repo_id, at, revision = name.partition("@")
    if not is_repo_id(repo_id) or (at and not revision):
        return None
    return repo_id, revision or None


def is_repo_id(text: str) -> bool:
    """Whether `text` has the form `USER/NAME`, in characters that the Hub accepts.

    >>> is_repo_id("ada/flowers"), is_repo_id("./flowers")
    (True, False)
    """
    try:
        validate_repo_id(text)
    except errors.HFValidationError:
        return False
    return text.count("/") == 1


def cached_repo(folder: str | os.PathLike) -> tuple[str, str] | None:
    """The model repo and commit of a folder in the Hub's cache; None if it is another folder.

    >>> cached_repo(hub.fetch("USER/MODEL"))
    ('USER/MODEL', '9c3f0e1b...')
    """
    folder = pathlib.Path(folder)
    repo = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not repo.startswith("models--"):
        return None
    return repo.removeprefix("models--").replace("--", "/", 1), folder.name


def check_login(repo_id: str, repo_type: str = "model") -> None:
    """Check that there is a token to publish with, without asking the Hub.

    >>> check_login("USER/MODEL")

    Raises:
        HubError: if there is none, or `repo_id` is not `USER/NAME`.
    """
    if not is_repo_id(repo_id):
        form = f"USER/{repo_type.upper()}"
        raise HubError(f"cannot publish to {repo_id!r}: give a Hub repo as {form}")
    if huggingface_hub.get_token() is None:
        raise HubError(
            f"cannot publish to {repo_id}: not logged in; run `hf auth login` or set HF_TOKEN"
        )


def check_may_write(repo_id: str) -> None:
    """Ask the Hub whether the token may write to the repos of `repo_id`'s owner.

    A long training calls it first, so that it does not fail at its end.

    >>> check_may_write("USER/MODEL")

    Raises:
        HubError: if it may not, or the Hub cannot be asked.
    """
    check_login(repo_id)
    api = connect()
    try:
        account = persist(api.whoami)
    except TROUBLE as error:
        explain(error, f"cannot publish to {repo_id}", api, repo_id)
    owner, name = repo_id.split("/")[0], account["name"]
    owners = [name, *(one["name"] for one in account.get("orgs", ()))]
    if owner.casefold() not in map(str.casefold, owners):
        raise HubError(
            f"cannot publish to {repo_id}: {name} may write to repos of {', '.join(owners)}; "
            "choose one of these"
        )
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HubError(
            f"cannot publish to {repo_id}: the token may only read; make one that may write at "
            f"{api.endpoint}/settings/tokens"
        )
