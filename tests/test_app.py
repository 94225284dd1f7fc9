"""The page's process and its API: what answers, what is refused, what is loaded and served."""

import contextlib
import io
import os
import pathlib
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator

import gradio_client
import httpx
import numpy as np
import pillow_heif
import pytest
from gradio_client.exceptions import AppError
from helpers import launched, page_process, write_tiny_bundle
from PIL import Image

import app
import page
from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier
from flowers_model.errors import UserError

ROOT = pathlib.Path(app.__file__).parent


@contextlib.contextmanager
def serving(model: pathlib.Path, room: pathlib.Path, **more: str) -> Iterator[str]:
    """`python app.py --model …` on a free port; its address."""
    environment = os.environ | more
    environment.pop("GRADIO_ANALYTICS_ENABLED")  # the page turns it off by itself
    command = [sys.executable, ROOT / "app.py", "--model", model, "--requests-a-minute", "0"]
    with page_process(command, environment, room) as url:
        yield url


def encoded(kind: str, **options) -> bytes:
    """A photo that is not square and looks different in every orientation."""
    down, across = np.mgrid[0:90, 0:120] / 120
    pixels = np.stack([across * 255, down * 255, 200 - across * down * 200], axis=-1)
    file = io.BytesIO()
    picture = Image.fromarray(pixels.astype(np.uint8))
    turn = options.pop("turn", None)
    (picture.transpose(turn) if turn is not None else picture).save(file, kind, **options)
    return file.getvalue()


def lying() -> bytes:
    """The same photo as stored by a phone held upright: rotated, with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("PNG", turn=Image.Transpose.ROTATE_90, exif=exif)


def heic() -> bytes:
    pillow_heif.register_heif_opener()
    return encoded("HEIF")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    """A bundle as the Hub's cache holds it: all its files are links into another folder."""
    blobs = write_tiny_bundle(tmp_path_factory.mktemp("blobs"))
    snapshot = tmp_path_factory.mktemp("snapshot")
    for file in blobs.rglob("*"):
        if file.is_file():
            link = snapshot / file.relative_to(blobs)
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(file)
    return snapshot


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(model, room) -> Iterator[str]:
    """A page that also logs each module that it imports."""
    with serving(model, room, PYTHONPROFILEIMPORTTIME="1") as url:
        yield url


@pytest.fixture(scope="module")
def client(server, tmp_path_factory) -> gradio_client.Client:
    return gradio_client.Client(
        server, download_files=str(tmp_path_factory.mktemp("downloads")), verbose=False
    )


def send(client: gradio_client.Client, path: pathlib.Path):
    return client.predict(gradio_client.handle_file(path), api_name="/classify")


@pytest.mark.parametrize(
    ("name", "data"),
    [("photo.jpg", encoded("JPEG")), ("IMG_0001.HEIC", heic()), ("lying.png", lying())],
)
def test_the_api_gives_what_the_classifier_gives_to_the_last_bit(
    client, model, tmp_path, name, data
):
    path = tmp_path / name
    path.write_bytes(data)
    answer = send(client, path)
    [expected] = FlowerClassifier.from_pretrained(model).classify(path)
    assert answer["label"] == expected.labels[0]
    assert [one["label"] for one in answer["confidences"]] == expected.labels
    assert [one["confidence"] for one in answer["confidences"]] == expected.probabilities
    assert sum(expected.probabilities) == pytest.approx(1)  # there are but three names
    assert answer["model"] == "tiny of 2026-01-01T00:00:00+00:00"
    assert (answer["refused"], answer["refusal_score"], answer["label_set"]) == (False, None, None)


def test_the_api_draws_where_the_network_looked(client, tmp_path):
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(heic())
    picture = client.predict(gradio_client.handle_file(path), api_name="/explain")
    with Image.open(picture) as opened:
        assert opened.size == (448, 448)


def test_a_rotated_phone_photo_is_answered_like_the_upright_one(client, tmp_path):
    (tmp_path / "upright.png").write_bytes(encoded("PNG"))
    (tmp_path / "lying.png").write_bytes(lying())
    assert send(client, tmp_path / "upright.png") == send(client, tmp_path / "lying.png")


@pytest.mark.slow
def test_the_api_says_what_does_not_look_like_a_known_flower(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model", symlinks=False)
    manifest = bundle.read_manifest(folder)
    manifest.calibration.refusal = bundle.Refusal(
        score="probability", center=-1, threshold=-0.999, keeps=0.95, auroc={}
    )
    manifest.calibration.label_sets = bundle.LabelSets(coverage=0.9, limit=1)
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    with launched(page.build(FlowerClassifier.from_pretrained(folder))) as url:
        client = gradio_client.Client(url, download_files=False, verbose=False)
        (tmp_path / "photo.jpg").write_bytes(encoded("JPEG"))
        answer = send(client, tmp_path / "photo.jpg")
    [expected] = FlowerClassifier.from_pretrained(folder).classify(tmp_path / "photo.jpg")
    assert answer["label"] == expected.labels[0]  # the best guess all the same
    assert answer["refused"]
    assert answer["refusal_score"] == pytest.approx(expected.refusal_score)
    assert answer["label_set"] == expected.labels
    assert answer["label_set_coverage"] == 0.9
    assert answer["message"] == "This does not look like a flower I know."


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("notes.jpg", b"Dear diary", "cannot be read as a photo"),
        ("notes.txt", b"Dear diary", "cannot be read as a photo"),
        ("empty.png", b"", "is empty"),
        ("half.jpg", encoded("JPEG")[:900], "is damaged or cut short"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot be read as a photo"),
    ],
)
def test_a_bad_file_gets_a_friendly_sentence(client, tmp_path, name, data, reason):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(AppError, match=rf"^Sorry, this photo {reason}.* is needed\.$") as caught:
        send(client, path)
    assert "\n" not in str(caught.value)
    assert name not in str(caught.value)  # nor the server's path to it


def test_no_file_at_all_gets_a_friendly_sentence(client):
    with pytest.raises(AppError, match="Sorry, there is no photo here; send one as a file"):
        client.predict(None, api_name="/classify")


def test_a_file_above_the_limit_is_refused(server):
    answer = httpx.post(
        f"{server}/gradio_api/upload", files={"files": ("big.jpg", bytes(51 * 1024 * 1024))}
    )
    assert answer.status_code == 413
    assert "maximum allowed size" in answer.text


def test_what_is_public_is_documented(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/classify", "/classify_batch", "/explain"]
    assert "Name the flower in a photo" in endpoints["/classify"]["description"]
    names = [one["parameters"][0]["parameter_name"] for one in endpoints.values()]
    assert names == ["photo", "photos", "photo"]
    assert not any("http" in str(one["parameters"]) for one in endpoints.values())  # no URL


def test_ids_cannot_be_those_of_a_page_around_it(client):
    components = client.config["components"]
    ids = {one["props"].get("elem_id") for one in components} - {None}
    assert "flowers-photo" in ids
    assert [one for one in ids if not one.startswith("flowers-")] == []


def gallery_urls(client: gradio_client.Client) -> list[str]:
    shown = client.config["i18n_translations"]["en"]["flowers-examples"]
    return [f"{client.src}{path}" for path in re.findall(r'src="([^"]+)"', shown)]


def test_gallery_photos_are_served_from_links_into_the_hub_cache(client, model):
    urls = gallery_urls(client)
    photos = bundle.read_gallery(model).photos
    assert len(urls) == len(photos) == 3
    for url, photo in zip(urls, photos, strict=True):
        answer = httpx.get(url)
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.content == (model / "gallery" / photo.file).read_bytes()


def test_no_other_file_of_the_machine_is_served(client, server, model):
    folder = gallery_urls(client)[0].rpartition("/")[0]
    others = [
        f"{server}/gradio_api/file={path}"
        for path in ("/etc/passwd", ROOT / "app.py", model / "classifier.json", "app.py")
    ]
    others += [f"{folder}/..%2f..%2fetc%2fpasswd", f"{folder}/index.json", f"{folder}/"]
    assert [httpx.get(url).status_code for url in others] == [403] * len(others)


def test_a_path_that_was_not_uploaded_is_not_read(server, model):
    path = (model / "gallery/0.jpg").resolve()
    file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    join = httpx.post(f"{server}/gradio_api/call/classify", json={"data": [file]}).json()
    answer = httpx.get(f"{server}/gradio_api/call/classify/{join['event_id']}").text
    assert "event: error" in answer
    assert "confidences" not in answer
    assert str(path) not in answer


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
def test_nor_is_it_shown_on_the_page(client, server, model, meta):
    event = next(
        one["id"]
        for one in client.config["dependencies"]
        if any(name == "upload" for _, name in one["targets"])
    )
    file = {"path": str((model / "gallery/0.jpg").resolve())} | meta
    session = {"session_hash": f"forged{len(meta)}", "fn_index": event}
    httpx.post(f"{server}/gradio_api/queue/join", json={"data": [[file], None], **session})
    said = httpx.get(f"{server}/gradio_api/queue/data", params=session, timeout=30).text
    assert '"success":false' in said.replace(" ", "")
    assert "data:image" not in said


def test_the_page_loads_no_training_framework(client, room, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(encoded("JPEG"))
    send(client, tmp_path / "photo.jpg")
    log = (room / "log.txt").read_text()
    loaded = set(re.findall(r"^import time: .*\| +(\w+)", log, re.MULTILINE))
    assert {"gradio", "onnxruntime", "page"} <= loaded
    assert not {"keras", "tensorflow", "jax", "jaxlib", "torch", "train"} & loaded


def test_programs_that_import_it_find_the_page(model, monkeypatch):
    monkeypatch.setenv("FLOWERS_MODEL", str(model))
    demo = app.demo
    del app.demo  # built for this model
    assert "python train/run.py --preset tiny" in demo.frame.texts["en"]["flowers-card"]


def test_a_start_that_cannot_work_ends_with_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert app.main(["--model", "nowhere at all"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: 'nowhere at all' is neither a folder here nor a Hub repo: "
        "give a bundle's folder, USER/MODEL or USER/MODEL@REVISION\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere at all"], "'nowhere at all' is neither a folder here nor a Hub repo"),
        (["--model", "."], "is not a complete bundle"),
        (["--modle", "x"], "there is no --modle; did you mean --model"),
    ],
)
def test_what_is_no_model_is_the_persons_error(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        app.open_page(arguments)


def relabel(folder: pathlib.Path, command: str) -> None:
    """Give a bundle a card that tells it apart from others."""
    manifest = bundle.read_manifest(folder)
    manifest.provenance.command = command
    bundle.write_json(folder / bundle.MANIFEST, manifest)


@pytest.mark.slow
def test_without_a_model_named_the_newest_run_is_opened_else_the_default(tmp_path, monkeypatch):
    def card(*arguments: str) -> str:
        return app.open_page(list(arguments)).frame.texts["en"]["flowers-card"]

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWERS_MODEL", raising=False)
    assert "pink-yellow dahlia" in card()
    for run, age in (("a", 10), ("b", 0), ("c", 20)):
        folder = write_tiny_bundle(tmp_path / "runs" / run / "bundle")
        relabel(folder, f"command of run {run}")
        then = time.time() - age
        os.utime(folder / bundle.MANIFEST, (then, then))
    shown = card()
    assert "command of run b" in shown
    assert "command of run c" not in shown
    monkeypatch.setenv("FLOWERS_MODEL", "runs/c/bundle")
    assert "command of run c" in card()
    assert "command of run a" in card("--model", "runs/a/bundle")


@pytest.mark.slow
def test_uploads_and_what_was_made_of_them_are_deleted_soon(model, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setattr(page, "FORGET", (1, 3))  # as the page does, but in seconds
    with launched(page.build(FlowerClassifier.from_pretrained(model))) as url:
        client = gradio_client.Client(url, download_files=False, verbose=False)
        path = tmp_path / "photo.jpg"
        path.write_bytes(encoded("JPEG"))
        client.predict(gradio_client.handle_file(path), api_name="/explain")

        def kept() -> list[pathlib.Path]:
            return [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]

        assert len(kept()) == 2  # the photo and the picture of where the network looked
        for _ in range(100):
            if not kept():
                break
            time.sleep(0.1)
        assert kept() == []


@pytest.mark.slow
def test_proxies_ipv6_and_a_sub_path_hold_and_a_stop_leaves_no_photo_behind(model, tmp_path):
    ipv6 = socket.has_dualstack_ipv6()
    environment = os.environ | {
        "http_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "GRADIO_SERVER_NAME": "::1" if ipv6 else "127.0.0.1",
        "GRADIO_ROOT_PATH": "/flowers",
    }
    for name in ("NO_PROXY", "no_proxy"):
        environment.pop(name, None)
    command = [sys.executable, ROOT / "app.py", "--model", model]
    host = "[::1]" if ipv6 else "127.0.0.1"
    with page_process(command, environment, tmp_path, host=host) as url:
        assert httpx.get(f"{url}/config").json()["root"] == f"{url}/flowers"
        answer = httpx.post(f"{url}/classify", content=encoded("JPEG"))
        assert answer.status_code == 200
        client = gradio_client.Client(url, download_files=False, verbose=False)
        (tmp_path / "photo.jpg").write_bytes(encoded("JPEG"))
        send(client, tmp_path / "photo.jpg")
        gallery = pathlib.Path(gallery_urls(client)[0].partition("file=")[2])
        assert gallery.is_file()
    assert [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()] == []
    assert not gallery.parent.exists()
