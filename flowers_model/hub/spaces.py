"""Hugging Face Spaces: the page, hosted by the Hub."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from huggingface_hub import errors

from flowers_model.hub.client import TIMEOUT, check_login, connect, persist
from flowers_model.hub.errors import TROUBLE, explain
from flowers_model.hub.publishing import commit, make_ready


def publish_space(
    folder: str | pathlib.Path,
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
    """Publish a folder to a Space, in one commit on its main branch.

    >>> publish_space("site", "USER/SPACE", ["*"], "The page", sdk="static")
    'https://huggingface.co/spaces/USER/SPACE'

    Args:
        folder: the files of the Space.
        repo_id: `USER/SPACE`, created if it does not exist.
        patterns: which files are ours, in `fnmatch` syntax. Those of the folder are published;
            those of the Space that the folder does not have are deleted in the same commit. All
            others stay. If nothing has changed, there is no commit.
        message: the commit message.
        sdk: `"gradio"` or `"static"`, used when the Space is created.
        private: create a private Space. An existing public one is an error, not changed.
        hardware: the Hub's name of the hardware; unchanged by default.
        variables: environment variables to set; other variables of the Space stay.
        secrets: the same, but nobody can read them again.
        restart: rebuild the Space even if nothing has changed.

    Returns:
        The Space's URL.

    Raises:
        PlanError: if the account's plan does not include such a Space; none is created then.
        HubError: if it cannot be published for another reason.
    """
    check_login(repo_id, "space")
    api = connect()
    try:
        persist(make_ready, api, repo_id, private, None, "space", sdk, hardware)
        # Before the commit, which makes the Hub build and start the Space.
        known = persist(api.get_space_variables, repo_id) if variables else {}
        for name, value in (variables or {}).items():
            if name not in known or known[name].value != value:
                persist(api.add_space_variable, repo_id, name, value)
        for name, value in (secrets or {}).items():
            persist(api.add_space_secret, repo_id, name, value)
        persist(commit, api, pathlib.Path(folder), repo_id, message, {}, patterns, "space")
        if hardware:
            runtime = persist(api.get_space_runtime, repo_id)
            if hardware != (runtime.requested_hardware or runtime.hardware):
                persist(api.request_space_hardware, repo_id, hardware)
        if restart:
            persist(api.restart_space, repo_id, factory_reboot=True)
    except TROUBLE as error:
        explain(error, f"cannot publish to {repo_id}", api, repo_id)
    return f"{api.endpoint}/spaces/{repo_id}"


def list_space(repo_id: str) -> list[str] | None:
    """The paths of a Space's files; None if there is no such Space.

    >>> list_space("USER/SPACE")
    ['README.md', 'app.py']

    Raises:
        HubError: if it cannot be looked up.
    """
    api = connect()
    try:
        info = persist(api.repo_info, repo_id, repo_type="space", timeout=TIMEOUT)
    except errors.RepositoryNotFoundError:
        return None
    except TROUBLE as error:
        explain(error, f"cannot look up the Space {repo_id}", api, repo_id, repo_type="space")
    return [file.rfilename for file in info.siblings]
