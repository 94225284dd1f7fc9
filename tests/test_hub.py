"""Publishing and fetching, against a small Hub that listens on this machine."""

import json
import os
import pathlib
import subprocess
import sys

import helpers
import huggingface_hub
import pytest
from hub_server import HubServer
from huggingface_hub import constants

from flowers_model import bundle, hub

WRITER, READER, STRANGER = "hf_tokenOfAda", "hf_tokenThatReads", "hf_tokenOfEve"


@pytest.fixture
def server(monkeypatch):
    with HubServer() as server:
        server.add_token(WRITER, "ada", write=True)
        server.add_token(READER, "ada")
        server.add_token(STRANGER, "eve", write=True)
        helpers.use_hub(server, monkeypatch, WRITER)
        yield server


@pytest.fixture
def folder(tmp_path):
    return helpers.write_tiny_bundle(tmp_path / "bundle")


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def put(server: HubServer, repo_id: str, folder: pathlib.Path, **options) -> str:
    """Commit the bundle on the server without publishing it; the commit's sha."""
    return server.put(repo_id, contents(folder), **options).sha


def refusal(call, *args, **kwargs) -> str:
    """The line of the HubError that the call raises."""
    with pytest.raises(hub.HubError) as caught:
        call(*args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line
    assert not any(token in line for token in (WRITER, READER, STRANGER))
    return line


def run_each(name: str, *arguments: list[str], **env: str) -> list[str]:
    """`hub.NAME` on each argument, in a process that has `env` when it imports huggingface_hub.

    Returns the lines that it prints: results or errors.
    """
    code = """
import sys, json
from flowers_model import hub
for arguments in json.loads(sys.argv[2]):
    try:
        print(getattr(hub, sys.argv[1])(*arguments))
    except hub.HubError as error:
        print(error)
"""
    process = subprocess.run(
        [sys.executable, "-c", code, name, json.dumps(list(zip(*arguments, strict=True)))],
        env={**os.environ, **env},
        cwd=pathlib.Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return process.stdout.splitlines()


# Publishing


def test_a_published_bundle_comes_back_byte_for_byte(server, repo_id, folder):
    url = hub.publish(folder, repo_id)
    assert url == f"{server.url}/{repo_id}"
    fetched = hub.fetch(repo_id)
    assert contents(fetched) == contents(folder)
    bundle.check(fetched)


def test_a_bundle_of_many_files_is_published_in_one_commit(server, repo_id, folder):
    for i in range(300):
        (folder / f"report/{i}.csv").write_text(str(i), "utf-8")
    hub.publish(folder, repo_id)
    first, initial = server.repo(repo_id).history()
    assert initial.parent is None
    assert set(first.files) == set(contents(folder)) | {".gitattributes"}


def test_the_commit_tells_preset_and_accuracy(server, repo_id, folder):
    hub.publish(folder, repo_id)
    assert server.repo(repo_id).head().title == "tiny: test top-1 0.912 (4141 photos)"


def test_the_commit_has_the_message_that_is_given(server, repo_id, folder):
    hub.publish(folder, repo_id, message="Flowers, again")
    assert server.repo(repo_id).head().title == "Flowers, again"


def test_a_model_is_public_unless_asked(server, repo_id, folder):
    hub.publish(folder, repo_id)
    assert not server.repo(repo_id).private
    hub.publish(folder, f"{repo_id}-private", private=True)
    assert server.repo(f"{repo_id}-private").private


def test_a_public_repo_is_not_taken_for_a_private_one(server, repo_id, folder):
    put(server, repo_id, folder)
    (folder / "README.md").write_text("secret", "utf-8")
    line = refusal(hub.publish, folder, repo_id, private=True)
    assert f"{repo_id} as private: it is public" in line
    assert b"secret" not in server.repo(repo_id).files().values()


def test_a_tag_names_the_published_commit(server, repo_id, folder):
    hub.publish(folder, repo_id, tag="v1.0")
    assert server.repo(repo_id).head("v1.0") == server.repo(repo_id).head("main")


def test_a_tag_that_is_there_keeps_the_bundle_from_being_published(server, repo_id, folder):
    hub.publish(folder, repo_id, tag="v1.0")
    (folder / "README.md").write_text("newer", "utf-8")
    line = refusal(hub.publish, folder, repo_id, tag="v1.0")
    assert f"{repo_id} has a tag 'v1.0' already" in line
    assert len(server.repo(repo_id).history()) == 2


def test_a_tag_that_the_hub_refuses_does_not_look_unpublished(server, repo_id, folder):
    line = refusal(hub.publish, folder, repo_id, tag="no spaces")
    assert line.startswith(f"published {repo_id}, but cannot tag it 'no spaces': the Hub refuses")


def test_publishing_anew_deletes_what_the_bundle_no_longer_has(server, repo_id, folder):
    (folder / "gallery/old.jpg").write_bytes(b"old")
    (folder / "report/old.png").write_bytes(b"old")
    put(server, repo_id, folder)
    (folder / "gallery/old.jpg").unlink()
    (folder / "report/old.png").unlink()
    (folder / "report/new.png").write_bytes(b"new")
    hub.publish(folder, repo_id)
    assert server.repo(repo_id).files() == contents(folder)
    assert len(server.repo(repo_id).history()) == 3


def test_files_that_are_not_of_a_bundle_stay_in_the_repo(server, repo_id, folder):
    server.put(repo_id, {"LICENSE": b"Apache-2.0", ".gitattributes": b""})
    hub.publish(folder, repo_id)
    assert server.repo(repo_id).files()["LICENSE"] == b"Apache-2.0"
    assert ".gitattributes" in server.repo(repo_id).files()


def test_publishing_the_same_again_makes_no_commit(server, repo_id, folder):
    hub.publish(folder, repo_id)
    before = server.repo(repo_id).head()
    assert hub.publish(folder, repo_id, tag="same") == f"{server.url}/{repo_id}"
    assert server.repo(repo_id).head() == server.repo(repo_id).head("same") == before


def test_only_the_files_of_the_bundle_are_published(server, repo_id, folder):
    expected = contents(folder)
    for stray in (".DS_Store", "notes.txt", "gallery/.writing-x/0.jpg", "report/.cache/a", "x/y"):
        (folder / stray).parent.mkdir(parents=True, exist_ok=True)
        (folder / stray).write_bytes(b"stray")
    hub.publish(folder, repo_id)
    assert set(server.repo(repo_id).files()) == set(expected) | {".gitattributes"}


def test_a_fetched_bundle_can_be_published_elsewhere(server, repo_id, folder):
    put(server, repo_id, folder)
    hub.publish(hub.fetch(repo_id), f"{repo_id}-copy")
    assert contents(folder).items() <= server.repo(f"{repo_id}-copy").files().items()


def test_what_is_no_bundle_is_not_published(server, repo_id, folder):
    (folder / "model.onnx").unlink()
    with pytest.raises(bundle.BundleError, match=r"model\.onnx"):
        hub.publish(folder, repo_id)
    assert server.requests == []


@pytest.mark.parametrize("name", ["flowers", "ada/flowers/v1", "ada/flo wers", "ada/f@v1", ""])
def test_a_bundle_is_published_to_a_repo_id_only(server, folder, name):
    assert "give a Hub repo as USER/MODEL" in refusal(hub.publish, folder, name)
    assert server.requests == []


def test_without_a_token_nothing_is_published(server, repo_id, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    line = refusal(hub.publish, folder, repo_id)
    assert line == (
        f"cannot publish to {repo_id}: not logged in; run `hf auth login` or set HF_TOKEN"
    )


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("token", [READER, STRANGER])
def test_a_token_without_permission_does_not_publish(
    server, repo_id, folder, monkeypatch, token, exists
):
    if exists:
        put(server, repo_id, folder)
        (folder / "README.md").write_text("newer", "utf-8")
    monkeypatch.setenv("HF_TOKEN", token)
    line = refusal(hub.publish, folder, repo_id)
    assert line.startswith(f"cannot publish to {repo_id}: the Hub forbids it (")
    assert line.endswith(f"use a token that may write to {repo_id}")


def test_a_token_that_the_hub_does_not_know_does_not_publish(server, repo_id, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_mistyped")
    line = refusal(hub.publish, folder, repo_id)
    assert "the Hub wants a valid token; run `hf auth login` or correct HF_TOKEN" in line
    assert "hf_mistyped" not in line


def test_a_token_that_the_hub_repeats_is_not_shown(server, repo_id, folder):
    server.fail_next("/preupload/", 403, message=f"{WRITER} is no writer")
    assert "(*** is no writer)" in refusal(hub.publish, folder, repo_id)


def test_a_card_that_the_hub_refuses_is_told(server, repo_id, folder):
    (folder / "README.md").write_text("---\ncolorFrom: puce\n---\n", "utf-8")
    line = refusal(hub.publish, folder, repo_id)
    assert '"colorFrom" must be one of [red, yellow, green, blue]' in line


def test_a_hub_without_xet_storage_is_told(server, repo_id, folder):
    [line] = run_each("publish", [str(folder)], [repo_id], HF_HUB_DISABLE_XET="0")
    assert line == (
        f"cannot publish to {repo_id}: {server.url} offers no Xet storage; set HF_HUB_DISABLE_XET=1"
    )


def test_nothing_is_published_without_a_connection(server, repo_id, folder):
    server.stop()
    line = refusal(hub.publish, folder, repo_id)
    assert line.startswith(f"cannot publish to {repo_id}: cannot reach {server.url} (")


def break_once(server: HubServer, fault: str, path: str, method: str, status: int = 503) -> None:
    if fault == "refused":
        server.fail_next(path, status, method=method, headers={"Retry-After": "0"})
    else:
        server.drop_next(path, method=method, reset=fault == "reset")


@pytest.mark.parametrize("fault", ["refused", "dropped", "reset"])
def test_publishing_goes_on_after_a_fault_that_passes(server, repo_id, folder, fault):
    break_once(server, fault, f"/api/models/{repo_id}", "GET", status=429)
    for path in ("/repos/create", "/commit/main", "/tag/"):
        break_once(server, fault, path, "POST")
    hub.publish(folder, repo_id, tag="v1")
    assert contents(folder).items() <= server.repo(repo_id).files("v1").items()
    assert len(server.repo(repo_id).history()) == 2  # a commit whose answer was lost is not redone
    (folder / "report/new.csv").write_bytes(b"new")
    break_once(server, fault, "/refs", "GET")
    hub.publish(folder, repo_id, tag="v2")
    assert contents(folder).items() <= server.repo(repo_id).files("v2").items()
    assert [fault.times for fault in server.faults] == [0] * 5


def test_an_upload_that_breaks_off_is_done_again(server, repo_id, folder):
    server.drop_next("/cdn/upload/", after=0)
    hub.publish(folder, repo_id)
    assert contents(folder).items() <= server.repo(repo_id).files().items()


def test_two_that_publish_at_once_do_not_mix_their_files(server, repo_id, folder):
    put(server, repo_id, folder)
    (folder / "report/ours.csv").write_bytes(b"ours")
    other = {**server.repo(repo_id).files(), "gallery/theirs.jpg": b"theirs"}
    answer = server.take_fault

    def meanwhile(method, path):
        if "/preupload/" in path and len(server.repo(repo_id).history()) == 2:
            server.put(repo_id, other)
        return answer(method, path)

    server.take_fault = meanwhile
    hub.publish(folder, repo_id)
    assert server.repo(repo_id).files() == contents(folder)


def test_a_hub_that_stays_in_trouble_is_told(server, repo_id, folder):
    put(server, repo_id, folder)
    server.fail_next(f"/api/models/{repo_id}$", 500, times=9)
    line = refusal(hub.publish, folder, repo_id)
    assert line == f"cannot publish to {repo_id}: the Hub has trouble (error 500); try again later"
    server.faults.clear()
    server.drop_next(f"/api/models/{repo_id}$", times=9)
    assert "kept breaking off" in refusal(hub.publish, folder, repo_id)
    server.faults.clear()
    server.fail_next(f"/api/models/{repo_id}$", 429, headers={"Retry-After": "900"})
    assert "too many requests; try again in 900 seconds" in refusal(hub.publish, folder, repo_id)
    limit = {"RateLimit": '"api";r=0;t=700'}
    server.fail_next(f"/api/models/{repo_id}$", 429, headers=limit)
    assert "too many requests; try again in 700 seconds" in refusal(hub.publish, folder, repo_id)


def test_an_error_page_that_is_not_from_the_hub_passes_too(server, repo_id, folder):
    page = {"headers": {"Content-Type": "text/html"}, "message": "<h1>Bad Gateway</h1>"}
    server.fail_next("/api/validate-yaml", 502, **page)
    hub.publish(folder, repo_id)
    assert contents(folder).items() <= server.repo(repo_id).files().items()
    server.fail_next("/api/validate-yaml", 502, times=9, **page)
    assert f"{server.url} does not answer as a Hub" in refusal(hub.publish, folder, repo_id)


# Fetching


def test_a_folder_is_taken_as_it_is(server, folder):
    assert hub.fetch(folder) == folder
    assert hub.fetch(str(folder)) == folder
    assert server.requests == []


def test_a_folder_wins_over_a_repo_of_its_name(server, repo_id, folder, tmp_path, monkeypatch):
    put(server, repo_id, folder)
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "moved")
    (tmp_path / "ada").mkdir()
    (tmp_path / "moved").rename(tmp_path / repo_id)
    assert hub.fetch(repo_id) == pathlib.Path(repo_id)
    assert "a folder has no revisions" in refusal(hub.fetch, repo_id, "main")
    assert hub.fetch(f"{repo_id}@main") != pathlib.Path(repo_id)


def test_a_folder_that_is_no_bundle_is_refused(folder):
    (folder / "model.onnx").unlink()
    with pytest.raises(bundle.BundleError, match=r"model\.onnx"):
        hub.fetch(folder)


@pytest.mark.parametrize(
    "source",
    [
        "bundle",
        "./ada/flowers",
        "/no/such/folder",
        r"C:\runs\bundle",
        r"runs\bundle",
        "ada/flowers@",
        "ada/flo wers",
        "ada/flowers/v1",
        "https://huggingface.co/ada/flowers",
        pathlib.Path("ada/flowers"),
        "",
    ],
)
def test_what_is_neither_folder_nor_repo_is_refused(server, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if source == "":
        with pytest.raises(bundle.BundleError):
            hub.fetch(source)
        return
    line = refusal(hub.fetch, source)
    assert line == (
        f"{str(source)!r} is neither a folder here nor a Hub repo: "
        "give a bundle's folder, USER/MODEL or USER/MODEL@REVISION"
    )
    assert server.requests == []


@pytest.fixture
def versions(server, repo_id, folder):
    """A repo whose tag v1 and branches main, try/2 and refs/pr/1 hold different bundles."""
    shas = {}
    for branch in ("main", "try/2", "refs/pr/1"):
        (folder / "README.md").write_text(branch, "utf-8")
        shas[branch] = put(server, repo_id, folder, branch=branch)
    server.repo(repo_id).tags["v1"] = shas["main"]
    (folder / "README.md").write_text("newest", "utf-8")
    shas["newest"] = put(server, repo_id, folder)
    return shas


@pytest.mark.parametrize(
    ("revision", "expected"),
    [("main", "newest"), ("v1", "main"), ("try/2", "try/2"), ("refs/pr/1", "refs/pr/1")],
)
def test_a_revision_is_fetched_by_its_name(versions, repo_id, revision, expected):
    for fetched in (hub.fetch(f"{repo_id}@{revision}"), hub.fetch(repo_id, revision)):
        assert (fetched / "README.md").read_text("utf-8") == expected


def test_a_revision_is_fetched_by_its_commit(versions, repo_id):
    for sha in (versions["main"], versions["main"][:10]):
        assert (hub.fetch(f"{repo_id}@{sha}") / "README.md").read_text("utf-8") == "main"


def test_two_revisions_are_refused(server, repo_id):
    line = refusal(hub.fetch, f"{repo_id}@v1", "v2")
    assert line == "two revisions, 'v1' and 'v2': give one"


def test_a_bundle_is_downloaded_once(server, repo_id, folder):
    put(server, repo_id, folder)
    first = hub.fetch(repo_id)
    downloads = len(server.asked("/resolve/|/cdn/"))
    assert downloads >= len(contents(folder))
    assert hub.fetch(repo_id) == first
    assert len(server.asked("/resolve/|/cdn/")) == downloads


def test_only_what_is_new_is_downloaded(server, repo_id, folder):
    put(server, repo_id, folder)
    hub.fetch(repo_id)
    (folder / "README.md").write_text("newer", "utf-8")
    put(server, repo_id, folder)
    before = len(server.requests)
    assert (hub.fetch(repo_id) / "README.md").read_text("utf-8") == "newer"
    gets = [r.path for r in server.requests[before:] if r.method == "GET"]
    assert [path.rsplit("/", 1)[1] for path in gets if "/resolve/" in path] == ["README.md"]
    assert not [path for path in gets if "/cdn/" in path]


def test_only_the_files_of_the_bundle_are_fetched(server, repo_id, folder):
    stray = {
        "pytorch_model.bin": b"0" * 100,
        "x/y": b"",
        "gallery/.x/y": b"",
        ".gitattributes": b"",
    }
    server.put(repo_id, {**contents(folder), **stray})
    assert contents(hub.fetch(repo_id)) == contents(folder)


def test_the_token_does_not_leave_the_hub(server, repo_id, folder):
    put(server, repo_id, folder, private=True)
    hub.fetch(repo_id)
    assert {request.token for request in server.asked("/resolve/")} == {WRITER}
    assert {request.token for request in server.asked("/cdn/")} == {None}


def test_a_fetched_bundle_works_without_a_connection(server, repo_id, folder, caplog):
    put(server, repo_id, folder)
    first = hub.fetch(repo_id)
    server.put(repo_id, {})  # the branch moves on, but the client cannot know
    server.stop()
    assert hub.fetch(repo_id) == first
    assert f"cannot reach {server.url}" in caplog.text
    assert hub.fetch(f"{repo_id}@{first.name}") == first


def test_a_fetched_bundle_works_while_the_hub_is_in_trouble(server, repo_id, folder):
    put(server, repo_id, folder)
    first = hub.fetch(repo_id)
    server.fail_next(f"/api/models/{repo_id}", 500, times=99)
    assert hub.fetch(repo_id) == first


def test_without_a_connection_what_was_not_fetched_is_refused(server, repo_id):
    server.stop()
    line = refusal(hub.fetch, repo_id)
    assert line.startswith(
        f"cannot fetch {repo_id}@main, and the cache has no complete copy of it: "
        f"cannot reach {server.url} ("
    )


def fetch_interrupted(server: HubServer, repo_id: str) -> None:
    """Fetch while every download of one of the large files fails."""
    fault = f"/cdn/{server.repo(repo_id).head().files['model.weights.h5'].oid}"
    server.fail_next(fault, 503, times=99)
    assert "error 503" in refusal(hub.fetch, repo_id)
    server.faults.clear()


def test_a_published_card_names_its_own_repo(server, repo_id, folder):
    card = (
        'FlowerClassifier.from_pretrained("USER/MODEL")\nload_model("hf://USER/MODEL")\n'
        'load_model(snapshot_download("USER/MODEL", revision="main"))\nUSER/MODEL, "USER/MODEL"\n'
    )
    (folder / "README.md").write_text(card, "utf-8")
    named = card.replace("USER/MODEL", "{}", 3) + "{}"
    other = f"{repo_id}-other"
    hub.publish(folder, repo_id)
    hub.publish(hub.fetch(repo_id), other)  # a card that names another repo
    for name in (repo_id, other):
        published = (hub.fetch(name) / "README.md").read_text("utf-8")
        assert published == named.format(name, name, name, "")
    assert (folder / "README.md").read_text("utf-8") == card
    commits = len(server.repo(other).commits)
    hub.publish(folder, other)
    assert len(server.repo(other).commits) == commits


def test_a_half_fetched_bundle_is_never_served(server, repo_id, folder):
    sha = put(server, repo_id, folder)
    fetch_interrupted(server, repo_id)
    [half] = pathlib.Path(constants.HF_HUB_CACHE).glob(f"models--*/snapshots/{sha}")
    assert 0 < len(contents(half)) < len(contents(folder))
    server.stop()
    for revision in ("main", sha):
        line = refusal(hub.fetch, f"{repo_id}@{revision}")
        assert f"{repo_id}@{revision}, and the cache has no complete copy of it" in line


def test_a_half_fetched_bundle_is_fetched_on(server, repo_id, folder):
    put(server, repo_id, folder)
    fetch_interrupted(server, repo_id)
    before = len(server.requests)
    assert contents(hub.fetch(repo_id)) == contents(folder)
    assert len([r for r in server.requests[before:] if r.path.startswith("/cdn/")]) == 1


def test_an_interrupted_update_leaves_the_whole_bundle_in_use(server, repo_id, folder):
    put(server, repo_id, folder)
    first = hub.fetch(repo_id)
    (folder / "README.md").write_text("newer", "utf-8")
    (folder / "model.weights.h5").write_bytes(b"newer")
    put(server, repo_id, folder)
    fetch_interrupted(server, repo_id)
    server.stop()
    assert hub.fetch(repo_id) == first


def test_a_branch_that_moves_during_the_download_is_fetched_anew(server, repo_id, folder):
    put(server, repo_id, folder)
    old = contents(folder)
    (folder / "README.md").write_text("newer", "utf-8")
    answer = server.take_fault

    def meanwhile(method, path):
        if "/resolve/" in path and server.repo(repo_id).files() == old:
            put(server, repo_id, folder)
        return answer(method, path)

    server.take_fault = meanwhile
    newest = hub.fetch(repo_id)
    assert (newest / "README.md").read_text("utf-8") == "newer"
    server.stop()
    assert hub.fetch(repo_id) == newest


@pytest.mark.parametrize("harm", ["cut short", "lost"])
def test_a_file_damaged_in_the_cache_is_refused_or_mended(server, repo_id, folder, harm):
    put(server, repo_id, folder)
    file = hub.fetch(repo_id) / "model.weights.h5"
    if harm == "lost":
        file.resolve().unlink()
    else:
        file.resolve().write_bytes(b"")
    endpoint, os.environ["HF_ENDPOINT"] = server.url, "http://127.0.0.1:9"  # nobody is there
    assert "no complete copy" in refusal(hub.fetch, repo_id)
    os.environ["HF_ENDPOINT"] = endpoint
    assert contents(hub.fetch(repo_id)) == contents(folder)


def test_hf_hub_offline_is_obeyed(server, repo_id, folder):
    put(server, repo_id, folder)
    fetched = hub.fetch(repo_id)
    half = put(server, f"{repo_id}-half", folder)
    fetch_interrupted(server, f"{repo_id}-half")
    asked = len(server.requests)
    sources = [repo_id, f"{repo_id}-half@{half}", f"{repo_id}-other"]
    reason = "HF_HUB_OFFLINE is set; unset it to use the network"
    assert run_each("fetch", sources, HF_HUB_OFFLINE="1") == [
        str(fetched),
        f"cannot fetch {sources[1]}, and the cache has no complete copy of it: {reason}",
        f"cannot fetch {sources[2]}@main, and the cache has no complete copy of it: {reason}",
    ]
    assert len(server.requests) == asked


@pytest.mark.parametrize("reset", [False, True])
def test_a_download_that_breaks_off_midway_is_completed(server, repo_id, folder, reset):
    (folder / "model.weights.h5").write_bytes(os.urandom(12 * 2**20))
    put(server, repo_id, folder)
    oid = server.repo(repo_id).head().files["model.weights.h5"].oid
    server.drop_next(f"/cdn/{oid}", after=11 * 2**20, method="GET", reset=reset)
    assert contents(hub.fetch(repo_id)) == contents(folder)
    first, second = server.asked(f"/cdn/{oid}", "GET")
    assert first.range is None
    # huggingface_hub continues where it stopped, but starts over after a reset.
    assert second.range == (None if reset else "bytes=10485760-")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refused", "dropped", "reset"])
def test_fetching_goes_on_after_a_fault_that_passes(server, repo_id, folder, fault):
    put(server, repo_id, folder)
    break_once(server, fault, "/revision/main", "GET", status=429)
    for path in ("/tree/", "/resolve/.*/README", "/cdn/"):
        break_once(server, fault, path, "GET")
    assert contents(hub.fetch(repo_id)) == contents(folder)
    assert [fault.times for fault in server.faults] == [0] * 4


def test_a_repo_that_is_not_there_is_told(server, repo_id, monkeypatch):
    line = refusal(hub.fetch, repo_id)
    assert line == (
        f"cannot fetch {repo_id}@main: {server.url} has no such model, "
        "or it is private and this token's user may not see it"
    )
    monkeypatch.delenv("HF_TOKEN")
    assert "without `hf auth login` or HF_TOKEN you may not see it" in refusal(hub.fetch, repo_id)


def test_a_private_repo_is_for_its_owner_only(server, repo_id, folder, monkeypatch):
    put(server, repo_id, folder, private=True)
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    assert "it is private" in refusal(hub.fetch, repo_id)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert contents(hub.fetch(repo_id)) == contents(folder)


def test_a_revision_that_is_not_there_is_told(server, repo_id, folder):
    put(server, repo_id, folder)
    for revision in ("v9", "f" * 40):
        line = refusal(hub.fetch, f"{repo_id}@{revision}")
        assert line == (
            f"cannot fetch {repo_id}@{revision}: it has no branch, tag or commit {revision!r}; "
            f"see {server.url}/{repo_id}/commits"
        )


def test_a_gated_repo_is_told(server, repo_id, folder):
    put(server, repo_id, folder)
    server.fail_next("/revision/", 403, headers={"X-Error-Code": "GatedRepo"})
    assert f"ask for it at {server.url}/{repo_id}" in refusal(hub.fetch, repo_id)


def test_a_token_that_may_not_read_is_told(server, repo_id, folder):
    put(server, repo_id, folder)
    server.fail_next("/resolve/", 403, times=99, message="no gated repos for this token")
    line = refusal(hub.fetch, repo_id)
    assert f"(no gated repos for this token); use a token that may read {repo_id}" in line


def test_a_repo_that_holds_no_bundle_is_refused_before_it_is_downloaded(server, repo_id, folder):
    server.put(repo_id, {"README.md": b"", "config.json": b"{}", "model.onnx": b"0"})
    line = refusal(hub.fetch, f"{repo_id}@main")
    assert line == (
        f"{repo_id}@main is not a flower bundle: it has no "
        "classifier.json, gallery/index.json, metadata.json, model.weights.h5"
    )
    assert server.asked("/resolve/") == []


def test_a_repo_that_holds_no_bundle_is_refused_without_a_connection(server, repo_id):
    server.put(repo_id, {"README.md": b"", "config.json": b"{}"})
    huggingface_hub.snapshot_download(repo_id, endpoint=server.url)
    server.stop()
    line = refusal(hub.fetch, repo_id)
    assert line.startswith(f"{repo_id}@main: it is not a complete bundle: metadata.json, ")


def test_a_bundle_whose_manifest_does_not_fit_is_refused(server, repo_id, folder):
    manifest = json.loads((folder / "classifier.json").read_bytes())
    manifest["input"]["size"] = -1
    (folder / "classifier.json").write_text(json.dumps(manifest), "utf-8")
    put(server, repo_id, folder)
    line = refusal(hub.fetch, repo_id)
    assert line.startswith(f"{repo_id}@main: classifier.json: input.size: ")


def test_a_server_that_is_not_a_hub_is_told(repo_id, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "not-a-url")
    assert "cannot reach not-a-url" in refusal(hub.fetch, repo_id)


def test_a_token_that_is_no_ascii_is_told(server, repo_id, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_\xe9")
    assert "correct HF_TOKEN" in refusal(hub.fetch, repo_id)


@pytest.mark.parametrize(
    ("proxy", "line"),
    [
        ("socks5://127.0.0.1:9", "a SOCKS proxy needs one more package: pip install socksio"),
        ("socks4://127.0.0.1:9", "give http://, https:// or socks5:// in ALL_PROXY"),
        (":::", "correct the proxy's address in ALL_PROXY"),
    ],
)
def test_a_proxy_that_cannot_be_asked_is_told(monkeypatch, repo_id, proxy, line):
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where it is not installed
    huggingface_hub.close_session()
    with pytest.raises(hub.HubError, match=line):
        hub.fetch(repo_id)
    huggingface_hub.close_session()
