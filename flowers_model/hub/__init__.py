"""Fetching bundles from the Hugging Face Hub, and publishing bundles, Spaces and photos to it.

The token is that of `hf auth login` or HF_TOKEN, the server that of HF_ENDPOINT where it is set,
and the cache that of huggingface_hub (HF_HOME, HF_HUB_CACHE). HF_HUB_OFFLINE is obeyed.

>>> from flowers_model import hub
>>> folder = hub.fetch("USER/MODEL@v1")
>>> hub.publish("runs/RUN/bundle", "USER/MODEL", tag="v2")
"""

from flowers_model.hub.client import (
    cached_repo,
    check_login,
    check_may_write,
    is_repo_id,
    split_name,
)
from flowers_model.hub.errors import HubError, PlanError
from flowers_model.hub.fetching import check_published, fetch, fetch_dataset, fetch_file
from flowers_model.hub.licenses import check_license
from flowers_model.hub.publishing import finish_commits, publish, schedule_commits
from flowers_model.hub.spaces import list_space, publish_space

__all__ = [
    "HubError",
    "PlanError",
    "cached_repo",
    "check_license",
    "check_login",
    "check_may_write",
    "check_published",
    "fetch",
    "fetch_dataset",
    "fetch_file",
    "finish_commits",
    "is_repo_id",
    "list_space",
    "publish",
    "publish_space",
    "schedule_commits",
    "split_name",
]
