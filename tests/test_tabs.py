"""Many photos at once, models side by side, and what visitors let the page keep, in Chromium."""

import csv
import io
import json
import mimetypes
import os
import pathlib
import sys
import time
import uuid
import zipfile
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from helpers import COLOURS, launched, page_process, photo, use_hub, write_tiny_bundle
from hub_server import HubServer
from PIL import Image
from test_app import ROOT, encoded, lying
from test_page import CHROMIUM, FLAGS, playwright

import app
import page as page_package
from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier
from flowers_model.errors import UserError
from page import theme
from page.tabs import compare
from train.sources import open_source

pytestmark = pytest.mark.slow
EVIL = '<img src=x onerror="window.hacked=1">${window.hacked=1}{{window.hacked}}.jpg'


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[pathlib.Path]:
    """Two bundles with the same classes in different order, and one with other classes."""
    room = tmp_path_factory.mktemp("models")
    folders = [write_tiny_bundle(room / name) for name in ("first", "second", "third")]
    second, third = map(bundle.read_manifest, folders[1:])
    second.class_names = second.class_names[::-1]
    second.calibration.temperature = 0.5
    third.class_names = ["rose", "poppy", "tulip"]
    for folder, manifest in zip(folders[1:], (second, third), strict=True):
        bundle.write_json(folder / bundle.MANIFEST, manifest)
        gallery = bundle.read_gallery(folder)
        for one in gallery.photos:
            one.label = "poppy"
        bundle.write_json(folder / "gallery/index.json", gallery)
    return folders


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("room")


@pytest.fixture(scope="module")
def server(models, room) -> Iterator[str]:
    named = [part for model in models[:2] for part in ("--model", str(model))]
    more = ["--requests-a-minute", "0", "--feedback", str(room / "kept")]
    with launched(app.open_page([*named, *more]), **theme.SETTINGS) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def desktop(browser) -> "playwright.Page":
    """A tab for all tests: in a new one, the browser loads and compiles Gradio's own files anew."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(15_000)
    playwright.expect.set_options(timeout=15_000)
    return tab


@pytest.fixture
def page(server, desktop) -> Iterator["playwright.Page"]:
    page, faults = desktop, []

    def note(error) -> None:
        faults.append(str(error))

    page.on("pageerror", note)
    page.goto(server)
    page.wait_for_selector("role=tab[name='Many at once']")
    yield page
    page.remove_listener("pageerror", note)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0
    page.goto("about:blank")
    assert faults == []


def upload(page, place: str, *files: tuple[str, bytes]) -> None:
    sent = [
        {"name": name, "mimeType": mimetypes.guess_type(name)[0], "buffer": data}
        for name, data in files
    ]
    page.set_input_files(f"{place} input[type=file] >> nth=0", sent)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def call(server: str, api_name: str, *data) -> dict:
    """The answer when an outside program calls an internal function of the page."""
    functions = httpx.get(f"{server}/config").json()["dependencies"]
    [number] = [one["id"] for one in functions if one["api_name"] == api_name]
    session = uuid.uuid4().hex
    asked = {"data": list(data), "fn_index": number, "session_hash": session}
    httpx.post(f"{server}/gradio_api/queue/join", json=asked).raise_for_status()
    address = f"{server}/gradio_api/queue/data?session_hash={session}"
    with httpx.stream("GET", address, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                said = json.loads(line[5:])
                if said["msg"] == "process_completed":
                    return said
    raise AssertionError("the page did not answer")


def sent(server: str, data: bytes) -> dict:
    """Upload a photo; the reference to it that the page passes on."""
    answer = httpx.post(f"{server}/gradio_api/upload", files={"files": ("photo.jpg", data)})
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


# Many at once


def open_many(page) -> None:
    page.click("role=tab[name='Many at once']")
    page.wait_for_selector("#flowers-many-files input[type=file]", state="attached")


def test_a_zip_of_photos_becomes_a_table_and_a_csv(page, models):
    open_many(page)
    data = {"in/poppy.jpg": photo(COLOURS["poppy"]), EVIL: encoded("JPEG"), "lying.png": lying()}
    files = {**data, "notes.txt": b"Dear diary", "=1+1.jpg": data["in/poppy.jpg"]}
    upload(page, "#flowers-many-files", ("garden.zip", zipped(files)))
    said = page.locator("#flowers-many-status [role=status]")
    playwright.expect(said).to_contain_text("4 photos named in ")
    playwright.expect(said).to_contain_text("1 could not be.")
    rows = page.locator("#flowers-many-table tbody tr")
    assert rows.locator("td:first-child").all_inner_texts() == list(files)
    expected = FlowerClassifier.from_pretrained(models[0]).classify(list(data.values()))
    for number, prediction in enumerate(expected):
        cells = rows.nth(number).locator("td").all_inner_texts()
        assert cells[1:3] == [prediction.labels[0], f"{prediction.probabilities[0]:.0%}"]
        size = rows.nth(number).locator("img").evaluate("i => [i.naturalWidth, i.naturalHeight]")
        assert size == [112, 112]
    assert "Sorry, this photo cannot be read as a photo" in rows.nth(3).inner_text()
    assert not page.locator("#flowers-many-stop").is_visible()

    with page.expect_download() as download:
        page.click("#flowers-many-tools .tools button")
    assert download.value.suggested_filename == "flowers.csv"
    text = pathlib.Path(download.value.path()).read_text("utf-8-sig")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["photo"] for line in lines] == [*list(files)[:4], "'=1+1.jpg"]
    for line, prediction in zip(lines, expected, strict=False):
        assert line["guess"] == prediction.labels[0]
        assert float(line["probability"]) == pytest.approx(prediction.probabilities[0], abs=1e-6)
    assert lines[3]["guess"] == ""
    assert "cannot be read as a photo" in lines[3]["error"]

    page.select_option("#flowers-many-tools select", label="surest first")
    shares = rows.locator("td:nth-child(3)").all_inner_texts()
    assert shares == sorted(shares, key=lambda share: -int(share.strip("<>%")))
    assert "Sorry" in rows.last.inner_text()
    page.select_option("#flowers-many-tools select", label="as chosen")
    assert rows.locator("td:first-child").all_inner_texts() == list(files)
    page.check("#flowers-many-tools input")
    shown = page.locator("#flowers-many-table tbody tr:visible")
    assert shown.count() == sum(prediction.refused for prediction in expected)


def test_single_photos_are_taken_too_and_no_more_than_fifty(page):
    open_many(page)
    upload(page, "#flowers-many-files", *((f"{i}.jpg", photo((9, 9, 9), i)) for i in range(52)))
    said = page.locator("#flowers-many-status [role=status]")
    playwright.expect(said).to_contain_text("50 photos named")
    playwright.expect(said).to_contain_text("2 more left out: at most 50 at a time are read.")
    assert page.locator("#flowers-many-table tbody tr").count() == 50


def test_it_can_be_stopped_and_begun_again(page):
    open_many(page)
    file = io.BytesIO()
    Image.new("RGB", (4000, 4000), COLOURS["poppy"]).save(file, "JPEG")
    files = {f"{i}.jpg": file.getvalue() for i in range(50)}
    upload(page, "#flowers-many-files", ("large.zip", zipped(files, zipfile.ZIP_DEFLATED)))
    rows = page.locator("#flowers-many-table tbody tr")
    playwright.expect(rows.first).to_be_visible()
    bar = page.locator("#flowers-many-status progress")
    assert bar.get_attribute("max") == "50"
    page.click("#flowers-many-stop")
    said = page.locator("#flowers-many-status [role=status]")
    playwright.expect(said).to_have_text("Stopped.")
    page.wait_for_timeout(1000)  # the photo in progress would show by now
    count = rows.count()
    assert 0 < count < 50
    playwright.expect(page.locator("#flowers-many-tools .tools button")).to_be_visible()
    page.wait_for_timeout(500)
    assert rows.count() == count
    page.locator("#flowers-many-files [aria-label='Clear']").click()
    playwright.expect(rows).to_have_count(0)
    upload(page, "#flowers-many-files", ("photo.jpg", photo(COLOURS["poppy"])))
    playwright.expect(said).to_contain_text("1 photo named")


def test_photos_and_thumbnails_are_deleted_soon(models, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setattr(page_package, "FORGET", (1, 3))  # as the page does, but in seconds
    with launched(app.open_page(["--model", str(models[0])])) as server:
        said = call(server, "many", [sent(server, photo(COLOURS["poppy"]))], None)
        assert "1 photo named" in str(said)

        def kept() -> list[pathlib.Path]:
            return [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]

        assert len(kept()) == 2  # the photo and its thumbnail
        for _ in range(100):
            if not kept():
                break
            time.sleep(0.1)
        assert kept() == []


def test_files_that_were_not_uploaded_are_not_read(server, models):
    path = models[0] / "gallery/0.jpg"
    for forged in ([{"path": str(path), "meta": {"_type": "gradio.FileData"}}], str(path), 7):
        said = call(server, "many", forged, None)
        assert not said["success"]
        assert str(path) not in json.dumps(said)


# Models side by side


def test_two_models_are_shown_side_by_side_and_all_averaged(page, models):
    page.click("role=tab[name='Compare models']")
    data = lying()
    upload(page, "#flowers-compared", ("photo.png", data))
    first, second = map(FlowerClassifier.from_pretrained, models[:2])
    sides = [page.locator(f"#flowers-model-{number}") for number in range(2)]
    for side, model, name in zip(sides, (first, second), ("first", "second"), strict=True):
        [expected] = model.classify(data)
        playwright.expect(side.locator("h2")).to_have_text(expected.labels[0])
        playwright.expect(side.locator("li")).to_have_text(
            [f"{n}{p:.0%}" for n, p in zip(expected.labels, expected.probabilities, strict=True)]
        )
        assert side.locator("input").input_value() == name
    sides[1].locator("input").click()
    page.click(f"#flowers-model-1 [role=option]:has-text('{compare.AVERAGED}')")
    shares = [
        dict(zip(one.labels, one.probabilities, strict=True))
        for one in (first.classify(data)[0], second.classify(data)[0])
    ]
    mean = {name: (shares[0][name] + shares[1][name]) / 2 for name in shares[0]}
    best = max(mean, key=mean.get)
    playwright.expect(sides[1].locator("h2")).to_have_text(best)
    playwright.expect(sides[1].locator("li").first).to_have_text(f"{best}{mean[best]:.0%}")
    assert "91.2%" in page.inner_text("#flowers-measured")
    upload(page, "#flowers-compared", ("notes.jpg", b"Dear diary"))
    playwright.expect(sides[0]).to_contain_text("Sorry, this photo cannot be read as a photo")


def test_a_model_that_is_not_on_the_list_is_refused(server, models):
    for name in (str(models[2]), "third", "ada/flowers", ["first"], None):
        said = call(server, "choose_model_0", None, name)
        assert said["output"]["error"] == "Sorry, this model is not on the list."
        said = call(server, "compare", sent(server, encoded("JPEG")), "first", name)
        assert said["output"]["error"] == "Sorry, this model is not on the list."


def test_models_of_other_classes_are_compared_but_not_averaged(models):
    opened = compare.open_models([models[0], models[2]])
    pixels = np.full((40, 40, 3), 90, np.uint8)
    assert list(compare.answer_all(opened, pixels)) == ["first", "third"]


def test_models_are_called_by_what_their_owner_need_not_hide(models, tmp_path):
    folder = write_tiny_bundle(tmp_path / "runs/night/bundle")
    assert list(compare.open_models([models[0], folder, models[0]])) == [
        *("first", "night", "first #2")
    ]


def test_the_list_comes_from_the_environment_or_the_spaces_file(models, tmp_path, monkeypatch):
    def names(*arguments: str) -> list[str]:
        components = app.open_page(arguments).get_config_file()["components"]
        menu = next(one for one in components if one["type"] == "dropdown")
        return [name for name, _ in menu["props"]["choices"] if name != compare.AVERAGED]

    monkeypatch.setenv("FLOWERS_MODEL", f"{models[0]}, {models[2]}")
    assert names() == ["first", "third"]
    assert names("--model", str(models[1]), "--model", str(models[0])) == ["second", "first"]
    monkeypatch.delenv("FLOWERS_MODEL")
    monkeypatch.setattr(app, "MODEL_FILE", tmp_path / "model.txt")
    app.MODEL_FILE.write_text(f"{models[2]}\n\n{models[1]}\n", "utf-8")
    assert names() == ["third", "second"]


def test_a_model_that_cannot_be_opened_is_named(models, tmp_path):
    with pytest.raises(UserError, match="'nowhere at all' is neither a folder here nor a Hub repo"):
        app.open_page(["--model", str(models[0]), "--model", "nowhere at all"])
    broken = write_tiny_bundle(tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match=r"^model\.onnx cannot be opened: .*broken") as caught:
        app.open_page(["--model", str(models[0]), "--model", str(broken)])
    assert "\n" not in str(caught.value)


# Wrong?


def name_photos(page, *photos: tuple[str, bytes]) -> None:
    """Send photos in the first tab, and wait until they are answered."""
    upload(page, "#flowers-photo", *photos)
    playwright.expect(page.locator("#flowers-photo [data-busy]")).to_have_count(0)
    page.wait_for_selector("#flowers-wrong")


def say_the_name(page, name: str) -> None:
    if not page.locator("#flowers-right input").is_visible():
        page.click("#flowers-wrong button.label-wrap")
    page.fill("#flowers-right input", name)
    page.click(f"#flowers-right [role=option]:has-text('{name}')")
    page.click("#flowers-keep")


def test_what_visitors_say_becomes_photos_to_train_on(page, room):
    """From a visitor's click to the source that a training opens."""
    said = page.locator("#flowers-kept")
    assert not page.locator("#flowers-wrong").is_visible()
    for name, colour in COLOURS.items():
        for i in range(2):
            name_photos(page, (f"{name} {i}.jpg", photo(colour, 100 + i)))
            playwright.expect(said.locator("p")).to_have_count(0)
            say_the_name(page, name)
            playwright.expect(said).to_have_text(f"Thank you! Kept as {name}: 1 photo.")
    two = [(f"{i}.jpg", photo(COLOURS["poppy"], 200 + i)) for i in range(2)]
    name_photos(page, *two)
    playwright.expect(said.locator("p")).to_have_count(0)
    page.click("#flowers-keep")
    playwright.expect(said).to_have_text("Sorry, choose the right name first.")
    say_the_name(page, "poppy")
    playwright.expect(said).to_have_text("Thank you! Kept as poppy: 2 photos.")
    assert "Nothing else here is kept." in page.inner_text("#flowers-wrong")
    assert "Only “Keep it under this name”" in page.inner_text("#flowers-name .note")
    for name in ("blue iris", "sunflower"):  # a folder needs three of each to be split
        name_photos(page, ("last.jpg", photo(COLOURS[name], 300)))
        playwright.expect(said.locator("p")).to_have_count(0)
        say_the_name(page, name)
        playwright.expect(said).to_contain_text("Thank you!")
    for kind in ("folder", "hub"):
        source = open_source(f"{kind}:{room / 'kept'}", 0)
        assert source.class_names == tuple(COLOURS)
        assert sum(map(len, source.splits.values())) == 10
        for split in source.splits.values():
            for i, label in enumerate(split.labels):
                with Image.open(io.BytesIO(split.read(i))) as kept:
                    assert kept.format == "JPEG"
                    mean = np.asarray(kept).mean(axis=(0, 1))
                assert np.abs(mean - COLOURS[source.class_names[label]]).max() < 12


def test_a_photo_of_the_gallery_is_not_asked_about(page, server):
    name_photos(page, ("photo.jpg", photo(COLOURS["poppy"])))
    page.locator("#flowers-examples button").first.click()
    page.wait_for_selector("#flowers-wrong", state="hidden")
    assert "there is no photo of yours here" in str(call(server, "keep", None, "poppy"))


def test_only_the_pages_own_names_are_kept(server, room):
    before = sorted((room / "kept").rglob("*"))
    for name in ("rose", "../poppy", "/tmp", ["poppy"], None, 7):
        said = call(server, "keep", [sent(server, encoded("JPEG"))], name)
        assert said["success"]
        assert "Sorry, " in said["output"]["data"][0]
    said = call(server, "keep", [sent(server, b"Dear diary")], "poppy")
    assert "cannot be read as a photo" in said["output"]["data"][0]
    assert sorted((room / "kept").rglob("*")) == before


def test_without_the_owners_wish_nothing_can_be_kept(models, monkeypatch):
    monkeypatch.delenv("FLOWERS_FEEDBACK", raising=False)
    config = app.open_page(["--model", str(models[0])]).get_config_file()
    assert "Keep it under" not in str(config)
    assert "keep" not in [one["api_name"] for one in config["dependencies"]]
    assert "Compare models" not in str(config)  # nor is there anything to compare


def test_a_page_that_is_stopped_sends_what_is_kept_to_the_dataset_repo(
    models, repo_id, tmp_path, monkeypatch
):
    with HubServer() as hub:
        hub.add_token("hf_ada", "ada", write=True)
        use_hub(hub, monkeypatch, "hf_ada")
        monkeypatch.setenv("FLOWERS_FEEDBACK", repo_id)
        command = [sys.executable, ROOT / "app.py", "--model", str(models[0])]
        command += ["--requests-a-minute", "0"]
        with page_process(command, dict(os.environ), tmp_path) as server:
            for name, colour in COLOURS.items():
                for i in range(3):
                    said = call(server, "keep", [sent(server, photo(colour, i))], name)
                    assert "Thank you" in said["output"]["data"][0]
        source = open_source(f"hub:{repo_id}", 0)
    assert source.class_names == tuple(COLOURS)
    assert sum(map(len, source.splits.values())) == 9
