"""From a local folder to the Hub: bundles into model repos, visitors' photos into dataset repos."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import huggingface_hub
from huggingface_hub import errors

from flowers_model import bundle
from flowers_model.hub.client import BUNDLE, TIMEOUT, check_login, connect, matching, persist
from flowers_model.hub.errors import TROUBLE, HubError, explain

# The calls in a card's snippets that name its repo.
NAMED = re.compile(rb'((?:from_pretrained|snapshot_download|load_model)\("(?:hf://)?)[^"\n]*(?=")')


def publish(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    tag: str | None = None,
    message: str | None = None,
) -> str:
    """Publish a bundle to a Hub repo, in one commit on its main branch.

    The published card names the repo in its snippets. The same commit deletes files of an older
    bundle that this one does not have; other files (a licence, a picture for the card) stay. If
    the repo already has this bundle, there is no commit.

    >>> publish("runs/RUN/bundle", "USER/MODEL", private=True, tag="v1")
    'https://huggingface.co/USER/MODEL'

    Args:
        folder: the bundle.
        repo_id: `USER/MODEL`, created if it does not exist.
        private: create a private repo. An existing public one is an error, not changed.
        tag: a new tag for this commit, for example `v1`.
        message: the commit message; the preset and its accuracy by default.

    Returns:
        The repo's URL.

    Raises:
        BundleError: if the folder is not a complete, valid bundle.
        HubError: if it cannot be published.
    """
    manifest = bundle.check(folder)
    check_login(repo_id)
    api = connect()
    message = message or f"{manifest.provenance.preset}: {manifest.headline}"
    folder = pathlib.Path(folder)
    card = NAMED.sub(lambda call: call[1] + repo_id.encode(), (folder / "README.md").read_bytes())
    try:
        persist(make_ready, api, repo_id, private, tag)
        revision = persist(commit, api, folder, repo_id, message, {"README.md": card})
    except TROUBLE as error:
        explain(error, f"cannot publish to {repo_id}", api, repo_id)
    if tag:
        try:
            # make_ready found no such tag: if one exists now, it is ours from a try whose
            # answer got lost.
            persist(api.create_tag, repo_id, tag=tag, revision=revision, exist_ok=True)
        except TROUBLE as error:
            explain(error, f"published {repo_id}, but cannot tag it {tag!r}", api, repo_id)
    return f"{api.endpoint}/{repo_id}"


def schedule_commits(
    folder: pathlib.Path, repo_id: str, minutes: float
) -> huggingface_hub.CommitScheduler:
    """Commit new files of a folder to a dataset repo every few minutes, in the background.

    A failed commit is logged, and its files go with the next one.

    >>> scheduler = schedule_commits(pathlib.Path("kept"), "USER/DATASET", minutes=5)

    Args:
        folder: files are only ever added to it, while holding the scheduler's `lock`.
        repo_id: `USER/DATASET`, created as a private repo if it does not exist.
        minutes: between two commits.

    Raises:
        HubError: if the repo cannot be written to, as far as can be told now.
    """
    check_login(repo_id, "dataset")
    api = connect()
    try:
        return persist(
            huggingface_hub.CommitScheduler,
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=folder,
            every=minutes,
            private=True,
            hf_api=api,
        )
    except TROUBLE as error:
        explain(error, f"cannot write to {repo_id}", api, repo_id, repo_type="dataset")


def finish_commits(scheduler: huggingface_hub.CommitScheduler) -> None:
    """Commit the last files of `schedule_commits`, and stop.

    Call it before the interpreter shuts down: huggingface_hub uploads several files in threads,
    and none can be started during shutdown.

    >>> finish_commits(scheduler)

    Raises:
        HubError: if they cannot be sent; the message names the folder that has them.
    """
    try:
        persist(lambda: scheduler.trigger().result())
    except TROUBLE as error:
        failed = f"cannot write to {scheduler.repo_id} what is in {scheduler.folder_path}"
        explain(error, failed, scheduler.api, scheduler.repo_id, repo_type="dataset")
    finally:
        scheduler.stop()


def make_ready(
    api: huggingface_hub.HfApi,
    repo_id: str,
    private: bool,
    tag: str | None,
    repo_type: str = "model",
    sdk: str | None = None,
    hardware: str | None = None,
) -> None:
    """Create the repo if it does not exist, and check that its visibility and tags allow this."""
    try:
        info = api.repo_info(repo_id, repo_type=repo_type, timeout=TIMEOUT)
    except errors.RepositoryNotFoundError:
        # Not private=False: an organization may have its own default. With the hardware, since
        # that decides whether the account's plan includes such a Space.
        api.create_repo(
            repo_id,
            private=private or None,
            repo_type=repo_type,
            space_sdk=sdk,
            space_hardware=hardware,
            exist_ok=True,
        )
        return
    if private and not info.private:
        place = f"{api.endpoint}/{'spaces/' if repo_type == 'space' else ''}{repo_id}"
        raise HubError(
            f"cannot publish to {repo_id} as private: it is public; make it private at "
            f"{place}/settings, or choose another repo"
        )
    if tag and any(tag == known.name for known in api.list_repo_refs(repo_id).tags):
        raise HubError(f"{repo_id} has a tag {tag!r} already: choose another, or delete it there")


def commit(
    api: huggingface_hub.HfApi,
    folder: pathlib.Path,
    repo_id: str,
    message: str,
    instead: Mapping[str, bytes],
    patterns: Sequence[str] = BUNDLE,
    repo_type: str = "model",
) -> str:
    """Make the repo's matching files those of the folder, in one commit; returns its sha.

    Args:
        instead: contents by path, in place of those in the folder.
    """
    # Not `upload_folder`, which splits many files into several commits. Each try lists the files
    # again: if only the answer to a commit was lost, there is nothing left to commit.
    info = api.repo_info(repo_id, repo_type=repo_type, timeout=TIMEOUT)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): path for path in files}
    ours = matching(files, patterns)
    stale = set(matching((file.rfilename for file in info.siblings), patterns)) - set(ours)
    done = api.create_commit(
        repo_id,
        [
            *(
                huggingface_hub.CommitOperationDelete(path, is_folder=False)
                for path in sorted(stale)
            ),
            *(
                huggingface_hub.CommitOperationAdd(path, instead.get(path, files[path]))
                for path in ours
            ),
        ],
        commit_message=message,
        repo_type=repo_type,
        parent_commit=info.sha,  # so that two publishers at once cannot mix their files
    )
    return done.oid
