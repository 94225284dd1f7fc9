"""The API: batches, the plain endpoint, assistants, what is never fetched, limits, snippets."""

import ast
import asyncio
import base64
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import gradio as gr
import gradio_client
import httpx
import mcp
import pytest
import safehttpx
from gradio import processing_utils
from gradio_client.exceptions import AppError
from helpers import COLOURS, launched, photo, write_tiny_bundle
from mcp.client.streamable_http import streamable_http_client
from test_app import ROOT

import page
from flowers_model.classifier import FlowerClassifier
from flowers_model.errors import UserError
from page.server import address, api, limits
from page.tabs import snippets

FILE = {"meta": {"_type": "gradio.FileData"}}
MCP_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> FlowerClassifier:
    return FlowerClassifier.from_pretrained(write_tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def server(classifier) -> Iterator[str]:
    demo = page.build(classifier)
    demo.mcp, demo.requests = True, 0
    with launched(demo) as url:
        yield url


@pytest.fixture(scope="module")
def client(server) -> gradio_client.Client:
    return gradio_client.Client(server, download_files=False, verbose=False)


@pytest.fixture
def files(tmp_path) -> list[pathlib.Path]:
    paths = []
    for name, colour in COLOURS.items():
        paths.append(tmp_path / f"{name}.jpg")
        paths[-1].write_bytes(photo(colour))
    return paths


def data_uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def expected(classifier, source) -> tuple[list[str], list[float]]:
    [prediction] = classifier.classify(source)
    return prediction.labels, prediction.probabilities


def given(answer: dict) -> tuple[list[str], list[float]]:
    pairs = answer["confidences"]
    return [one["label"] for one in pairs], [one["confidence"] for one in pairs]


# Answers.


def test_a_batch_is_answered_in_its_order_and_what_is_no_photo_is_told(client, classifier, files):
    files[1].write_bytes(b"Dear diary")
    answers = client.predict(
        [gradio_client.handle_file(f) for f in files], api_name="/classify_batch"
    )
    assert "cannot be read as a photo" in answers[1]["error"]
    for answer, file in ((answers[0], files[0]), (answers[2], files[2])):
        labels, shares = expected(classifier, file)
        assert given(answer) == (labels, pytest.approx(shares))


@pytest.mark.parametrize("count", [0, 51])
def test_a_batch_has_its_bounds(client, count):
    with pytest.raises(AppError, match=r"^Sorry, a batch is 1 to 50 photos\.$"):
        client.predict([data_uri(b"")] * count, api_name="/classify_batch")


def test_the_plain_endpoint_gives_what_gradios_does(server, client, files):
    answer = httpx.post(f"{server}/classify", content=files[0].read_bytes())
    assert answer.status_code == 200
    assert answer.json() == client.predict(
        gradio_client.handle_file(files[0]), api_name="/classify"
    )


def test_the_plain_endpoint_takes_a_forms_file(server, files):
    photo = files[0].read_bytes()
    answer = httpx.post(f"{server}/classify", files={"file": ("photo.jpg", photo)})
    assert answer.status_code == 200
    assert answer.json() == httpx.post(f"{server}/classify", content=photo).json()


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"files": {"file": b"Dear diary"}}, "this photo cannot be read"),
        ({"files": {"a": b"1", "b": b"2"}}, "this form has 2 files"),
        ({"files": {"file": (None, "photo.jpg")}}, "this form has no files; send one, or"),
        (
            {"content": b"Dear diary", "headers": {"Content-Type": "multipart/form-data"}},
            "this form cannot be read; send the photo as the body",
        ),
    ],
)
def test_the_plain_endpoint_tells_what_is_wrong_with_a_form(server, form, reason):
    answer = httpx.post(f"{server}/classify", **form)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


@pytest.mark.parametrize("data", [b"", b"Dear diary", b"http://127.0.0.1/photo.jpg"])
def test_the_plain_endpoint_tells_what_is_no_photo(server, data):
    answer = httpx.post(f"{server}/classify", content=data)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Sorry, this photo ")


def test_a_photo_comes_as_a_data_uri_too(client, classifier, files):
    data = files[0].read_bytes()
    answer = client.predict(data_uri(data), api_name="/classify")
    assert given(answer) == expected(classifier, data)
    with pytest.raises(AppError, match="this data: URI is not in base64"):
        client.predict("data:image/jpeg;base64,#", api_name="/classify")


@pytest.mark.parametrize("file", ["/etc/passwd", str(ROOT / "app.py"), "gone.jpg"])
def test_no_file_of_the_machine_is_read(server, file):
    for given in ({"path": file}, {"path": file, **FILE}, file):
        answer = httpx.post(f"{server}/gradio_api/run/classify", json={"data": [given]})
        assert answer.status_code == 500
        assert "confidences" not in answer.text
        assert file not in answer.text


def test_a_model_of_the_hub_goes_by_its_repo_and_commit(classifier, tmp_path):
    folder = tmp_path / "models--ada--fine--flowers" / "snapshots" / "0123abc"
    copy = FlowerClassifier(folder, classifier.manifest, classifier.engine)
    assert api.model_id(copy) == "ada/fine--flowers@0123abc"


# Assistants.


async def ask(url: str, tool: str, **arguments) -> tuple[list, mcp.types.CallToolResult]:
    """The tools that an MCP server has, and what one of them gives."""
    async with (
        streamable_http_client(f"{url}/gradio_api/mcp/") as (read, write, _),
        mcp.ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = (await session.list_tools()).tools
        return tools, await session.call_tool(tool, arguments)


def test_an_assistant_names_flowers(server, classifier, files):
    data = [file.read_bytes() for file in files]
    tools, result = asyncio.run(ask(server, "classify", photo=data_uri(data[0])))
    assert [tool.name for tool in tools] == ["classify", "classify_batch", "explain"]
    assert "data: URI" in tools[0].inputSchema["properties"]["photo"]["description"]
    assert "http" not in str(tools)
    assert not result.isError
    assert given(ast.literal_eval(result.content[0].text)) == expected(classifier, data[0])
    _, result = asyncio.run(ask(server, "classify_batch", photos=[data_uri(one) for one in data]))
    answers = ast.literal_eval(result.content[0].text)
    assert [one["label"] for one in answers] == [expected(classifier, one)[0][0] for one in data]
    _, result = asyncio.run(ask(server, "explain", photo=data_uri(data[0])))
    assert result.content[0].type == "image"


def test_an_assistant_is_told_what_is_wrong(server):
    _, result = asyncio.run(ask(server, "classify", photo=data_uri(b"Dear diary")))
    assert result.isError
    assert "Sorry, this photo cannot be read as a photo" in result.content[0].text


def test_an_uploaded_file_is_good_for_an_assistant(server, classifier, files):
    with files[0].open("rb") as file:
        [path] = httpx.post(f"{server}/gradio_api/upload", files={"files": file}).json()
    _, result = asyncio.run(ask(server, "classify", photo={"path": path, **FILE}))
    assert given(ast.literal_eval(result.content[0].text)) == expected(classifier, files[0])


def test_without_mcp_there_is_none(classifier):
    with launched(page.build(classifier)) as url:
        assert httpx.post(f"{url}/gradio_api/mcp/").status_code == 404


# What a visitor names is never fetched.


@pytest.fixture
def other(monkeypatch) -> Iterator[tuple[str, list]]:
    """A web server's address, and who has connected to it. gradio takes it for a public one."""

    async def public(hostname: str) -> str:
        return "127.0.0.1"

    monkeypatch.setattr(safehttpx, "async_validate_url", public)
    connections = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, address = listening.accept()
                connections.append(address)
                with connection:
                    connection.recv(65536)
                    body = photo(COLOURS["poppy"])
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                    connection.sendall(head.encode() + body)

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/photo.jpg", connections
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def join(url: str, fn_index: int, data: list) -> str:
    """The final result of an event of the page."""
    body = {"data": data, "fn_index": fn_index, "session_hash": "stranger"}
    assert httpx.post(f"{url}/gradio_api/queue/join", json=body).status_code == 200
    return httpx.get(f"{url}/gradio_api/queue/data?session_hash=stranger", timeout=20).text


def test_gradio_alone_fetches_what_a_visitor_names(other, monkeypatch):
    """Shows that the tests below would notice a request."""
    address, connections = other
    monkeypatch.setattr(processing_utils, "async_transport", None)
    with launched(gr.Interface(lambda seen: "", gr.Image(), gr.Text(), api_name="see")) as url:
        httpx.get(f"{url}/gradio_api/file={address}")
        assert len(connections) == 1
        call = {"data": [{"path": address, **FILE}]}
        event = httpx.post(f"{url}/gradio_api/call/see", json=call).json()["event_id"]
        httpx.get(f"{url}/gradio_api/call/see/{event}", timeout=20)
        assert len(connections) == 2


REFUSED = "this server fetches nothing from other places: send the photo itself"


def test_no_endpoint_fetches(server, client, other):
    address, connections = other
    file = {"path": address, "url": address, **FILE}
    with pytest.raises(AppError, match=REFUSED):
        client.predict(gradio_client.handle_file(address), api_name="/classify")
    for name, data in (("classify", file), ("classify_batch", [file]), ("explain", file)):
        answer = httpx.post(f"{server}/gradio_api/run/{name}", json={"data": [data]})
        assert REFUSED in answer.json()["error"]
        for way, body in (("call", {"data": [data]}), ("call/v2", {name_of(name): data})):
            event = httpx.post(f"{server}/gradio_api/{way}/{name}", json=body).json()["event_id"]
            answer = httpx.get(f"{server}/gradio_api/call/{name}/{event}", timeout=20).text
            assert REFUSED in answer
    assert connections == []


def name_of(endpoint: str) -> str:
    return "photos" if endpoint == "classify_batch" else "photo"


@pytest.mark.slow
def test_no_event_of_the_page_fetches(server, client, other):
    address, connections = other
    file = {"path": address, "url": address, **FILE}
    for event in client.config["dependencies"]:
        if event["backend_fn"]:
            join(server, event["id"], [file] * len(event["inputs"]))
    assert connections == []


def test_no_address_of_the_page_fetches(server, other):
    address, connections = other
    quoted = address.replace(":", "%3A").replace("/", "%2F")
    for path in (f"file={address}", f"file={quoted}", f"proxy={address}", f"proxy={quoted}"):
        for method in ("GET", "HEAD"):
            assert httpx.request(method, f"{server}/gradio_api/{path}").status_code == 403
    assert connections == []


def test_no_tool_of_an_assistant_fetches(server, other):
    address, connections = other
    for given in (address, {"path": address}, {"path": address, **FILE}):
        _, result = asyncio.run(ask(server, "classify", photo=given))
        assert result.isError
        _, result = asyncio.run(ask(server, "classify_batch", photos=[given]))
        assert result.isError or "'error': 'Sorry, there is no photo here" in str(result.content)
    assert connections == []


# Limits.


class Gate:
    """An engine that waits until it is allowed to answer."""

    def __init__(self, engine):
        self.engine = engine
        self.opened = threading.Event()

    def run(self, *arguments):
        assert self.opened.wait(20)
        return self.engine.run(*arguments)


@pytest.fixture
def gated(classifier, monkeypatch) -> Iterator[tuple[str, Gate]]:
    """A page that answers one photo at a time while one more may wait, and the gate holding it."""
    monkeypatch.setattr(limits, "THREADS", 1)
    monkeypatch.setattr(limits, "WAITING", 1)
    monkeypatch.setattr(limits, "QUEUE", 2)
    slow = FlowerClassifier(classifier.folder, classifier.manifest, classifier.engine)
    demo = page.build(slow)
    gate = slow.engine = Gate(classifier.engine)
    with launched(demo) as url:
        yield url, gate


def test_of_too_many_photos_at_once_the_last_are_told_to_come_back(gated):
    url, gate = gated
    data = photo(COLOURS["poppy"])

    async def four() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=20) as client:
            asked = [
                asyncio.ensure_future(client.post(f"{url}/classify", content=data)) for _ in "1234"
            ]
            while sum(one.done() for one in asked) < 2:
                await asyncio.sleep(0.02)
            busy = await client.post(
                f"{url}/gradio_api/run/classify", json={"data": [data_uri(data)]}
            )
            gate.opened.set()
            return [*await asyncio.gather(*asked), busy]

    *answers, busy = asyncio.run(four())
    assert sorted(one.status_code for one in answers) == [200, 200, 503, 503]
    message = "Sorry, too many photos are waiting already; try again in a moment."
    assert {one.json()["error"] for one in answers if one.status_code == 503} == {message}
    assert busy.json()["error"] == message
    assert httpx.post(f"{url}/classify", content=data).status_code == 200


@pytest.mark.slow
def test_a_full_queue_of_the_page_says_so(gated):
    url, gate = gated
    data = photo(COLOURS["poppy"])
    config = httpx.get(f"{url}/config").json()
    kinds = {one["id"]: one["type"] for one in config["components"]}
    event, inputs, source = next(
        (one["id"], one["inputs"], source)
        for one in config["dependencies"]
        for source, name in one["targets"]
        if name == "upload"
    )
    [path] = httpx.post(f"{url}/gradio_api/upload", files={"files": ("a.jpg", data)}).json()
    file = {"path": path, **FILE}
    values = {source: file if kinds[source] == "image" else [file]}  # and the visit's state
    sent = {"data": [values.get(one) for one in inputs], "fn_index": event}
    joins = []
    for number in range(6):  # one is answered, two wait
        body = {**sent, "session_hash": f"visitor{number}"}
        joins.append(httpx.post(f"{url}/gradio_api/queue/join", json=body))
    assert joins[0].status_code == 200
    assert joins[-1].status_code == 503
    assert "Queue is full" in joins[-1].text
    gate.opened.set()
    assert httpx.post(f"{url}/classify", content=data).status_code == 200


def test_one_client_may_ask_so_often_in_a_minute(classifier, tmp_path):
    data = photo(COLOURS["poppy"])
    demo = page.build(classifier)
    demo.requests = 3
    with launched(demo) as url:
        answers = [httpx.post(f"{url}/classify", content=data) for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429]
        wait = int(answers[3].headers["retry-after"])
        assert 0 < wait <= 60
        message = "Sorry, these are too many requests: 3 a minute are answered. "
        message += f"Try again in {wait} seconds."
        assert answers[3].json()["error"] == message
        for path in ("gradio_api/queue/join", "gradio_api/upload", "gradio_api/run/classify"):
            assert httpx.post(f"{url}/{path}", json={}).status_code == 429
        assert httpx.get(url).status_code == 200  # viewing the page is not limited


def limited(requests: int, monkeypatch) -> tuple[limits.Limits, list[float]]:
    clock = [1000.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: clock[0])
    return limits.Limits(None, requests), clock


def test_each_client_has_its_own_minute_and_then_another(monkeypatch):
    limit, clock = limited(2, monkeypatch)
    assert [limit._wait("a") for _ in range(3)] == [0, 0, 60]
    assert limit._wait("b") == 0
    clock[0] += 59.5
    assert limit._wait("a") == 1
    clock[0] += 0.5
    assert limit._wait("a") == 0
    limit, _ = limited(0, monkeypatch)
    assert {limit._wait("a") for _ in range(1000)} == {0}


@pytest.mark.parametrize("path", ["classify", "gradio_api/run/classify", "gradio_api/mcp/"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_has_a_largest_size(server, monkeypatch, path, chunked):
    monkeypatch.setattr(limits, "FILE", limits.MEGABYTE)
    parts = (bytes(limits.MEGABYTE // 2) for _ in range(3))
    body = parts if chunked else bytes(limits.MEGABYTE + 1)
    answer = httpx.post(f"{server}/{path}", content=body, headers=MCP_HEADERS)
    if (path, chunked) != ("gradio_api/mcp/", True):  # which the library answers with its own 500
        assert answer.status_code == 413
        assert "Sorry, that is too large: at most 1 MB are taken." in answer.text
    assert answer.status_code >= 400
    assert httpx.post(f"{server}/classify", content=photo(COLOURS["poppy"])).status_code == 200


def test_on_a_space_a_client_is_whom_the_proxy_speaks_for(monkeypatch):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    limits.trust_proxies()
    assert "FORWARDED_ALLOW_IPS" not in os.environ
    monkeypatch.setenv("SPACE_ID", "ada/flowers")
    limits.trust_proxies()
    from uvicorn.middleware.proxy_headers import _TrustedHosts

    trusted = _TrustedHosts(os.environ["FORWARDED_ALLOW_IPS"])
    assert (
        trusted.get_trusted_client_address("1.2.3.4, 198.51.100.7, 10.16.3.80")[0] == "198.51.100.7"
    )


@pytest.mark.slow
def test_a_taken_port_is_told_in_one_line_with_status_2(classifier, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, ROOT / "app.py", "--model", classifier.folder],
            cwd=tmp_path,
            env={**os.environ, "GRADIO_SERVER_PORT": str(port)},
            capture_output=True,
            text=True,
        )
    assert result.returncode == 2
    assert result.stderr == (
        f"error: cannot listen on port {port}: taken, or not allowed; "
        "set GRADIO_SERVER_PORT to another\n"
    )
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("name", "host"),
    [("", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("localhost", "localhost"), ("::1", "[::1]"),
     ("[::]", "[::]")],
)  # fmt: skip
def test_the_page_listens_where_the_environment_says(name, host):
    if ":" in name and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert address.choose(name, str(port)) == (host, port)


def test_of_the_usual_ports_the_first_free_one_is_taken():
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 7860)))
        host, port = address.choose()
    assert host == "127.0.0.1"
    assert 7860 < port < 7960


@pytest.mark.parametrize(
    ("name", "port", "line"),
    [
        ("no.such.host.invalid", "7860", "GRADIO_SERVER_NAME is 'no.such.host.invalid', which is"),
        ("203.0.113.9", "7860", "GRADIO_SERVER_NAME is '203.0.113.9', which is no address of this"),
        ("", "tcp://10.43.0.7:7860", "GRADIO_SERVER_PORT is 'tcp://10.43.0.7:7860': give a number "
         "from 1 to 65535; Kubernetes sets it so for a service called gradio-server"),
        ("", "0", "GRADIO_SERVER_PORT is '0': give a number from 1 to 65535"),
        ("", "70000", "GRADIO_SERVER_PORT is '70000': give a number from 1 to 65535"),
    ],
)  # fmt: skip
def test_where_the_page_cannot_listen_is_told(name, port, line):
    with pytest.raises(UserError) as caught:
        address.choose(name, port)
    assert str(caught.value).startswith(line)


def test_a_root_path_that_is_none_is_told(monkeypatch):
    """gradio would answer with HTTP 500."""
    monkeypatch.setenv("GRADIO_ROOT_PATH", "flowers")
    with pytest.raises(UserError, match="GRADIO_ROOT_PATH is 'flowers': give a path that begins"):
        address.choose()


# Snippets.


def run_snippet(command: list[str], code: str, url: str, room: pathlib.Path, name: str) -> str:
    (room / "photo.jpg").write_bytes(photo(COLOURS["poppy"]))
    (room / name).write_text(code.replace(snippets.SERVER, url))
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [*command, name], cwd=room, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_python_snippet_works_as_pasted(server, classifier, tmp_path):
    printed = run_snippet([sys.executable], snippets.PYTHON, server, tmp_path, "call.py")
    label = expected(classifier, tmp_path / "photo.jpg")[0][0]
    assert f"{label} [{{'label': '{label}', 'confidence': 0." in printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is installed")
def test_the_curl_snippet_works_as_pasted(server, classifier, tmp_path):
    printed = run_snippet(["sh"], snippets.CURL, server, tmp_path, "call.sh")
    label = expected(classifier, tmp_path / "photo.jpg")[0][0]
    assert f'"label":"{label}"' in printed


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node is installed")
def test_the_javascript_snippet_works_as_pasted(server, classifier, tmp_path):
    printed = run_snippet(["node"], snippets.JAVASCRIPT, server, tmp_path, "call.mjs")
    assert printed.startswith(expected(classifier, tmp_path / "photo.jpg")[0][0])
