"""The page as a visitor sees it, in headless Chromium."""

import html
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from helpers import COLOURS, photo, write_tiny_bundle
from test_app import encoded, heic, lying, serving

from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier
from flowers_model.uncertainty import raw_score

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed", allow_module_level=True)

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
# A bundle from a stranger: what it says must never run in a visitor's page.
EVIL = '<img src=x onerror="window.hacked=1">'
SCRIPT = "<script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    """A bundle with two photos of poppies, a figure, and markup in everything that is text."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    manifest = bundle.read_manifest(folder)
    manifest.class_names = ["blue iris", "poppy", EVIL]
    manifest.provenance.credits = f"Drawn {SCRIPT} by\n\n{SCRIPT}{EVIL}"
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    gallery = bundle.read_gallery(folder)
    gallery.photos[2].label = EVIL
    (folder / "gallery/more.jpg").write_bytes(photo(COLOURS["poppy"], 9))
    gallery.photos.append(bundle.GalleryPhoto(file="more.jpg", label="poppy"))
    bundle.write_json(folder / "gallery/index.json", gallery)
    photos = [folder / "gallery" / one.file for one in gallery.photos]
    classifier = FlowerClassifier.from_pretrained(folder)
    known = classifier.answer(np.stack([classifier.prepare(path) for path in photos]))
    np.save(folder / "gallery/embeddings.npy", known.embeddings)
    # Refused is what is like none of the photos of these tests: the dark one, and only that.
    dark, other = (
        classifier.answer(classifier.prepare(data)[None]).embeddings
        for data in (photo((0, 0, 0), 5), encoded("PNG"))
    )
    means = np.concatenate([known.embeddings, other])
    np.save(folder / "refusal.npy", means)
    [raw] = raw_score("distance", None, dark, 1.0, means)
    manifest.calibration.refusal = bundle.Refusal(
        score="distance", center=-1, threshold=raw - 1e-4, keeps=0.95, auroc={}
    )
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    (folder / "report/history.png").write_bytes(encoded("PNG"))
    (folder / "README.md").write_text(SCRIPT + EVIL, "utf-8")
    return folder


@pytest.fixture(scope="module")
def server(model, tmp_path_factory) -> Iterator[str]:
    with serving(model, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(server, browser) -> Iterator["playwright.Page"]:
    """The page, opened. Nothing may ever be asked of another host, fail, or run from a bundle."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        permissions=["camera", "clipboard-read", "clipboard-write"],
    )
    page = context.new_page()
    page.set_default_timeout(10_000)
    requests, faults = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda answer: faults.append(answer.url) if answer.status >= 400 else None)
    page.goto(server)
    page.wait_for_selector("#gallery img")
    yield page
    assert page.evaluate("window.hacked") is None
    assert page.locator(".toast-body").count() == 0
    context.close()
    strangers = [url for url in requests if not url.startswith((server, "data:", f"blob:{server}"))]
    assert strangers == []
    # gradio forgets an upload's progress as soon as the upload is over, and may be asked after.
    assert [fault for fault in faults if "upload_progress" not in fault] == []


def upload(page, name: str, data: bytes) -> None:
    file = {"name": name, "mimeType": "image/jpeg", "buffer": data}
    page.set_input_files("#photo input[type=file]", file)


def picture_size(page, selector: str) -> tuple[int, int]:
    """Width and height of a picture, once the browser has decoded it."""
    handle = page.wait_for_function(
        "s => { const i = document.querySelector(s); return i && i.naturalWidth > 0 && i }",
        arg=selector,
    )
    return handle.evaluate("i => [i.naturalWidth, i.naturalHeight]")


@pytest.mark.parametrize(
    ("name", "data"), [("lying.png", lying()), ("IMG_0001.HEIC", heic())], ids=["rotated", "heic"]
)
def test_a_photo_is_named_and_shown_upright_with_where_the_network_looked(page, model, name, data):
    upload(page, name, data)
    page.wait_for_selector("#headline h2")
    [expected] = FlowerClassifier.from_pretrained(model).classify(data)
    assert page.text_content("#headline h2") == expected.labels[0]
    assert f"{expected.probabilities[0]:.0%} sure" in page.inner_text("#headline")
    bars = page.inner_text("#bars")
    positions = [bars.index(label) for label in expected.labels]
    assert positions == sorted(positions)
    # A preview has the photo's shape, 120 x 90, also where the browser knows no such format.
    page.wait_for_function("document.querySelector('#photo img').src.endsWith('.jpeg')")
    assert picture_size(page, "#photo img") == [120, 90]
    assert picture_size(page, "#attention img") == [448, 448]


def test_maps_of_further_names_and_similar_photos_are_shown(page, model):
    data = (model / "gallery/1.jpg").read_bytes()
    upload(page, "photo.jpg", data)
    page.wait_for_selector("#headline h2")
    [expected] = FlowerClassifier.from_pretrained(model).classify(data)
    captions = page.locator("#others .caption-label")
    playwright.expect(captions).to_have_count(2)  # there are but three classes
    for caption, label in zip(captions.all_inner_texts(), expected.labels[1:], strict=True):
        assert caption.startswith(label)
    assert picture_size(page, "#others img") == [448, 448]
    playwright.expect(page.locator("#like .caption-label").first).to_have_text("poppy")
    assert picture_size(page, "#like img") == [80, 60]


def test_what_does_not_look_like_a_known_flower_is_said_so(page):
    upload(page, "dark.jpg", photo((0, 0, 0), 5))
    page.wait_for_selector("#headline h2")
    assert page.text_content("#headline h2") == "This does not look like a flower I know"
    assert page.locator("#bars").is_visible()  # the best guesses, muted
    assert float(page.locator("#bars").evaluate("e => getComputedStyle(e).opacity")) < 0.6
    upload(page, "photo.jpg", photo(COLOURS["poppy"]))
    page.wait_for_selector("#headline h2:not(.refused)")
    assert float(page.locator("#bars").evaluate("e => getComputedStyle(e).opacity")) == 1


def test_a_photo_can_be_taken_with_the_camera(page):
    page.click("[aria-label='Capture from camera']")
    page.click("text=Click to Access Webcam")
    page.wait_for_function("document.querySelector('#photo video').videoWidth > 0")
    page.click("[aria-label='capture photo']")
    page.wait_for_selector("#headline h2")
    assert picture_size(page, "#photo img")[0] > 0


def test_a_photo_can_be_pasted(page):
    page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(50, 40);
            canvas.getContext("2d").fillRect(0, 0, 25, 40);
            const blob = await canvas.convertToBlob({type: "image/png"});
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }"""
    )
    page.click("[aria-label='Paste from clipboard']")
    page.wait_for_selector("#headline h2")


def test_a_tap_in_the_gallery_shows_the_guess_beside_the_true_label(page, model):
    classifier = FlowerClassifier.from_pretrained(model)
    for number, label in ((0, "blue iris"), (1, "poppy"), (1, "poppy")):
        page.locator("#gallery button").nth(number).click()
        page.wait_for_selector("#headline h2")
        [expected] = classifier.classify(model / "gallery" / f"{number}.jpg")
        assert page.text_content("#headline h2") == expected.labels[0]
        right = "That is what the photo is labelled"
        wrong = f"The photo is labelled {label}"
        assert (right if expected.labels[0] == label else wrong) in page.inner_text("#headline")
        # On a phone the gallery lies far below; the answer comes into view.
        page.wait_for_function(
            "() => { const top = document.querySelector('#headline').getBoundingClientRect().top;"
            " return top >= 0 && top < innerHeight / 2 }"
        )
        page.click("#photo [aria-label='Clear'], #photo [aria-label='Remove Image']")
        page.wait_for_selector("#headline", state="hidden")


def test_the_gallery_shows_one_of_each_or_all_of_one(page):
    captions = page.locator("#gallery .caption-label")
    assert captions.all_inner_texts() == ["blue iris", "poppy", EVIL]
    page.fill("#chosen input", "pop")
    page.click("#chosen [role=option]:has-text('poppy')")
    playwright.expect(captions).to_have_text(["poppy", "poppy"])
    page.locator("#gallery button").nth(1).click()
    page.wait_for_selector("#headline h2")
    assert picture_size(page, "#photo img") == [48, 40]  # the second poppy


def test_a_bad_file_gets_a_sentence_and_the_next_photo_an_answer(page):
    upload(page, "notes.jpg", b"Dear diary")
    page.wait_for_selector("#headline :text('Sorry, this photo cannot be read as a photo')")
    assert not page.locator("#bars").is_visible()
    assert "Traceback" not in page.content()
    upload(page, "photo.jpg", encoded("JPEG"))
    page.wait_for_selector("#headline h2")
    assert page.locator("#bars").is_visible()
    assert "Sorry" not in page.inner_text("#headline")


def test_the_card_says_what_the_model_is_and_how_well_it_does(page):
    page.click("role=tab[name='About the model']")
    page.wait_for_selector("#card")
    card = page.inner_text("#card")
    for words in ("3 flowers", "91.2%", "4,141", "ConvNet", "python train/run.py --preset tiny"):
        assert words in card
    assert picture_size(page, ".figure img") == [120, 90]


def test_markup_in_a_bundle_is_shown_as_text(page):
    page.locator("#gallery button").nth(2).click()  # its true label is markup
    page.wait_for_selector("#headline h2")
    assert EVIL in page.inner_text("#headline")
    assert EVIL in page.inner_text("#bars")
    page.click("role=tab[name='About the model']")
    page.wait_for_selector("#card")
    assert f"Drawn {SCRIPT} by {SCRIPT}{EVIL}" in page.inner_text("#card")
    # Nothing of it has become an element; that it did not run either is checked after each test.
    assert page.locator("img[src='x']").count() == 0
    assert html.escape(SCRIPT, quote=False) in page.inner_html("#card")
