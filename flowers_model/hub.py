"""A bundle's way to the Hugging Face Hub and back, and the way of the page that shows it.

The token is the one of `hf auth login` or HF_TOKEN, the Hub the one of HF_ENDPOINT where that is
set, the cache that of huggingface_hub (HF_HOME, HF_HUB_CACHE), whose HF_HUB_OFFLINE is obeyed too.
"""

import json
import logging
import os
import pathlib
import re
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn, TypeVar

import httpx2  # what huggingface_hub speaks HTTP with, and whose errors it lets through
import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.utils import filter_repo_objects, parse_ratelimit_headers, validate_repo_id

from flowers_model import bundle
from flowers_model.errors import UserError

# What a bundle consists of: all that is published, and all that is fetched from a repo.
BUNDLE = [
    *bundle.REQUIRED_FILES,
    *bundle.OPTIONAL_FILES,
    *(f"{folder}/*" for folder in bundle.FOLDERS),
]
HIDDEN = [".*", "*/.*"]

PAUSES = (1, 2, 4)  # seconds before each further try
LONGEST_PAUSE = 60  # seconds; where the Hub asks for more, the person is told
TIMEOUT = 10  # seconds until a Hub that does not answer counts as out of reach

# Connections that broke off. huggingface_hub goes on after most of them by itself, but not after a
# reset amid a download, nor in the requests that look up, create, commit and tag.
BROKEN = (
    httpx2.ReadError,
    httpx2.WriteError,
    httpx2.RemoteProtocolError,
    json.JSONDecodeError,  # an answer that is not from the Hub: a gateway's error page
)
# All that calls to the Hub raise; `_reason` knows what is the person's or the network's.
TROUBLE = (
    *(OSError, ValueError, RuntimeError, ImportError),
    *(httpx2.HTTPError, errors.RevisionResolutionError),
)

T = TypeVar("T")
log = logging.getLogger(__name__)


class HubError(UserError):
    """What keeps a bundle from being published or fetched."""


class PlanError(HubError):
    """What the account's plan does not have."""


def fetch(source: str | os.PathLike, revision: str | None = None) -> pathlib.Path:
    """Find a bundle: a folder, or a Hub repo, which is fetched into the cache.

    Args:
        source: a folder (which wins over a repo of the same name), `USER/MODEL`, or
            `USER/MODEL@REVISION`.
        revision: branch, tag, commit or `refs/pr/N` of the repo; its main branch by default.

    Returns:
        The folder of a whole, checked bundle. Only what is new is downloaded. Without a
        connection, it is the one that the revision meant when it was last fetched whole.

    Raises:
        HubError: for what is neither, and for all that keeps it from being fetched.
        BundleError: for a folder that is not a whole, valid bundle.
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
    api = _api()
    try:
        return _fetch(api, repo_id, revision)
    except TROUBLE as error:
        _explain(error, f"cannot fetch {repo_id}@{revision}", api, repo_id, revision)


def fetch_dataset(repo_id: str, revision: str | None = None) -> pathlib.Path:
    """Fetch a dataset repo, whole, into the cache.

    Args:
        repo_id: `USER/DATASET`.
        revision: branch, tag, commit or `refs/convert/parquet` of it; its main branch by default.

    Returns:
        The folder of its files, called by the commit. Only what is new is downloaded. Without a
        connection, it is the one that the revision meant when it was last fetched whole.

    Raises:
        HubError: for all that keeps it from being fetched.
    """
    revision = revision or "main"
    api = _api()
    try:
        folder = _persist(
            huggingface_hub.snapshot_download,
            repo_id,
            repo_type="dataset",
            revision=revision,
            endpoint=api.endpoint,
            library_name=api.library_name,
            ignore_patterns=HIDDEN,
        )
    except TROUBLE as error:
        _explain(error, f"cannot fetch {repo_id}@{revision}", api, repo_id, revision, "dataset")
    return pathlib.Path(folder)


def fetch_file(repo_id: str, name: str) -> pathlib.Path:
    """Fetch one file of a model's repo, from its main branch, into the cache.

    Raises:
        HubError: for all that keeps it from being fetched.
    """
    api = _api()
    try:
        file = _persist(
            huggingface_hub.hf_hub_download,
            repo_id,
            name,
            endpoint=api.endpoint,
            library_name=api.library_name,
        )
    except TROUBLE as error:
        _explain(error, f"cannot fetch {name} of {repo_id}", api, repo_id, "main")
    return pathlib.Path(file)


def publish(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    tag: str | None = None,
    message: str | None = None,
) -> str:
    """Put a bundle into a Hub repo, in one commit on its main branch.

    Files of an older bundle that this one does not have are deleted in the same commit; files
    that are no bundle's (a licence, a picture for the card) stay. A bundle that the repo has
    already makes no commit.

    Args:
        folder: the bundle.
        repo_id: `USER/MODEL`, made where it does not exist.
        private: make it a private repo. One that is public already is refused, not changed.
        tag: a new name for this commit, for example `v1`.
        message: the commit's; by default the preset and its accuracy.

    Returns:
        The repo's URL.

    Raises:
        BundleError: for a folder that is not a whole, valid bundle.
        HubError: for all that keeps it from being published.
    """
    manifest = bundle.check(folder)
    check_login(repo_id)
    api = _api()
    message = message or f"{manifest.provenance.preset}: {manifest.headline}"
    try:
        _persist(_make_ready, api, repo_id, private, tag)
        commit = _persist(_commit, api, pathlib.Path(folder), repo_id, message)
    except TROUBLE as error:
        _explain(error, f"cannot publish to {repo_id}", api, repo_id)
    if tag:
        try:
            # There was no such tag a moment ago: one that exists is ours, its answer got lost.
            _persist(api.create_tag, repo_id, tag=tag, revision=commit, exist_ok=True)
        except TROUBLE as error:
            _explain(error, f"published {repo_id}, but cannot tag it {tag!r}", api, repo_id)
    return f"{api.endpoint}/{repo_id}"


def publish_space(
    folder: str | os.PathLike,
    repo_id: str,
    patterns: Sequence[str],
    message: str,
    sdk: str = "gradio",
    private: bool = False,
    hardware: str | None = None,
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    restart: bool = False,
) -> str:
    """Put a folder into a Space, in one commit on its main branch.

    Args:
        folder: what the Space is to hold.
        repo_id: `USER/SPACE`, made where it does not exist.
        patterns: which files are ours, as `fnmatch` reads it. Those of the folder are published;
            those of the Space that the folder does not have are deleted in the same commit. All
            others stay. What the Space has already makes no commit.
        message: the commit's.
        sdk: `"gradio"` or `"static"`, of a Space that is made.
        private: make it a private Space. One that is public already is refused, not changed.
        hardware: what it runs on, as the Hub names it; by default as it is.
        variables: environment variables of the Space; those that it has already stay as they are.
        secrets: the same, which nobody can read again.
        restart: build it anew, from the start, even if nothing has changed.

    Returns:
        The Space's URL.

    Raises:
        PlanError: for a Space that the account's plan does not have; none is made then.
        HubError: for all else that keeps it from being published.
    """
    check_login(repo_id, "space")
    api = _api()
    try:
        _persist(_make_ready, api, repo_id, private, None, "space", sdk, hardware)
        # Before the commit, which has the Space built and started.
        known = _persist(api.get_space_variables, repo_id) if variables else {}
        for name, value in (variables or {}).items():
            if name not in known or known[name].value != value:
                _persist(api.add_space_variable, repo_id, name, value)
        for name, value in (secrets or {}).items():
            _persist(api.add_space_secret, repo_id, name, value)
        _persist(_commit, api, pathlib.Path(folder), repo_id, message, patterns, "space")
        if hardware:
            runtime = _persist(api.get_space_runtime, repo_id)
            if hardware != (runtime.requested_hardware or runtime.hardware):
                _persist(api.request_space_hardware, repo_id, hardware)
        if restart:
            _persist(api.restart_space, repo_id, factory_reboot=True)
    except TROUBLE as error:
        _explain(error, f"cannot publish to {repo_id}", api, repo_id)
    return f"{api.endpoint}/spaces/{repo_id}"


def schedule_commits(
    folder: pathlib.Path, repo_id: str, minutes: float
) -> huggingface_hub.CommitScheduler:
    """Have a dataset repo receive the new files of a folder, again and again, in the background.

    A commit that fails is logged, and its files go with the next one.

    Args:
        folder: to which files are only added, under the scheduler's `lock`.
        repo_id: `USER/DATASET`, made as a private repo where it does not exist.
        minutes: between two commits.

    Raises:
        HubError: for a repo that cannot be written to, as far as that can be told now.
    """
    check_login(repo_id, "dataset")
    api = _api()
    try:
        return _persist(
            huggingface_hub.CommitScheduler,
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=folder,
            every=minutes,
            private=True,
            hf_api=api,
        )
    except TROUBLE as error:
        _explain(error, f"cannot write to {repo_id}", api, repo_id, repo_type="dataset")


def finish_commits(scheduler: huggingface_hub.CommitScheduler) -> None:
    """Commit the last files of `schedule_commits`, and stop.

    Not later than the process's last line, for at exit no more threads can be started, and
    huggingface_hub sends several files by threads.

    Raises:
        HubError: where they cannot be sent; the message names the folder that has them.
    """
    try:
        _persist(lambda: scheduler.trigger().result())
    except TROUBLE as error:
        failed = f"cannot write to {scheduler.repo_id} what is in {scheduler.folder_path}"
        _explain(error, failed, scheduler.api, scheduler.repo_id, repo_type="dataset")
    finally:
        scheduler.stop()


def check_published(repo_id: str, revision: str | None = None) -> huggingface_hub.ModelInfo:
    """What the Hub tells of a repo that holds a bundle, as far as its list of files tells.

    Raises:
        HubError: where it does not, and for all that keeps it from being looked up.
    """
    api = _api()
    revision = revision or "main"
    try:
        return _look_up(api, repo_id, revision)
    except TROUBLE as error:
        _explain(error, f"cannot look up {repo_id}@{revision}", api, repo_id, revision)


def list_space(repo_id: str) -> list[str] | None:
    """The names of a Space's files; None where there is no such Space.

    Raises:
        HubError: for all that keeps it from being looked up.
    """
    api = _api()
    try:
        info = _persist(api.repo_info, repo_id, repo_type="space", timeout=TIMEOUT)
    except errors.RepositoryNotFoundError:
        return None
    except TROUBLE as error:
        _explain(error, f"cannot look up the Space {repo_id}", api, repo_id, repo_type="space")
    return [file.rfilename for file in info.siblings]


def check_login(repo_id: str, repo_type: str = "model") -> None:
    """Check, without asking the Hub, that there is a token with which to publish.

    Raises:
        HubError: where there is none, and for a `repo_id` that is none.
    """
    if not is_repo_id(repo_id):
        form = f"USER/{repo_type.upper()}"
        raise HubError(f"cannot publish to {repo_id!r}: give a Hub repo as {form}")
    if huggingface_hub.get_token() is None:
        raise HubError(
            f"cannot publish to {repo_id}: not logged in; run `hf auth login` or set HF_TOKEN"
        )


def check_may_write(repo_id: str) -> None:
    """Check with the Hub that the token may write to its owner's repos, before much is done.

    Raises:
        HubError: where it may not, or the Hub cannot be asked.
    """
    check_login(repo_id)
    api = _api()
    try:
        account = _persist(api.whoami)
    except TROUBLE as error:
        _explain(error, f"cannot publish to {repo_id}", api, repo_id)
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


def split_name(name: str) -> tuple[str, str | None] | None:
    """Repo and revision of `USER/MODEL` or `USER/MODEL@REVISION`; None for what is neither."""
    repo_id, at, revision = name.partition("@")
    if not is_repo_id(repo_id) or (at and not revision):
        return None
    return repo_id, revision or None


def is_repo_id(text: str) -> bool:
    """Whether it has the form `USER/NAME`, in letters that the Hub takes."""
    try:
        validate_repo_id(text)
    except errors.HFValidationError:
        return False
    return text.count("/") == 1


def _api() -> huggingface_hub.HfApi:
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    return huggingface_hub.HfApi(endpoint=endpoint or None, library_name="flowers_model")


def _ours(paths: Iterable[str], patterns: Sequence[str] = BUNDLE) -> list[str]:
    return list(filter_repo_objects(paths, allow_patterns=patterns, ignore_patterns=HIDDEN))


def _fetch(api: huggingface_hub.HfApi, repo_id: str, revision: str) -> pathlib.Path:
    name = f"{repo_id}@{revision}"
    while True:
        try:
            info = _look_up(api, repo_id, revision)
        except TROUBLE as error:
            if not _is_out_of_reach(error):
                raise
            return _fetched_before(api, repo_id, revision, error)
        folder = _persist(_snapshot, api, repo_id, info.sha)
        if damaged := _damaged(folder, repo_id):
            for path in damaged:  # after a power cut, for example; huggingface_hub would keep it
                path.resolve().unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            folder = _persist(_snapshot, api, repo_id, info.sha)
        _check(folder, name)
        # Only now does the cache learn what the revision means: without a connection, that is
        # always a commit which is there whole. Once more, where it has moved on meanwhile.
        if _persist(api.resolve_revision, repo_id, revision=revision).resolved == info.sha:
            return folder


def _look_up(api: huggingface_hub.HfApi, repo_id: str, revision: str) -> huggingface_hub.ModelInfo:
    """What the Hub tells about a revision that holds all files of a bundle."""
    info = _persist(api.model_info, repo_id, revision=revision, timeout=TIMEOUT)
    missing = set(bundle.REQUIRED_FILES) - {file.rfilename for file in info.siblings}
    if missing:
        raise HubError(
            f"{repo_id}@{revision} is not a flower bundle: it has no {', '.join(sorted(missing))}"
        )
    return info


def _fetched_before(
    api: huggingface_hub.HfApi, repo_id: str, revision: str, trouble: Exception
) -> pathlib.Path:
    """The bundle in the cache, now that the Hub is out of reach."""
    name = f"{repo_id}@{revision}"
    reason = _reason(trouble, api, repo_id, revision)
    try:
        folder = _snapshot(api, repo_id, revision, local_files_only=True)
        whole = not _damaged(folder, repo_id)
    except (errors.LocalEntryNotFoundError, errors.CachedRepoTreeNotFoundError):
        whole = False
    if not whole:
        raise HubError(
            f"cannot fetch {name}, of which the cache has no whole copy: {reason}"
        ) from trouble
    _check(folder, name)
    if not isinstance(trouble, errors.OfflineModeIsEnabled):
        log.warning("%s as it was last fetched: %s", name, reason)
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
    """The bundle's files in the cache that do not have the size that the Hub listed."""
    listed = huggingface_hub.get_cached_repo_tree(repo_id, revision=folder.name)
    sizes = {file.path: file.size for file in listed}
    return [
        folder / path
        for path in _ours(sizes)
        if not (folder / path).is_file() or (folder / path).stat().st_size != sizes[path]
    ]


def _check(folder: pathlib.Path, name: str) -> None:
    try:
        bundle.check(folder)
    except bundle.BundleError as error:
        raise HubError(f"{name}: {str(error).replace(repr(str(folder)), 'it')}") from error


def _make_ready(
    api: huggingface_hub.HfApi,
    repo_id: str,
    private: bool,
    tag: str | None,
    repo_type: str = "model",
    sdk: str | None = None,
    hardware: str | None = None,
) -> None:
    try:
        info = api.repo_info(repo_id, repo_type=repo_type, timeout=TIMEOUT)
    except errors.RepositoryNotFoundError:
        # Not private=False: an organization may have its own default. With the hardware, since it
        # decides whether the account may have such a Space.
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


def _commit(
    api: huggingface_hub.HfApi,
    folder: pathlib.Path,
    repo_id: str,
    message: str,
    patterns: Sequence[str] = BUNDLE,
    repo_type: str = "model",
) -> str:
    """The sha of the commit that holds those files of the folder that the patterns match."""
    # Not `upload_folder`: that makes several commits of many files. All is listed anew on each
    # try: if only the answer to a commit was lost, there is nothing left to commit.
    info = api.repo_info(repo_id, repo_type=repo_type, timeout=TIMEOUT)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): path for path in files}
    ours = _ours(files, patterns)
    stale = set(_ours((file.rfilename for file in info.siblings), patterns)) - set(ours)
    commit = api.create_commit(
        repo_id,
        [
            *(
                huggingface_hub.CommitOperationDelete(path, is_folder=False)
                for path in sorted(stale)
            ),
            *(huggingface_hub.CommitOperationAdd(path, files[path]) for path in ours),
        ],
        commit_message=message,
        repo_type=repo_type,
        parent_commit=info.sha,  # so that two that publish at once cannot mix their files
    )
    return commit.oid


def _persist(call: Callable[..., T], *args, **kwargs) -> T:
    """`call(*args, **kwargs)`, tried again after what may pass."""
    for pause in PAUSES:
        try:
            return call(*args, **kwargs)
        except TROUBLE as error:
            asked = _asked_pause(_root(error))
            if asked is None or asked > LONGEST_PAUSE:
                raise
        time.sleep(max(pause, asked))
    return call(*args, **kwargs)


def _asked_pause(error: BaseException) -> int | None:
    """Seconds that the Hub asks to wait before another try, 0 for any, None for no other try."""
    if isinstance(error, BROKEN):
        return 0
    if not isinstance(error, errors.HfHubHTTPError):
        return None
    status, headers = error.response.status_code, error.response.headers
    if status == 429 and (limit := parse_ratelimit_headers(headers)) and not limit.remaining:
        return limit.reset_in_seconds
    # 412: another commit came between looking and committing.
    if status in (408, 412, 429) or status >= 500:
        asked = headers.get("Retry-After", "")
        return int(asked) if asked.isdigit() else 0
    return None


def _root(error: BaseException) -> BaseException:
    """The error of the network or the Hub that huggingface_hub wrapped."""
    while error.__cause__ is not None and not isinstance(error, httpx2.HTTPError):
        error = error.__cause__
    return error


def _is_out_of_reach(error: Exception) -> bool:
    error = _root(error)
    return isinstance(error, httpx2.TransportError | errors.OfflineModeIsEnabled) or (
        _asked_pause(error) is not None
    )


def _explain(
    error: Exception,
    failed: str,
    api: huggingface_hub.HfApi,
    repo_id: str,
    revision: str | None = None,
    repo_type: str = "model",
) -> NoReturn:
    """Raise a HubError for what the person, the Hub or the network caused; else `error` itself."""
    reason = _reason(error, api, repo_id, revision, repo_type)
    if reason is None:
        raise error
    response = getattr(_root(error), "response", None)
    kind = PlanError if response is not None and response.status_code == 402 else HubError
    raise kind(f"{failed}: {reason}") from error


def _reason(
    error: Exception,
    api: huggingface_hub.HfApi,
    repo_id: str,
    revision: str | None,
    repo_type: str = "model",
) -> str | None:
    """Why, and what would be right; None for what is neither the Hub's nor the network's."""
    error = _root(error)
    url = f"{api.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
    match error:
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set; unset it to use the network"
        case errors.GatedRepoError():
            return f"its owner grants access on request; ask for it at {url}"
        case errors.RepositoryNotFoundError():
            return (
                f"{api.endpoint} has no such {repo_type}, "
                f"or it is private and {_who()} may not see it"
            )
        case errors.RevisionNotFoundError():
            return f"it has no branch, tag or commit {revision!r}; see {url}/commits"
        case errors.HfHubHTTPError():
            return _status_reason(error, f"read {repo_id}" if revision else f"write to {repo_id}")
        case httpx2.TimeoutException():
            return f"{api.endpoint} does not answer; check the connection"
        case httpx2.ConnectError() | httpx2.ProxyError() | httpx2.UnsupportedProtocol():
            return f"cannot reach {api.endpoint} ({_one_line(error)}); check the connection"
        case json.JSONDecodeError():
            return f"{api.endpoint} does not answer as a Hub; check HF_ENDPOINT or try again later"
        case httpx2.TransportError():
            return f"the connection to {api.endpoint} broke off again and again; try again later"
        case ImportError() if "socksio" in str(error):
            return "to go through a SOCKS proxy takes a package more: pip install socksio"
        case ValueError() if "proxy URL" in str(error):
            return f"{_one_line(error)}; give http://, https:// or socks5:// in ALL_PROXY"
        case OSError() if "xet-write-token" in str(error):
            return f"{api.endpoint} offers no Xet storage; set HF_HUB_DISABLE_XET=1"
        case OSError():
            return _one_line(error)
    return None


def _status_reason(error: errors.HfHubHTTPError, wish: str) -> str:
    status = error.response.status_code
    said = _one_line(error.server_message or "no reason given")
    if status == 401:
        return "the Hub wants a valid token; run `hf auth login` or correct HF_TOKEN"
    if status == 402:
        return f"the account's plan does not have it ({said}); see https://huggingface.co/pricing"
    if status == 403 and re.search(r"verif|days|standing", said, re.IGNORECASE):
        return (
            f"the Hub refuses this account ({said}); verify its address at "
            "https://huggingface.co/settings/account, or wait until it is old enough"
        )
    if status == 403:
        return f"the Hub forbids it ({said}); use a token that may {wish}"
    if status == 429:
        pause = _asked_pause(error)
        return f"too many requests; try again in {f'{pause} seconds' if pause else 'a while'}"
    if status >= 500:
        return f"the Hub has trouble (error {status}); try again later"
    return f"the Hub refuses (error {status}): {said}"


def _who() -> str:
    if huggingface_hub.get_token() is None:
        return "without `hf auth login` or HF_TOKEN you"
    return "this token's user"


def _one_line(text: object) -> str:
    """Without the token, should the text hold it."""
    token = huggingface_hub.get_token()
    text = str(text).replace(token, "***") if token else str(text)
    return textwrap.shorten(text, 300, placeholder=" …")
