"""The Space: its card, its requirements, and the command that assembles and pushes it."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import gradio_client
import helpers
import huggingface_hub
import pytest
import yaml
from helpers import ROOT, link_distributions, requirements
from hub_server import HubServer
from packaging.requirements import Requirement

from flowers_model.classifier import FlowerClassifier

WRITER, READER = "hf_tokenOfAda", "hf_tokenThatReads"
MODEL, SPACE = "ada/flowers-of-the-space", "ada/which-flower"
HEAVY = {"keras", "tensorflow", "jax", "jaxlib", "torch", "sklearn", "scipy", "matplotlib", "train"}

_spec = importlib.util.spec_from_file_location("deploy", ROOT / "spaces" / "deploy.py")
deploy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(deploy)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def card(text: str) -> dict:
    """The front matter."""
    _, front_matter, body = text.split("---\n", 2)
    assert body.strip()
    return yaml.safe_load(front_matter)


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory) -> pathlib.Path:
    return helpers.write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def shared_hub(bundle_folder) -> Iterator[HubServer]:
    with HubServer() as server:
        server.add_token(WRITER, "ada", write=True)
        server.add_token(READER, "ada")
        sha = server.put(MODEL, contents(bundle_folder)).sha
        server.repo(MODEL).tags["v1"] = sha
        yield server


@pytest.fixture
def server(shared_hub, monkeypatch) -> HubServer:
    """A Hub with the model and no Space; the user is logged in."""
    shared_hub.repos.pop(("space", SPACE), None)
    helpers.use_hub(shared_hub, monkeypatch, WRITER)
    return shared_hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """What a dry run writes."""
    folder = tmp_path_factory.mktemp("dry") / "space"
    assert deploy.main([SPACE, "--model", f"{MODEL}@v1", "--dry-run", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def page(folder, shared_hub, tmp_path_factory) -> Iterator[str]:
    """Run `python app.py` in the folder with only its own requirements installed; its address."""
    room = tmp_path_factory.mktemp("page")
    (room / "packages").mkdir()
    link_distributions(room / "packages", requirements("spaces/requirements.txt"))
    assert not HEAVY & {path.name for path in (room / "packages").iterdir()}
    environment = {
        **os.environ,
        "HOME": "/dev/null",  # nothing can be written there, not even by root
        "PYTHONPATH": str(room / "packages"),
        "HF_ENDPOINT": shared_hub.url,
        "HF_HOME": str(room / "huggingface"),
        "NO_PROXY": "127.0.0.1,localhost",
        "HTTP_PROXY": "http://127.0.0.1:9",  # nothing else is reached
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    for name in ("FLOWERS_MODEL", "HF_TOKEN"):
        environment.pop(name, None)
    command = [sys.executable, "-S", "app.py"]  # without site-packages
    with helpers.page_process(command, environment, room, folder) as url:
        yield url


# The card and the requirements.


COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
REPO = r"[\w.-]+/[\w.-]+"
# The settings in https://huggingface.co/docs/hub/spaces-config-reference and their valid values;
# the last two belong to the card of any repo.
DOCUMENTED = {
    "title": lambda it: isinstance(it, str),
    "emoji": lambda it: 0 < len(it) <= 4 and not it.isascii(),
    "colorFrom": COLOURS.__contains__,
    "colorTo": COLOURS.__contains__,
    "sdk": ("gradio", "docker", "static").__contains__,
    "python_version": lambda it: re.fullmatch(r"3\.\d+(\.\d+)?", it),
    "sdk_version": lambda it: re.fullmatch(r"\d+\.\d+\.\d+", it),
    "suggested_hardware": lambda it: isinstance(it, str),
    "suggested_storage": ("small", "medium", "large").__contains__,
    "app_file": lambda it: (ROOT / it).is_file() or (ROOT / "spaces/static" / it).is_file(),
    "app_build_command": lambda it: isinstance(it, str),
    "app_port": lambda it: isinstance(it, int),
    "base_path": lambda it: it.startswith("/"),
    "fullWidth": lambda it: isinstance(it, bool),
    "header": ("mini", "default").__contains__,
    "short_description": lambda it: len(it) <= 60,
    "models": lambda it: all(re.fullmatch(REPO, one) for one in it),
    "datasets": lambda it: all(re.fullmatch(REPO, one) for one in it),
    "thumbnail": lambda it: it.startswith("https://"),
    "pinned": lambda it: isinstance(it, bool),
    "hf_oauth": lambda it: isinstance(it, bool),
    "hf_oauth_expiration_minutes": lambda it: 0 < it <= 43200,
    "hf_oauth_scopes": lambda it: isinstance(it, list),
    "hf_oauth_authorized_org": lambda it: isinstance(it, str | list),
    "disable_embedding": lambda it: isinstance(it, bool),
    "startup_duration_timeout": lambda it: re.fullmatch(r"\d+[mh]", it),
    "custom_headers": lambda it: isinstance(it, dict),
    # A repo; or also files with commas between; or also a commit.
    "preload_from_hub": lambda it: all(
        re.fullmatch(rf"{REPO}( [^ ]+( [0-9a-f]{{40}})?)?", one) for one in it
    ),
    "tags": lambda it: all(isinstance(one, str) for one in it),
    "license": lambda it: isinstance(it, str),
}
NEEDED = {"title", "emoji", "sdk", "app_file", "models", "license"}
NEEDED |= {"short_description", "tags", "thumbnail"}


def check_card(text: str) -> dict:
    """The front matter, checked against the Hub's documentation."""
    fields = card(text)
    needed = NEEDED if fields["sdk"] == "static" else NEEDED | {"sdk_version", "python_version"}
    assert set(DOCUMENTED) > set(fields) >= needed
    assert [name for name, value in fields.items() if not DOCUMENTED[name](value)] == []
    assert huggingface_hub.SpaceCard(text).data.to_dict() == fields
    return fields


def test_the_card_names_what_the_project_runs_on():
    fields = card((ROOT / "spaces" / "README.md").read_text("utf-8"))
    assert f"gradio~={fields['sdk_version']}" in requirements("requirements.txt")
    assert fields["sdk"] == "gradio"
    assert fields["app_file"] == "app.py"
    assert fields["license"] == "apache-2.0"


def test_the_requirements_are_the_projects_without_the_heavy_ones():
    lean = requirements("spaces/requirements.txt")
    assert set(lean) < set(requirements("requirements.txt"))
    names = {Requirement(line).name for line in lean}
    assert not names & {*HEAVY, "tensorflow-cpu", "jax2onnx", "scikit-learn"}


def test_the_requirements_leave_room_for_what_spaces_install_beside_them():
    """They install gradio[oauth,mcp], in the same command."""
    ours = {Requirement(line).name: Requirement(line) for line in requirements("requirements.txt")}
    seen = 0
    for line in importlib.metadata.requires("gradio"):
        extra = Requirement(line)
        if "extra" in str(extra.marker) and extra.name in ours:
            seen += 1
            newest = [limit.version for limit in extra.specifier if limit.operator == "<="]
            assert all(ours[extra.name].specifier.contains(version) for version in newest), line
    assert seen


# The dry run.


def test_a_dry_run_writes_the_page_the_package_and_the_filled_card(folder):
    files = contents(folder)
    packages = {path for path in files if path.startswith(("flowers_model/", "page/"))}
    whole = {
        path
        for package in ("flowers_model", "page")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".txt", ".css", ".js", ".json") and "default" not in path.parts
    }
    sources = {str(path.relative_to(ROOT)) for path in whole}
    assert {path for path in packages if "__pycache__" not in path} == sources
    assert set(files) - packages == {
        *("LICENSE", "README.md", "app.py", "model.txt", "requirements.txt", "thumbnail.png")
    }
    assert files["app.py"] == (ROOT / "app.py").read_bytes()
    assert files["requirements.txt"] == (ROOT / "spaces" / "requirements.txt").read_bytes()
    assert files["model.txt"] == f"{MODEL}@v1\n".encode()
    text = files["README.md"].decode()
    fields = check_card(text)
    assert fields["models"] == [MODEL]
    assert fields["thumbnail"] == (
        f"https://huggingface.co/spaces/{SPACE}/resolve/main/thumbnail.png"
    )
    assert files["thumbnail.png"].startswith(b"\x89PNG")
    assert f"[{MODEL}](https://huggingface.co/{MODEL})" in text
    assert "USER/" not in text


def test_a_dry_run_needs_no_token_and_no_network_and_tells_how_to_start(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("HF_TOKEN")
    before = len(server.requests)
    folder = tmp_path / "my space"
    assert deploy.main([SPACE, "--model", MODEL, "--dry-run", str(folder)]) == 0
    assert len(server.requests) == before
    assert f"cd '{folder}' && pip install -r requirements.txt" in capsys.readouterr().out


def test_a_dry_run_takes_the_place_of_an_earlier_one(tmp_path):
    folder = tmp_path / "space"
    folder.mkdir()
    assert deploy.main([SPACE, "--model", "ada/older", "--dry-run", str(folder)]) == 0
    (folder / "flowers_model" / "stale.py").write_text("")
    assert deploy.main([SPACE, "--model", "ada/newer", "--dry-run", str(folder)]) == 0
    assert (folder / "model.txt").read_text() == "ada/newer\n"
    assert not (folder / "flowers_model" / "stale.py").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_dry_run_overwrites_nothing_else(tmp_path, capsys):
    (tmp_path / "app.py").write_text("mine")
    assert deploy.main([SPACE, "--model", MODEL, "--dry-run", str(tmp_path)]) == 2
    assert "contains other files than those of a Space; give a new or" in capsys.readouterr().err
    assert contents(tmp_path) == {"app.py": b"mine"}
    assert deploy.main([SPACE, "--model", MODEL, "--dry-run", str(tmp_path / "app.py")]) == 2
    error = f"error: cannot write {str(tmp_path / 'app.py')!r}: Not a directory\n"
    assert capsys.readouterr().err == error
    assert contents(tmp_path) == {"app.py": b"mine"}


@pytest.mark.slow
def test_the_dry_run_starts_on_its_own_requirements_fetches_its_model_and_answers(
    page, bundle_folder, tmp_path
):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(helpers.photo((240, 200, 20)))
    client = gradio_client.Client(page, download_files=False, verbose=False)
    answer = client.predict(gradio_client.handle_file(photo), api_name="/classify")
    [expected] = FlowerClassifier.from_pretrained(bundle_folder).classify(photo)
    assert [one["label"] for one in answer["confidences"]] == expected.labels
    assert [one["confidence"] for one in answer["confidences"]] == expected.probabilities


# Pushing.


def test_a_space_is_pushed_in_one_commit_and_its_address_is_printed(server, folder, capsys):
    assert deploy.main([SPACE, "--model", f"{MODEL}@v1"]) == 0
    assert capsys.readouterr().out == f"{server.url}/spaces/{SPACE}\n"
    space = server.repo(SPACE, "space")
    assert space.sdk == "gradio"
    assert [commit.title for commit in space.history()] == [f"Show {MODEL}@v1", "initial commit"]
    files = space.files()
    assert files.pop(".gitattributes")
    written = {path: data for path, data in contents(folder).items() if "__pycache__" not in path}
    fields = check_card(files.pop("README.md").decode())
    # The Hub tells what the revision is; a dry run does not ask.
    [preloaded] = fields.pop("preload_from_hub")
    assert preloaded.startswith(f"{MODEL} README.md,")
    assert preloaded.endswith(f" {server.repo(MODEL).tags['v1']}")
    assert fields == check_card(written.pop("README.md").decode())
    assert files == written
    assert (space.private, space.variables, space.secrets, space.restarts) == (False, {}, {}, [])


def test_a_model_without_revision_is_preloaded_whole_and_a_private_one_is_not(
    server, bundle_folder
):
    def preloaded(model: str) -> list[str] | None:
        assert deploy.main([SPACE, "--model", model]) == 0
        text = server.repo(SPACE, "space").files()["README.md"].decode()
        return check_card(text).get("preload_from_hub")

    assert preloaded(MODEL) == [MODEL]
    server.put("ada/secret-flowers", contents(bundle_folder), private=True)
    assert preloaded("ada/secret-flowers") is None


def test_a_space_of_several_models_names_and_preloads_them_all(server, bundle_folder):
    server.put("ada/small-flowers", contents(bundle_folder))
    assert deploy.main([SPACE, "--model", MODEL, "--model", "ada/small-flowers"]) == 0
    files = server.repo(SPACE, "space").files()
    assert files["model.txt"].decode().split() == [MODEL, "ada/small-flowers"]
    fields = check_card(files["README.md"].decode())
    assert fields["models"] == fields["preload_from_hub"] == [MODEL, "ada/small-flowers"]
    assert "(https://huggingface.co/ada/small-flowers)" in files["README.md"].decode()


def test_a_space_gets_its_hardware_variables_and_secrets(server, monkeypatch):
    monkeypatch.setenv("A_SECRET", "hush")
    command = [SPACE, "--model", MODEL, "--private", "--hardware", "cpu-upgrade", "--restart"]
    command += [
        "--variable",
        "GRADIO_MCP_SERVER=True",
        "--variable",
        "B=a=b",
        "--secret",
        "A_SECRET",
    ]
    assert deploy.main(command) == 0
    space = server.repo(SPACE, "space")
    assert space.private
    assert space.variables == {"GRADIO_MCP_SERVER": "True", "B": "a=b"}
    assert space.secrets == {"A_SECRET": "hush"}
    assert space.hardware == "cpu-upgrade"
    assert space.restarts == ["factory=true"]


def test_what_a_space_has_already_is_not_set_anew(server):
    command = [SPACE, "--model", MODEL, "--hardware", "t4-small"]
    assert deploy.main([*command, "--variable", "A=1", "--variable", "B=1"]) == 0
    before = len(server.requests)
    assert deploy.main([*command, "--variable", "A=1", "--variable", "B=2"]) == 0
    writes = [one.path for one in server.requests[before:] if one.method == "POST"]
    questions = ("/preupload/", "/validate-yaml", "/info/lfs/")
    writes = [path for path in writes if not any(one in path for one in questions)]
    assert writes == [f"/api/spaces/{SPACE}/variables"]
    assert server.repo(SPACE, "space").variables == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--variable", "A"], "--variable 'A' must be NAME=VALUE"),
        (["--secret", "NOWHERE"], "--secret NOWHERE takes the value of the variable NOWHERE: set"),
        (
            ["--hardware", "abacus"],
            "the Hub refuses (error 400): There is no hardware called abacus",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_told(server, capsys, more, message):
    assert message in refusal(capsys, SPACE, "--model", MODEL, *more)


def test_a_public_space_is_not_made_private(server, capsys):
    assert deploy.main([SPACE, "--model", MODEL]) == 0
    capsys.readouterr()
    line = refusal(capsys, SPACE, "--model", MODEL, "--private")
    assert f"as private: it is public; make it private at {server.url}/spaces/{SPACE}/sett" in line


def test_pushing_anew_changes_only_what_is_ours_and_differs(server):
    assert deploy.main([SPACE, "--model", MODEL]) == 0
    space = server.repo(SPACE, "space")
    first = space.head()
    assert deploy.main([SPACE, "--model", MODEL]) == 0
    assert space.head() == first  # no needless commit
    others = {"thumbnail.txt": b"the owner's", "flowers_model/gone.py": b"from an older version"}
    server.put(SPACE, {**space.files(), **others}, type="space")
    assert deploy.main([SPACE, "--model", f"{MODEL}@v1"]) == 0
    assert len(space.history()) == 4
    before, after = space.files(first.sha), space.files()
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"README.md", "model.txt", "thumbnail.txt"}
    assert set(after) == {*before, "thumbnail.txt"}
    assert after["model.txt"] == f"{MODEL}@v1\n".encode()


def test_pushing_goes_on_after_faults_that_pass(server):
    server.fail_next("/api/repos/create", 503)
    server.fail_next("/commit/", 500)
    server.drop_next("/commit/")  # the commit is carried out, but its response is lost
    assert deploy.main([SPACE, "--model", MODEL]) == 0
    assert len(server.repo(SPACE, "space").history()) == 2


def refusal(capsys, *arguments: str) -> str:
    """The last line that the command prints."""
    assert deploy.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert WRITER not in err
    return err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize("name", ["which-flower", "ada/which/flower", "ada/which flower", "a/b@v1"])
def test_a_space_has_a_user_and_a_name(server, capsys, name):
    line = refusal(capsys, name, "--model", MODEL)
    assert line == f"{name!r} is not the name of a Space: give USER/SPACE"


@pytest.mark.parametrize("name", ["flowers", "runs/quickstart/bundle", "ada/flowers@", "@v1", ""])
def test_a_model_is_one_on_the_hub(server, capsys, tmp_path, name):
    for more in ([], ["--dry-run", str(tmp_path / "space")]):
        line = refusal(capsys, SPACE, "--model", name, *more)
        assert f"{name!r} is not a model on the Hub: give USER/MODEL or USER/MODEL@REVISION" in line
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("ada/nowhere", "has no such model, or it is private"),
        (f"{MODEL}@v9", "it has no branch, tag or commit 'v9'"),
        ("ada/empty", "ada/empty@main is not a flower bundle: it has no classifier.json"),
    ],
)
def test_a_model_that_the_space_could_not_open_is_not_deployed(server, capsys, model, message):
    server.put("ada/empty", {"README.md": b""})
    assert message in refusal(capsys, SPACE, "--model", model)
    assert ("space", SPACE) not in server.repos


def test_without_a_token_that_may_write_nothing_is_pushed(server, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READER)
    line = refusal(capsys, SPACE, "--model", MODEL)
    assert line.startswith(f"cannot publish to {SPACE}: the Hub forbids it (")
    monkeypatch.delenv("HF_TOKEN")
    line = refusal(capsys, SPACE, "--model", MODEL)
    assert line == f"cannot publish to {SPACE}: not logged in; run `hf auth login` or set HF_TOKEN"
    assert ("space", SPACE) not in server.repos


def test_a_hub_out_of_reach_is_told(server, capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot reach http://127.0.0.1:9 (" in refusal(capsys, SPACE, "--model", MODEL)


def test_the_command_works_from_anywhere_and_ends_with_one_line_and_status_2(tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / "spaces" / "deploy.py", SPACE, "--hardwear", "cpu-basic"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert re.fullmatch(r"error: .*--model; see --help\n", result.stderr)


# Kinds of Spaces, and which of them an account may have.


YOUNG = "ZeroGPU Spaces require an account older than 30 days"
UNVERIFIED = "Verify your email address to host ZeroGPU Spaces"


def space_of(server, monkeypatch, user: str, **account) -> str:
    """Log in another account; the name of a Space that it may make."""
    server.add_token(f"hf_tokenOf{user}", user, write=True, **account)
    helpers.use_hub(server, monkeypatch, f"hf_tokenOf{user}")
    server.repos.pop(("space", f"{user}/which-flower"), None)
    return f"{user}/which-flower"


@pytest.mark.slow
def test_a_free_account_gets_a_static_space_and_is_told_why(
    server, monkeypatch, web_runtime, capsys
):
    monkeypatch.setenv("FLOWERS_DATA", web_runtime)
    space = space_of(server, monkeypatch, "grace", pro=False)
    assert deploy.main([space, "--model", f"{MODEL}@v1"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{server.url}/spaces/{space}\n"
    assert err == (
        "creating a static Space, because the account's plan does not have it (Gradio and Docker "
        "Spaces on cpu-basic require PRO); see https://huggingface.co/pricing\n"
    )
    made = server.repo(space, "space")
    assert made.sdk == "static"
    files = made.files()
    fields = check_card(files["README.md"].decode())
    assert (fields["sdk"], fields["app_file"], fields["models"]) == (
        "static",
        "index.html",
        [MODEL],
    )
    assert files["model/model.onnx"] == server.repo(MODEL).files()["model.onnx"]
    assert b"https://grace-which-flower.static.hf.space/thumbnail.png" in files["index.html"]
    # Deployed again, it stays what it is, and nothing changes.
    head = made.head()
    assert deploy.main([space, "--model", f"{MODEL}@v1"]) == 0
    assert made.head() == head


def test_what_only_a_server_has_is_not_dropped_in_silence(server, monkeypatch, capsys):
    space = space_of(server, monkeypatch, "grace", pro=False)
    for more in (["--kind", "gradio"], ["--variable", "A=1"], ["--model", MODEL]):
        line = refusal(capsys, space, "--model", MODEL, *more)
        assert line.startswith(f"cannot publish to {space}: the account's plan does not have it (")
        assert line.endswith("; --kind static is free")
        assert ("space", space) not in server.repos


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "static", "--model", MODEL], "a static Space shows one model: give --model"),
        (["--kind", "static", "--hardware", "t4-small"], "leave out --hardware, or give another"),
        (["--kind", "static", "--variable", "A=1"], "leave out --variable, or give another --kind"),
        (
            ["--kind", "zerogpu", "--hardware", "t4-small"],
            "leave out --hardware, or give --kind gr",
        ),
        (["--kind", "docker"], "invalid choice: 'docker'"),
    ],
)
def test_what_does_not_go_with_a_kind_is_told(server, capsys, arguments, message):
    assert message in refusal(capsys, SPACE, "--model", MODEL, *arguments)
    assert ("space", SPACE) not in server.repos


def test_a_private_model_is_not_shown_to_everyone_in_silence(server, bundle_folder, capsys):
    server.put("ada/secret-flowers", contents(bundle_folder), private=True)
    line = refusal(capsys, SPACE, "--kind", "static", "--model", "ada/secret-flowers")
    assert "is private, and a static Space would show it to everyone: give --private" in line
    assert ("space", SPACE) not in server.repos


def test_zerogpu_is_asked_for_with_all_that_it_wants(server, monkeypatch, capsys):
    space = space_of(server, monkeypatch, "grace", pro=False)
    assert deploy.main([space, "--model", MODEL, "--kind", "zerogpu"]) == 0
    made = server.repo(space, "space")
    assert (made.sdk, made.hardware) == ("gradio", "zero-a10g")
    files = made.files()
    fields = card(files["README.md"].decode())
    assert fields["app_file"] in files
    assert fields["python_version"] in ("3.12.12", "3.10.13")
    assert fields["suggested_hardware"] == "zero-a10g"
    assert b"@spaces.GPU" in files["zero.py"]
    needed = files["requirements.txt"].decode().splitlines()
    assert needed[:-1] == requirements("spaces/requirements.txt")
    assert Requirement(needed[-1]).name == "spaces"
    # Deployed again without --kind it stays what it is; as another kind, nothing is left behind.
    assert deploy.main([space, "--model", MODEL]) == 0
    assert made.files() == files
    server.tokens["hf_tokenOfgrace"] = dataclasses.replace(
        server.tokens["hf_tokenOfgrace"], pro=True
    )
    assert deploy.main([space, "--model", MODEL, "--kind", "gradio"]) == 0
    assert set(made.files()) == set(files) - {"zero.py"}


@pytest.mark.parametrize(("trouble", "name"), [(YOUNG, "young"), (UNVERIFIED, "unverified")])
def test_an_account_that_zerogpu_does_not_take_is_told_what_would_do(
    server, monkeypatch, capsys, trouble, name
):
    space = space_of(server, monkeypatch, name, pro=False, trouble=trouble)
    line = refusal(capsys, space, "--model", MODEL, "--kind", "zerogpu")
    assert f"the Hub refuses this account ({trouble}); verify its address at https://" in line
    assert "wait until it is old enough" in line
    assert ("space", space) not in server.repos


@pytest.mark.slow
def test_a_dry_run_of_each_kind_writes_what_it_says(
    bundle_folder, web_runtime, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("FLOWERS_DATA", web_runtime)
    folder = tmp_path / "space"
    command = [SPACE, "--dry-run", str(folder)]
    model = str(bundle_folder)
    assert deploy.main([*command, "--kind", "static", "--model", model]) == 0
    assert f"python -m http.server -d {folder}" in capsys.readouterr().out
    assert "models" not in card((folder / "README.md").read_text("utf-8"))
    assert deploy.main([*command, "--kind", "zerogpu", "--model", MODEL]) == 0
    assert "pip install -r requirements.txt && python zero.py" in capsys.readouterr().out
    assert not (folder / "index.html").exists()
    assert refusal(capsys, *command, "--model", model).startswith(
        f"{model!r} is not a model on the"
    )
