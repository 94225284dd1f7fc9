"""From the Hub into the local cache: bundles, datasets, single files."""

from __future__ import annotations

import logging
import os
import pathlib

import huggingface_hub
from huggingface_hub import errors

from flowers_model import bundle
from flowers_model.hub.client import (
    BUNDLE,
    HIDDEN,
    TIMEOUT,
    connect,
    matching,
    persist,
    split_name,
)
from flowers_model.hub.errors import TROUBLE, HubError, explain, is_unreachable, reason

log = logging.getLogger(__name__)


def fetch(source: str | os.PathLike, revision: str | None = None) -> pathlib.Path:
    """Find a bundle: a local folder, or a Hub repo, which is downloaded into the cache.

    >>> folder = fetch("USER/MODEL@v1")
    >>> folder = fetch("runs/RUN/bundle")

    Args:
        source: a folder (which takes precedence over a repo of the same name), `USER/MODEL`, or
            `USER/MODEL@REVISION`.
        revision: branch, tag, commit or `refs/pr/N` of the repo; its main branch by default.

    Returns:
        The folder of a complete, validated bundle. Only new files are downloaded. Without a
        connection, the revision is what it was when it was last fetched completely.

    Raises:
        HubError: if the source is neither a folder nor a repo, or cannot be fetched.
        BundleError: if the folder is not a complete, valid bundle.
    """
    folder = pathlib.Path(source)
    if folder.is_dir():
        if revision is not None:
            raise HubError(
                f"{str(source)!r} is a folder here, and a folder has no revisions; "
                "the repo of that name is USER/MODEL@REVISION"
            )
        bundle.check(folder)
        return folder
    parts = None if isinstance(source, os.PathLike) else split_name(source)
    if parts is None:
        raise HubError(
            f"{str(source)!r} is neither a folder here nor a Hub repo: "
            "give a bundle's folder, USER/MODEL or USER/MODEL@REVISION"
        )
    repo_id, named = parts
    if named and revision is not None:
        raise HubError(f"two revisions, {named!r} and {revision!r}: give one")
    revision = named or revision or "main"
    api = connect()
    try:
        return _fetch(api, repo_id, revision)
    except TROUBLE as error:
        explain(error, f"cannot fetch {repo_id}@{revision}", api, repo_id, revision)


def fetch_dataset(repo_id: str, revision: str | None = None) -> pathlib.Path:
    """Download a whole dataset repo into the cache.

    >>> folder = fetch_dataset("USER/DATASET")

    Args:
        repo_id: `USER/DATASET`.
        revision: branch, tag, commit or `refs/convert/parquet`; the main branch by default.

    Returns:
        The folder of its files, named after the commit. Only new files are downloaded. Without a
        connection, the revision is what it was when it was last fetched completely.

    Raises:
        HubError: if it cannot be fetched.
    """
    revision = revision or "main"
    api = connect()
    try:
        folder = persist(
            huggingface_hub.snapshot_download,
            repo_id,
            repo_type="dataset",
            revision=revision,
            endpoint=api.endpoint,
            library_name=api.library_name,
            ignore_patterns=HIDDEN,
        )
    except TROUBLE as error:
        explain(error, f"cannot fetch {repo_id}@{revision}", api, repo_id, revision, "dataset")
    return pathlib.Path(folder)


def fetch_file(repo_id: str, name: str) -> pathlib.Path:
    """Download one file of a model repo's main branch into the cache.

    >>> path = fetch_file("timm/tf_efficientnet_lite0.in1k", "model.safetensors")

    Raises:
        HubError: if it cannot be fetched.
    """
    api = connect()
    try:
        file = persist(
            huggingface_hub.hf_hub_download,
            repo_id,
            name,
            endpoint=api.endpoint,
            library_name=api.library_name,
        )
    except TROUBLE as error:
        explain(error, f"cannot fetch {name} of {repo_id}", api, repo_id, "main")
    return pathlib.Path(file)


def check_published(repo_id: str, revision: str | None = None) -> huggingface_hub.ModelInfo:
    """Check by its list of files that a repo holds a bundle, and return what the Hub knows of it.

    >>> check_published("USER/MODEL").sha

    Raises:
        HubError: if it holds none, or cannot be looked up.
    """
    api = connect()
    revision = revision or "main"
    try:
        return _look_up(api, repo_id, revision)
    except TROUBLE as error:
        explain(error, f"cannot look up {repo_id}@{revision}", api, repo_id, revision)


def _fetch(api: huggingface_hub.HfApi, repo_id: str, revision: str) -> pathlib.Path:
    name = f"{repo_id}@{revision}"
    while True:
        try:
            info = _look_up(api, repo_id, revision)
        except TROUBLE as error:
            if not is_unreachable(error):
                raise
            return _fetched_before(api, repo_id, revision, error)
        folder = persist(_snapshot, api, repo_id, info.sha)
        if damaged := _damaged(folder, repo_id):
            for path in damaged:  # after a power cut, for example; huggingface_hub would keep it
                path.resolve().unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            folder = persist(_snapshot, api, repo_id, info.sha)
        _check(folder, name)
        # Only now does the cache learn what the revision means, so offline it always means a
        # commit that is complete. If the revision has moved meanwhile, fetch again.
        if persist(api.resolve_revision, repo_id, revision=revision).resolved == info.sha:
            return folder


def _look_up(api: huggingface_hub.HfApi, repo_id: str, revision: str) -> huggingface_hub.ModelInfo:
    """What the Hub knows of a revision, which must have all required files of a bundle."""
    info = persist(api.model_info, repo_id, revision=revision, timeout=TIMEOUT)
    missing = set(bundle.REQUIRED_FILES) - {file.rfilename for file in info.siblings}
    if missing:
        raise HubError(
            f"{repo_id}@{revision} is not a flower bundle: it has no {', '.join(sorted(missing))}"
        )
    return info


def _fetched_before(
    api: huggingface_hub.HfApi, repo_id: str, revision: str, trouble: Exception
) -> pathlib.Path:
    """The cached bundle, used when the Hub is unreachable."""
    name = f"{repo_id}@{revision}"
    why = reason(trouble, api, repo_id, revision)
    try:
        folder = _snapshot(api, repo_id, revision, local_files_only=True)
        whole = not _damaged(folder, repo_id)
    except (errors.LocalEntryNotFoundError, errors.CachedRepoTreeNotFoundError):
        whole = False
    if not whole:
        raise HubError(
            f"cannot fetch {name}, and the cache has no complete copy of it: {why}"
        ) from trouble
    _check(folder, name)
    if not isinstance(trouble, errors.OfflineModeIsEnabled):
        log.warning("using the cached copy of %s: %s", name, why)
    return folder


def _snapshot(
    api: huggingface_hub.HfApi, repo_id: str, revision: str, local_files_only: bool = False
) -> pathlib.Path:
    return pathlib.Path(
        huggingface_hub.snapshot_download(
            repo_id,
            revision=revision,
            endpoint=api.endpoint,
            library_name=api.library_name,
            allow_patterns=BUNDLE,
            ignore_patterns=HIDDEN,
            local_files_only=local_files_only,
        )
    )


def _damaged(folder: pathlib.Path, repo_id: str) -> list[pathlib.Path]:
    """The bundle's cached files whose size is not the one that the Hub listed."""
    listed = huggingface_hub.get_cached_repo_tree(repo_id, revision=folder.name)
    sizes = {file.path: file.size for file in listed}
    return [
        folder / path
        for path in matching(sizes)
        if not (folder / path).is_file() or (folder / path).stat().st_size != sizes[path]
    ]


def _check(folder: pathlib.Path, name: str) -> None:
    try:
        bundle.check(folder)
    except bundle.BundleError as error:
        raise HubError(f"{name}: {str(error).replace(repr(str(folder)), 'it')}") from error
