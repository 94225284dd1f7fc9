"""A small in-memory Hugging Face Hub for tests, with the HTTP API that huggingface_hub uses.

    with HubServer() as hub:
        hub.add_token("hf_writer", user="ada", write=True)
        hub.fail_next(r"/resolve/", status=503, times=2)
        ...
        hub.repo("ada/flowers").head().title

It keeps model, dataset and space repos alike: commits with branches and tags, private repos,
uploads through git-LFS, downloads with ranges and, for large files, a redirect to another host, as
the Hub does. It offers no Xet storage, so huggingface_hub must be imported with
HF_HUB_DISABLE_XET=1 to upload here. Written after huggingface_hub 2.4.
"""

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import http.server
import json
import re
import socket
import struct
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Mapping

TYPES = ("model", "dataset", "space")
LFS_SUFFIXES = (".h5", ".onnx", ".npz", ".keras", ".bin", ".zip", ".parquet", ".png", ".jpg")
LFS_SIZE = 10 * 1024 * 1024  # bytes; larger files are always LFS files

# `{type}`, `{id}`, `{rev}` and `{path}` of the routes below.
PARTS = {
    "{type}": r"(?P<type>model|dataset|space)",
    "{prefix}": r"(?:(?P<prefix>datasets|spaces)/)?",
    "{id}": r"(?P<id>[^/]+/[^/]+)",
    "{rev}": r"(?P<rev>[^/]+)",
    "{path}": r"(?P<path>.+)",
}


@dataclasses.dataclass(frozen=True)
class File:
    data: bytes = dataclasses.field(repr=False)
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def blob_id(self) -> str:
        """The file's id in git; git holds only the pointer of an LFS file."""
        data = self.data
        if self.lfs:
            data = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (
                self.sha256.encode(),
                len(self.data),
            )
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def oid(self) -> str:
        """The file's id in preupload answers and ETags."""
        return self.sha256 if self.lfs else self.blob_id


@dataclasses.dataclass(frozen=True)
class Commit:
    sha: str
    title: str
    description: str
    parent: str | None
    files: Mapping[str, File]
    date: str


class Repo:
    """One repo; `files`, `head` and `history` take a branch, tag, pull request ref or sha."""

    def __init__(self, id: str, type: str, private: bool, sdk: str | None = None):
        self.id = id
        self.type = type
        self.private = private
        self.sdk = sdk
        self.variables: dict[str, str] = {}  # this and the next three, of a Space
        self.secrets: dict[str, str] = {}
        self.hardware = "cpu-basic"
        self.restarts: list[str] = []  # their queries
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.commit({".gitattributes": File(b"*.h5 filter=lfs\n", False)}, "initial commit")

    @property
    def path(self) -> str:
        return self.id if self.type == "model" else f"{self.type}s/{self.id}"

    def commit(
        self, files: Mapping[str, File], title: str, description: str = "", branch: str = "main"
    ) -> Commit:
        """Commit `files`, the whole tree, to a branch, which is created if it does not exist."""
        commit = Commit(
            sha=hashlib.sha1(uuid.uuid4().bytes).hexdigest(),
            title=title,
            description=description,
            parent=self.branches.get(branch),
            files=dict(sorted(files.items())),
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        )
        self.commits[commit.sha] = commit
        self.branches[branch] = commit.sha
        return commit

    def head(self, revision: str = "main") -> Commit:
        sha = self.branches.get(revision) or self.tags.get(revision)
        if sha is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            sha = next((sha for sha in self.commits if sha.startswith(revision)), None)
        if sha is None:
            raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return {path: file.data for path, file in self.head(revision).files.items()}

    def history(self, revision: str = "main") -> list[Commit]:
        """Newest first."""
        commits = [self.head(revision)]
        while commits[-1].parent is not None:
            commits.append(self.commits[commits[-1].parent])
        return commits


@dataclasses.dataclass(frozen=True)
class Token:
    user: str
    write: bool
    organizations: tuple[str, ...]
    pro: bool = True
    trouble: str | None = None  # why the account may have no Space on ZeroGPU
    credits: bool = True  # for jobs

    def owns(self, id: str) -> bool:
        return id.split("/")[0] in (self.user, *self.organizations)


@dataclasses.dataclass(frozen=True)
class Request:
    """One line of `HubServer.requests`."""

    method: str
    path: str  # with the query, percent-decoded
    host: str
    token: str | None
    range: str | None


@dataclasses.dataclass
class Fault:
    pattern: str
    method: str | None
    times: int
    status: int | None = None  # answer with this status; the request is not carried out
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    message: str = ""
    after: int = 0  # with status None: drop the connection after so many bytes of the body
    reset: bool = False  # drop it with a TCP reset


class RefusalError(Exception):
    """The answer to a request is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: str,
    ):
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message.split("\n")[0], **(headers or {})}
        if code:
            self.headers["X-Error-Code"] = code
        self.body = json.dumps({"error": message, **more}).encode()
        if "Content-Type" in self.headers:
            self.body = message.encode()


@dataclasses.dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


class HubServer:
    """Listens on a free port of 127.0.0.1 while it is entered."""

    def __init__(self):
        self.requests: list[Request] = []
        self.repos: dict[tuple[str, str], Repo] = {}
        self.tokens: dict[str, Token] = {}
        self.lfs: dict[str, bytes] = {}
        self.jobs: list[dict] = []
        self.jobs_end = "COMPLETED"
        self.faults: list[Fault] = []
        self.connections: set[socket.socket] = set()
        self.lock = threading.RLock()

    def __enter__(self) -> "HubServer":
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.hub = self
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        # Large files come from here: a second host, as the Hub's content network is.
        self.cdn_url = f"http://localhost:{self.port}/cdn"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on, connections are refused, and open ones are closed."""
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def add_token(
        self,
        token: str,
        user: str,
        write: bool = False,
        organizations: tuple[str, ...] = (),
        pro: bool = True,
        trouble: str | None = None,
        credits: bool = True,
    ) -> None:
        self.tokens[token] = Token(user, write, organizations, pro, trouble, credits)

    def repo(self, id: str, type: str = "model") -> Repo:
        return self.repos[type, id]

    def put(
        self,
        id: str,
        files: Mapping[str, bytes],
        *,
        type: str = "model",
        private: bool = False,
        branch: str = "main",
        title: str = "put",
    ) -> Commit:
        """Commit a whole tree without HTTP, in a repo that is created if it does not exist."""
        with self.lock:
            repo = self.repos.setdefault((type, id), Repo(id, type, private))
            tree = {
                path: File(data, is_lfs(path, data[:512], len(data)))
                for path, data in files.items()
            }
            self.lfs.update((file.sha256, file.data) for file in tree.values() if file.lfs)
            return repo.commit(tree, title, branch=branch)

    def fail_next(
        self,
        pattern: str,
        status: int,
        *,
        method: str | None = None,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        message: str = "a fault of the test",
    ) -> None:
        """Answer the next requests whose path matches with an error; they are not carried out.

        The body is the Hub's JSON, or just `message` where `headers` have a Content-Type.
        """
        self.faults.append(
            Fault(pattern, method, times, status=status, headers=headers or {}, message=message)
        )

    def drop_next(
        self,
        pattern: str,
        *,
        after: int = 0,
        method: str | None = None,
        times: int = 1,
        reset: bool = False,
    ) -> None:
        """Carry out the next requests whose path matches, and drop the connection in the answer.

        `after` bytes of the body arrive; with 0, nothing does. `reset` drops it with a TCP reset.
        """
        self.faults.append(Fault(pattern, method, times, after=after, reset=reset))

    def asked(self, pattern: str, method: str | None = None) -> list[Request]:
        """The requests so far whose path matches."""
        return [
            request
            for request in self.requests
            if re.search(pattern, request.path) and method in (None, request.method)
        ]

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if (
                    fault.times
                    and fault.method in (None, method)
                    and re.search(fault.pattern, path)
                ):
                    fault.times -= 1
                    return fault
        return None


Route = Callable[..., Answer | dict | list]
ROUTES: list[tuple[str, re.Pattern, Route]] = []


def route(methods: str, pattern: str) -> Callable[[Route], Route]:
    for name, regex in PARTS.items():
        pattern = pattern.replace(name, regex)

    def register(function: Route) -> Route:
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return register


def is_lfs(path: str, sample: bytes, size: int) -> bool:
    return path.endswith(LFS_SUFFIXES) or b"\0" in sample or size > LFS_SIZE


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections alive, as the Hub does
    disable_nagle_algorithm = True  # else every answer waits 40 ms between head and body

    def log_message(self, *_) -> None:
        pass

    def handle(self) -> None:
        connections = self.server.hub.connections
        connections.add(self.connection)
        with contextlib.suppress(ConnectionError):  # a client may leave at any time
            super().handle()
        connections.discard(self.connection)

    def do(self) -> None:
        body = self.read_body()
        self.hub: HubServer = self.server.hub
        self.url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(self.url.query))
        authorization = self.headers.get("Authorization")
        self.token = authorization.removeprefix("Bearer ") if authorization else None
        whole = urllib.parse.unquote(self.path)
        self.hub.requests.append(
            Request(
                self.command, whole, self.headers["Host"], self.token, self.headers.get("Range")
            )
        )
        fault = self.hub.take_fault(self.command, whole)
        try:
            if fault and fault.status:
                raise RefusalError(fault.status, fault.message, headers=fault.headers)
            with self.hub.lock:
                answer = self.answer(body)
            if not isinstance(answer, Answer):
                answer = Answer(json.dumps(answer).encode())
                answer.headers["Content-Type"] = "application/json"
        except RefusalError as refusal:
            answer = Answer(refusal.body, refusal.status, refusal.headers)
            answer.headers.setdefault("Content-Type", "application/json")
        self.send(answer, None if fault is None or fault.status else fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do  # noqa: N815

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, body: bytes) -> Answer | dict | list:
        for method, pattern, function in ROUTES:
            match = pattern.fullmatch(self.url.path)
            if match and method == self.command:
                parts = {k: v and urllib.parse.unquote(v) for k, v in match.groupdict().items()}
                if "prefix" in parts:
                    parts["type"] = (parts.pop("prefix") or "models").removesuffix("s")
                if "id" in parts:
                    parts["repo"] = self.readable(parts.pop("type"), parts.pop("id"))
                return function(self, body, **parts)
        raise RefusalError(404, f"Sorry, we can't find {self.command} {self.url.path}")

    def send(self, answer: Answer, drop: Fault | None) -> None:
        length = len(answer.body)
        if drop:
            self.close_connection = True
            answer.body = answer.body[: drop.after]
        if not drop or drop.after:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(length), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
        if drop and drop.reset:
            # Wait until the client has read what was sent: a reset discards what it has not.
            self.connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                self.connection.recv(1)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    # Permissions. A repo that the caller may not see is answered like one that does not exist.

    def caller(self) -> Token | None:
        if self.token is None:
            return None
        if self.token not in self.hub.tokens:
            raise RefusalError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[self.token]

    def readable(self, type: str, id: str) -> Repo:
        caller = self.caller()
        repo = self.hub.repos.get((type, id))
        if repo is None or (repo.private and not (caller and caller.owns(id))):
            raise RefusalError(404 if caller else 401, "Repository not found", "RepoNotFound")
        return repo

    def check_may_write(self, id: str) -> None:
        caller = self.caller()
        if caller is None:
            raise RefusalError(401, "Invalid username or password.")
        if not caller.owns(id):
            raise RefusalError(403, f"You don't have the rights to write to the namespace of {id}")
        if not caller.write:
            raise RefusalError(403, "You must use a write token to upload to a repository.")

    def check_plan(self, caller: Token, sdk: str, hardware: str) -> None:
        """https://huggingface.co/docs/hub/spaces-overview: "Static Spaces are free for everyone."

        Those that run on free hardware take PRO, or ZeroGPU, which takes an account in good
        standing (https://huggingface.co/docs/hub/spaces-zerogpu). Paid hardware is paid.
        """
        if hardware not in ("cpu-basic", "cpu-upgrade", "t4-small", "zero-a10g"):
            raise RefusalError(400, f"There is no hardware called {hardware}")
        if hardware == "zero-a10g" and caller.trouble:
            raise RefusalError(403, caller.trouble)
        if sdk != "static" and hardware == "cpu-basic" and not caller.pro:
            raise RefusalError(402, "Gradio and Docker Spaces on cpu-basic require PRO")

    # Jobs: https://huggingface.co/docs/hub/jobs-pricing, "available to any user or organization
    # with a positive credit balance".

    @route("GET", "/api/jobs/hardware")
    def jobs_hardware(self, body: bytes) -> list:
        gpu = {"type": "gpu", "model": "T4", "quantity": "1", "vram": "16 GB"}
        machines = [
            ("cpu-basic", "2 vCPU", "16 GB", 167, None),
            ("t4-small", "4 vCPU", "15 GB", 6667, {**gpu, "manufacturer": "Nvidia"}),
        ]
        return [
            {
                "name": name,
                "prettyName": name,
                "cpu": cpu,
                "ram": ram,
                "accelerator": accelerator,
                "unitCostMicroUSD": price,
                "unitCostUSD": price / 1e6,
                "unitLabel": "minute",
            }
            for name, cpu, ram, price, accelerator in machines
        ]

    @route("POST", "/api/jobs/(?P<owner>[^/]+)")
    def run_job(self, body: bytes, owner: str) -> dict:
        self.check_may_write(f"{owner}/job")
        if not self.caller().credits:
            raise RefusalError(402, "Pre-paid credit balance is insufficient")
        job = {"id": f"job{len(self.hub.jobs)}", "owner": owner, "asked": json.loads(body)}
        self.hub.jobs.append(job)
        return self.describe_job(job, "RUNNING")

    @route("GET", "/api/jobs/(?P<owner>[^/]+)/(?P<job>job[0-9]+)")
    def inspect_job(self, body: bytes, owner: str, job: str) -> dict:
        return self.describe_job(self.hub.jobs[int(job.removeprefix("job"))], self.hub.jobs_end)

    @route("GET", "/api/jobs/(?P<owner>[^/]+)/(?P<job>job[0-9]+)/logs")
    def job_logs(self, body: bytes, owner: str, job: str) -> Answer:
        lines = ["===== Job started =====", "epoch 1", "epoch 2"]
        events = (json.dumps({"data": line, "timestamp": "2026-01-01"}) for line in lines)
        said = "".join(f"data: {event}\n\n" for event in events)
        return Answer(said.encode(), headers={"Content-Type": "text/event-stream"})

    def describe_job(self, job: dict, stage: str) -> dict:
        asked = job["asked"]
        return {
            "id": job["id"],
            "createdAt": "2026-01-01T00:00:00.000Z",
            "dockerImage": asked["dockerImage"],
            "command": asked["command"],
            "arguments": [],
            "environment": asked["environment"],
            "secrets": {},
            "flavor": asked["flavor"],
            "labels": asked.get("labels"),
            "status": {"stage": stage, "message": None},
            "owner": {"id": job["owner"], "name": job["owner"], "type": "user"},
        }

    # Accounts and repos.

    @route("GET", "/api/whoami-v2")
    def whoami(self, body: bytes) -> dict:
        caller = self.caller()
        if caller is None:
            raise RefusalError(401, "Invalid username or password.")
        role = "write" if caller.write else "read"
        return {
            "type": "user",
            "id": caller.user,
            "name": caller.user,
            "fullname": caller.user,
            "orgs": [{"type": "org", "name": name} for name in caller.organizations],
            "auth": {"type": "access_token", "accessToken": {"displayName": role, "role": role}},
        }

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self, body: bytes) -> Answer | dict:
        content = json.loads(body)["content"]
        if "colorFrom: puce" in content:  # one mistake that the Hub refuses
            errors = [{"message": '"colorFrom" must be one of [red, yellow, green, blue]'}]
            return Answer(json.dumps({"errors": errors, "warnings": []}).encode(), 400)
        return {"errors": [], "warnings": []}

    @route("POST", "/api/repos/create")
    def create_repo(self, body: bytes) -> Answer | dict:
        asked = json.loads(body)
        caller = self.caller()
        if caller is None:
            raise RefusalError(401, "Invalid username or password.")
        id = f"{asked.get('organization') or caller.user}/{asked['name']}"
        type = asked.get("type") or "model"
        self.check_may_write(id)
        repo = self.hub.repos.get((type, id))
        if repo:
            url = f"{self.hub.url}/{repo.path}"
            raise RefusalError(409, f"You already created this {type} repo: {id}", url=url)
        if type == "space":
            self.check_plan(caller, asked["sdk"], asked.get("hardware") or "cpu-basic")
        private = asked.get("visibility") == "private"
        repo = self.hub.repos[type, id] = Repo(id, type, private, asked.get("sdk"))
        repo.hardware = asked.get("hardware") or repo.hardware
        return {"url": f"{self.hub.url}/{repo.path}", "name": id, "id": id}

    @route("DELETE", "/api/repos/delete")
    def delete_repo(self, body: bytes) -> dict:
        asked = json.loads(body)
        repo = self.readable(
            asked.get("type") or "model", f"{asked['organization']}/{asked['name']}"
        )
        self.check_may_write(repo.id)
        del self.hub.repos[repo.type, repo.id]
        return {}

    @route("PUT", "/api/{type}s/{id}/settings")
    def settings(self, body: bytes, repo: Repo) -> dict:
        self.check_may_write(repo.id)
        asked = json.loads(body)
        if "visibility" in asked:
            repo.private = asked["visibility"] == "private"
        return {}

    @route("GET", "/api/{type}s/{id}")
    @route("GET", "/api/{type}s/{id}/revision/{rev}")
    def info(self, body: bytes, repo: Repo, rev: str = "main") -> dict:
        head = repo.head(rev)
        return {
            "_id": repo.id,
            "id": repo.id,
            "author": repo.id.split("/")[0],
            "sha": head.sha,
            "private": repo.private,
            "gated": False,
            "disabled": False,
            "lastModified": head.date,
            "createdAt": repo.history()[-1].date,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [{"rfilename": path} for path in head.files],
            **({"sdk": repo.sdk} if repo.type == "space" else {}),
        }

    # The variables, secrets, hardware and restarts of a Space.

    @route("GET", "/api/{type}s/{id}/variables")
    def variables(self, body: bytes, repo: Repo) -> dict:
        self.check_may_write(repo.id)
        return {key: {"value": value} for key, value in repo.variables.items()}

    @route("POST", "/api/{type}s/{id}/variables")
    def add_variable(self, body: bytes, repo: Repo) -> dict:
        self.check_may_write(repo.id)
        asked = json.loads(body)
        repo.variables[asked["key"]] = asked["value"]
        return self.variables(body, repo)

    @route("POST", "/api/{type}s/{id}/secrets")
    def add_secret(self, body: bytes, repo: Repo) -> dict:
        self.check_may_write(repo.id)
        asked = json.loads(body)
        repo.secrets[asked["key"]] = asked["value"]
        return {}

    @route("GET", "/api/{type}s/{id}/runtime")
    def runtime(self, body: bytes, repo: Repo) -> dict:
        hardware = {"current": None, "requested": repo.hardware}
        return {"stage": "BUILDING", "hardware": hardware, "gcTimeout": None}

    @route("POST", "/api/{type}s/{id}/hardware")
    def request_hardware(self, body: bytes, repo: Repo) -> dict:
        self.check_may_write(repo.id)
        flavor = json.loads(body)["flavor"]
        self.check_plan(self.caller(), repo.sdk, flavor)
        repo.hardware = flavor
        return self.runtime(body, repo)

    @route("POST", "/api/{type}s/{id}/restart")
    def restart(self, body: bytes, repo: Repo) -> dict:
        self.check_may_write(repo.id)
        repo.restarts.append(self.url.query)
        return self.runtime(body, repo)

    # Branches, tags, history.

    @route("GET", "/api/{type}s/{id}/refs")
    def refs(self, body: bytes, repo: Repo) -> dict:
        def listed(refs: dict[str, str], folder: str) -> list[dict]:
            return [
                {"name": name, "ref": f"{folder}{name}", "targetCommit": sha}
                for name, sha in refs.items()
            ]

        pulls = {name: sha for name, sha in repo.branches.items() if name.startswith("refs/pr/")}
        branches = {name: sha for name, sha in repo.branches.items() if name not in pulls}
        return {
            "branches": listed(branches, "refs/heads/"),
            "tags": listed(repo.tags, "refs/tags/"),
            "converts": [],
            "pullRequests": listed(pulls, ""),
        }

    @route("POST", "/api/{type}s/{id}/branch/{rev}")
    def create_branch(self, body: bytes, repo: Repo, rev: str) -> dict:
        self.check_may_write(repo.id)
        if rev in repo.branches:
            raise RefusalError(409, f"Reference already exists: refs/heads/{rev}")
        repo.branches[rev] = repo.head(json.loads(body or b"{}").get("startingPoint", "main")).sha
        return {}

    @route("POST", "/api/{type}s/{id}/tag/{rev}")
    def create_tag(self, body: bytes, repo: Repo, rev: str) -> dict:
        self.check_may_write(repo.id)
        tag = json.loads(body)["tag"]
        if not re.fullmatch(r"[\w.-]+", tag):
            raise RefusalError(400, f"Invalid tag name: {tag}")
        if tag in repo.tags:
            raise RefusalError(409, f"Tag reference exists already: {tag}")
        repo.tags[tag] = repo.head(rev).sha
        return {}

    @route("DELETE", "/api/{type}s/{id}/(?P<kind>branch|tag)/{rev}")
    def delete_ref(self, body: bytes, repo: Repo, kind: str, rev: str) -> dict:
        self.check_may_write(repo.id)
        if (repo.tags if kind == "tag" else repo.branches).pop(rev, None) is None:
            raise RefusalError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        return {}

    @route("GET", "/api/{type}s/{id}/commits/{rev}")
    def commits(self, body: bytes, repo: Repo, rev: str) -> list:
        return [
            {
                "id": commit.sha,
                "title": commit.title,
                "message": commit.description,
                "date": commit.date,
                "authors": [{"user": repo.id.split("/")[0]}],
            }
            for commit in repo.history(rev)
        ]

    # Files, listed and read.

    @route("GET", "/api/{type}s/{id}/tree/{rev}")
    @route("GET", "/api/{type}s/{id}/tree/{rev}/{path}")
    def tree(self, body: bytes, repo: Repo, rev: str, path: str = "") -> list:
        files = repo.head(rev).files
        room = f"{path}/" if path else ""
        recursive = self.query.get("recursive", "").lower() in ("true", "1")
        inside = {name for name in files if name.startswith(room)}
        folders = {
            name[: i + len(room)]
            for name in inside
            for i, letter in enumerate(name[len(room) :])
            if letter == "/"
        }
        if path and not inside:
            raise RefusalError(404, f"{path} does not exist on {rev}", "EntryNotFound")
        return [
            describe(name, files.get(name))
            for name in sorted(inside | folders)
            if recursive or "/" not in name[len(room) :]
        ]

    @route("POST", "/api/{type}s/{id}/paths-info/{rev}")
    def paths_info(self, body: bytes, repo: Repo, rev: str) -> list:
        files = repo.head(rev).files
        return [
            describe(path, files.get(path))
            for path in urllib.parse.parse_qs(body.decode()).get("paths", [])
            if path in files or any(name.startswith(f"{path}/") for name in files)
        ]

    @route("GET HEAD", "/{prefix}{id}/resolve/{rev}/{path}")
    def resolve(self, body: bytes, repo: Repo, rev: str, path: str) -> Answer:
        head = repo.head(rev)
        headers = {"X-Repo-Commit": head.sha}
        file = head.files.get(path)
        if file is None:
            raise RefusalError(404, "Entry not found", "EntryNotFound", headers=headers)
        if not file.lfs:
            return self.part(file.data, {**headers, "ETag": f'"{file.oid}"'})
        headers["X-Linked-Etag"] = f'"{file.oid}"'
        headers["X-Linked-Size"] = str(len(file.data))
        headers["Location"] = f"{self.hub.cdn_url}/{file.oid}?signature=of-the-hub"
        return Answer(b"", 302, headers)

    @route("GET HEAD", "/cdn/(?P<oid>[0-9a-f]{64})")
    def cdn(self, body: bytes, oid: str) -> Answer:
        if self.token is not None:
            raise RefusalError(400, "A token went to a host that is not the Hub")
        return self.part(self.hub.lfs[oid], {"ETag": f'"{oid}"'})

    def part(self, data: bytes, headers: dict[str, str]) -> Answer:
        headers["Accept-Ranges"] = "bytes"
        headers["Content-Type"] = "application/octet-stream"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return Answer(data, 200, headers)
        first = int(asked[1])
        last = min(int(asked[2] or len(data)), len(data) - 1)
        if first > last:
            raise RefusalError(416, "Range", headers={"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Answer(data[first : last + 1], 206, headers)

    # Files, written: preupload says how each travels, LFS files come first, then one commit.

    @route("POST", "/api/{type}s/{id}/preupload/{rev}")
    def preupload(self, body: bytes, repo: Repo, rev: str) -> dict:
        self.check_may_write(repo.id)
        files = repo.head(rev).files
        answers = []
        for file in json.loads(body)["files"]:
            path = file["path"]
            lfs = is_lfs(path, base64.b64decode(file["sample"]), file["size"])
            answer = {
                "path": path,
                "uploadMode": "lfs" if lfs else "regular",
                "shouldIgnore": False,
            }
            if path in files:
                answer["oid"] = files[path].oid
            answers.append(answer)
        return {"files": answers}

    @route("POST", "/{prefix}{id}.git/info/lfs/objects/batch")
    def lfs_batch(self, body: bytes, repo: Repo) -> dict:
        self.check_may_write(repo.id)
        asked = json.loads(body)
        objects = []
        for thing in asked["objects"]:
            answer = {"oid": thing["oid"], "size": thing["size"]}
            if thing["oid"] not in self.hub.lfs:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.cdn_url}/upload/{thing['oid']}"},
                    "verify": {"href": f"{self.hub.url}/lfs/verify"},
                }
            objects.append(answer)
        return {"transfer": "basic", "objects": objects}

    @route("PUT", "/cdn/upload/(?P<oid>[0-9a-f]{64})")
    def lfs_upload(self, body: bytes, oid: str) -> Answer:
        if hashlib.sha256(body).hexdigest() != oid:
            raise RefusalError(400, "The content does not have the promised SHA-256")
        self.hub.lfs[oid] = body
        return Answer()

    @route("POST", "/lfs/verify")
    def lfs_verify(self, body: bytes) -> dict:
        asked = json.loads(body)
        if len(self.hub.lfs.get(asked["oid"], b"")) != asked["size"]:
            raise RefusalError(404, "The upload is not whole")
        return {}

    @route("POST", "/api/{type}s/{id}/commit/{rev}")
    def commit(self, body: bytes, repo: Repo, rev: str) -> dict:
        self.check_may_write(repo.id)
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines.pop(0)["value"]
        head = repo.head(rev)
        if rev not in repo.branches:
            raise RefusalError(400, f"{rev} is not a branch")
        if header.get("parentCommit") not in (None, head.sha):
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines:
            kind, value = line["key"], line["value"]
            path = value["path"]
            if kind == "file":
                files[path] = File(base64.b64decode(value["content"]), False)
            elif kind == "lfsFile":
                if value["oid"] not in self.hub.lfs:
                    raise RefusalError(400, f"{path} was not uploaded")
                files[path] = File(self.hub.lfs[value["oid"]], True)
            elif kind == "deletedFile":
                if files.pop(path, None) is None:
                    raise RefusalError(404, "A file with this name doesn't exist", "EntryNotFound")
            elif kind == "deletedFolder":
                files = {k: v for k, v in files.items() if not k.startswith(path.rstrip("/") + "/")}
            else:
                raise RefusalError(400, f"no such operation: {kind}")
        commit = repo.commit(files, header["summary"], header.get("description", ""), rev)
        return {
            "success": True,
            "commitOid": commit.sha,
            "commitUrl": f"{self.hub.url}/{repo.path}/commit/{commit.sha}",
            "hookOutput": "",
            "pullRequestUrl": None,
        }


def describe(path: str, file: File | None) -> dict:
    """An entry of a listing; a folder where `file` is None."""
    if file is None:
        return {
            "type": "directory",
            "path": path,
            "oid": hashlib.sha1(path.encode()).hexdigest(),
            "size": 0,
        }
    entry = {"type": "file", "path": path, "oid": file.blob_id, "size": len(file.data)}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.data), "pointerSize": 134}
    return entry
