"""What goes wrong with the Hub, said in one line: why, and what would be right."""

from __future__ import annotations

import json
import re
import textwrap
from typing import NoReturn

import httpx2  # the HTTP library of huggingface_hub, which lets its errors through
import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.utils import parse_ratelimit_headers

from flowers_model.errors import UserError

# Broken connections. huggingface_hub resumes after most of them by itself, but not after a reset
# in the middle of a download, nor in the requests that look up, create, commit and tag.
BROKEN = (
    httpx2.ReadError,
    httpx2.WriteError,
    httpx2.RemoteProtocolError,
    json.JSONDecodeError,  # an answer that is not from the Hub, such as a gateway's error page
)
# All that calls to the Hub raise; `reason` tells the user's and the network's from our own faults.
TROUBLE = (
    *(OSError, ValueError, RuntimeError, ImportError),
    *(httpx2.HTTPError, httpx2.InvalidURL, errors.RevisionResolutionError),
)


class HubError(UserError):
    """A bundle cannot be fetched or published."""


class PlanError(HubError):
    """The account's plan does not include this."""


def asked_pause(error: BaseException) -> int | None:
    """Seconds to wait before a retry as the Hub asks, 0 if it does not say; None: do not retry."""
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


def root(error: BaseException) -> BaseException:
    """The error of the network or the Hub inside one of huggingface_hub."""
    while error.__cause__ is not None and not isinstance(error, httpx2.HTTPError):
        error = error.__cause__
    return error


def is_unreachable(error: Exception) -> bool:
    """Whether the Hub cannot be reached, or cannot answer for now."""
    error = root(error)
    return isinstance(error, httpx2.TransportError | errors.OfflineModeIsEnabled) or (
        asked_pause(error) is not None
    )


def explain(
    error: Exception,
    failed: str,
    api: huggingface_hub.HfApi,
    repo_id: str,
    revision: str | None = None,
    repo_type: str = "model",
) -> NoReturn:
    """Raise a HubError if the user, the Hub or the network is at fault; else `error` itself."""
    why = reason(error, api, repo_id, revision, repo_type)
    if why is None:
        raise error
    response = getattr(root(error), "response", None)
    kind = PlanError if response is not None and response.status_code == 402 else HubError
    raise kind(f"{failed}: {why}") from error


def reason(
    error: Exception,
    api: huggingface_hub.HfApi,
    repo_id: str,
    revision: str | None,
    repo_type: str = "model",
) -> str | None:
    """Why it failed and what would be right; None if the fault is ours."""
    error = root(error)
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
            return f"the connection to {api.endpoint} kept breaking off; try again later"
        case ImportError() if "socksio" in str(error):
            return "a SOCKS proxy needs one more package: pip install socksio"
        case ValueError() if "proxy URL" in str(error):
            return f"{_one_line(error)}; give http://, https:// or socks5:// in ALL_PROXY"
        case httpx2.InvalidURL():
            return f"{_one_line(error)}; correct the proxy's address in ALL_PROXY or HTTPS_PROXY"
        case UnicodeEncodeError():  # the only header that is the user's
            return "the token has letters that no token has; correct HF_TOKEN"
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
        pause = asked_pause(error)
        return f"too many requests; try again in {f'{pause} seconds' if pause else 'a while'}"
    if status >= 500:
        return f"the Hub has trouble (error {status}); try again later"
    return f"the Hub refuses (error {status}): {said}"


def _who() -> str:
    if huggingface_hub.get_token() is None:
        return "without `hf auth login` or HF_TOKEN you"
    return "this token's user"


def _one_line(text: object) -> str:
    """The text on one line, shortened, with the token masked."""
    token = huggingface_hub.get_token()
    text = str(text).replace(token, "***") if token else str(text)
    return textwrap.shorten(text, 300, placeholder=" …")
