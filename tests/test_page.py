"""The page as a visitor sees it, in headless Chromium."""

import base64
import contextlib
import html
import http.server
import io
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from helpers import COLOURS, http_server, launched, photo, served, write_tiny_bundle
from PIL import Image
from test_app import encoded, heic, lying, serving

from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier
from flowers_model.uncertainty import ClassMeanCosine
from page import build, theme
from page.words import IN

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed", allow_module_level=True)

pytestmark = pytest.mark.slow

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
    manifest.scientific_names = {"poppy": "Papaver rhoeas", EVIL: SCRIPT}
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
    # Of the photos in these tests, only the dark one is refused, being like none of the others.
    dark, other = (
        classifier.answer(classifier.prepare(data)[None]).embeddings
        for data in (photo((0, 0, 0), 5), encoded("PNG"))
    )
    means = np.concatenate([known.embeddings, other])
    np.save(folder / "refusal.npy", means)
    [raw] = ClassMeanCosine(means).score(None, dark, 1.0)
    manifest.calibration.refusal = bundle.Refusal(
        score="distance", center=-1, threshold=raw - 1e-4, keeps=0.95, auroc={}
    )
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    (folder / "report/history.png").write_bytes(encoded("PNG"))
    (folder / "report/per_class.csv").write_text(
        "class,precision,recall,f1,photos,train_photos,third\n"
        "blue iris,0.9000,0.7500,0.8182,8,3,all\npoppy,1.0000,1.0000,1.0000,7,3,all\n"
    )
    (folder / "report/confusions.csv").write_text("is,taken for,photos,of\nblue iris,poppy,2,8\n")
    (folder / "README.md").write_text(SCRIPT + EVIL, "utf-8")
    return folder


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> pathlib.Path:
    """The server's folder; uploads are kept in its `uploads`."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(model, room) -> Iterator[str]:
    with serving(model, room) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def phone(browser) -> Iterator["playwright.Page"]:
    """A tab for all tests: in a new one, the browser loads and compiles Gradio's own files anew."""
    with visitor(browser) as tab:
        yield tab


@contextlib.contextmanager
def visitor(browser, **settings) -> Iterator["playwright.Page"]:
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        permissions=["camera", "clipboard-read", "clipboard-write"],
        **settings,
    )
    tab = context.new_page()
    tab.set_default_timeout(15_000)
    playwright.expect.set_options(timeout=15_000)
    tab.add_init_script(
        "window.answers = 0; document.addEventListener('answered', () => { window.answers += 1 })"
    )
    yield tab
    context.close()


@contextlib.contextmanager
def opened(page, server: str) -> Iterator["playwright.Page"]:
    """The page on a phone: no request to another host, no failure, no script from a bundle."""
    requests, faults = [], []
    listeners = {
        "request": lambda request: requests.append(request.url),
        "pageerror": lambda error: faults.append(str(error)),
        "response": lambda answer: faults.append(answer.url) if answer.status >= 400 else None,
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    try:
        page.goto(server)
        page.wait_for_selector("#flowers-examples img")
        yield page
        assert page.evaluate("window.hacked") is None
        assert page.locator(".toast-body").count() == 0
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        page.goto("about:blank")
    strangers = [url for url in requests if not url.startswith((server, "data:", f"blob:{server}"))]
    assert strangers == []
    # gradio drops an upload's progress when the upload ends, and the page may still request it.
    assert [fault for fault in faults if "upload_progress" not in fault] == []


@pytest.fixture
def page(server, phone) -> Iterator["playwright.Page"]:
    with opened(phone, server) as page:
        yield page


def answered(page, action: Callable[[], object]) -> str:
    """Do an action that asks for an answer; the text of the answer."""
    before = page.evaluate("window.answers")
    action()
    page.wait_for_function(f"window.answers > {before}")
    return page.inner_text("#flowers-answer").strip()


def upload(page, *photos: bytes) -> str:
    files = [
        {"name": f"photo{number}.jpg", "mimeType": "image/jpeg", "buffer": data}
        for number, data in enumerate(photos)
    ]
    return answered(page, lambda: page.set_input_files("#flowers-photo .zone input", files))


def picture_size(page, selector: str) -> list[int]:
    """Width and height of a picture, once the browser has decoded it."""
    handle = page.wait_for_function(
        "s => { const i = document.querySelector(s); return i && i.naturalWidth > 0 && i }",
        arg=selector,
    )
    return handle.evaluate("i => [i.naturalWidth, i.naturalHeight]")


def heading(page) -> str:
    return page.text_content("#flowers-answer h2")


@pytest.mark.parametrize("data", [lying(), heic()], ids=["rotated", "heic"])
def test_a_photo_is_named_with_calibrated_bars_and_shown_upright(page, model, data):
    said = upload(page, data)
    [expected] = FlowerClassifier.from_pretrained(model).classify(data)
    assert heading(page) == expected.labels[0]
    assert f"{expected.probabilities[0]:.0%} sure" in said
    assert re.search(r"Answered in \d+ ms", said)
    rows = page.locator("#flowers-answer .names li")
    assert rows.count() == len(expected.labels)
    for number, (label, share) in enumerate(
        zip(expected.labels, expected.probabilities, strict=True)
    ):
        assert label in rows.nth(number).inner_text()
        assert rows.nth(number).locator(".share").inner_text() == f"{share:.0%}"
    # The photo's own shape, 120 x 90, also where the browser knows no such format.
    assert picture_size(page, "#flowers-answer .whole") == [120, 90]


def test_each_name_has_a_map_of_where_the_network_looked(page):
    upload(page, encoded("PNG"))
    shown = page.locator("#flowers-answer .map:not([hidden])")
    assert shown.count() == 0
    switch = page.locator("#flowers-answer [role=switch]")
    switch.click()
    assert switch.get_attribute("aria-checked") == "true"
    assert shown.get_attribute("data-name") == "0"
    names = page.locator("#flowers-answer .names button")
    names.nth(1).click()
    assert shown.get_attribute("data-name") == "1"
    assert names.nth(1).get_attribute("aria-pressed") == "true"
    # The map lies over the square that the network saw: 0.9 of the short side, in the middle.
    photo, square = (
        page.locator("#flowers-answer .seen figure").bounding_box(),
        shown.bounding_box(),
    )
    assert square["width"] == pytest.approx(0.9 * photo["height"], rel=0.02)
    assert square["height"] == pytest.approx(0.9 * photo["height"], rel=0.02)
    assert square["x"] + square["width"] / 2 == pytest.approx(
        photo["x"] + photo["width"] / 2, abs=2
    )
    switch.click()
    assert shown.count() == 0


def test_similar_photos_are_shown_and_can_be_tapped(page, model):
    upload(page, (model / "gallery/1.jpg").read_bytes())
    like = page.locator("#flowers-answer .like .photo")
    assert like.first.inner_text() == "poppy"
    assert picture_size(page, "#flowers-answer .like img") == [80, 60]
    assert "labelled" in answered(page, like.first.click)
    top = heading(page)
    page.click("#flowers-answer .more")  # from the answer to the page of its flower
    page.wait_for_selector("#flowers-flower h2 >> visible=true")
    assert page.text_content("#flowers-flower h2") == top


def test_several_photos_of_one_plant_give_one_answer(page, model):
    photos = [photo(COLOURS["poppy"], 3), encoded("PNG"), photo(COLOURS["blue iris"], 4)]
    classifier = FlowerClassifier.from_pretrained(model)
    each = classifier.answer(np.stack([classifier.prepare(data) for data in photos]))
    [whole] = classifier.predictions(classifier.together(each), top=3)
    said = upload(page, *photos)
    assert "3 photos together" in said
    assert heading(page) == whole.labels[0]
    assert f"{whole.probabilities[0]:.0%} sure" in said
    alone = page.locator("#flowers-answer .each button")
    for number, one in enumerate(classifier.predictions(each, top=1)):
        said = f"{one.labels[0]} {one.probabilities[0]:.0%}"
        assert alone.nth(number).inner_text() == said
    assert picture_size(page, "#flowers-answer figure:not([hidden]) .whole") == [48, 40]
    alone.nth(1).click()
    assert picture_size(page, "#flowers-answer figure:not([hidden]) .whole") == [120, 90]
    # One photo after several is again answered alone.
    assert "together" not in upload(page, photos[1])
    assert page.locator("#flowers-answer .each").count() == 0


def test_more_photos_than_one_answer_takes_are_not_sent(page):
    files = [{"name": "x.jpg", "mimeType": "image/jpeg", "buffer": encoded("JPEG")}] * 6
    page.set_input_files("#flowers-photo .zone input", files)
    page.wait_for_selector(
        "#flowers-photo :text('These are 6 photos: choose up to 5 of one plant')"
    )
    assert page.evaluate("window.answers") == 0


def test_a_large_photo_is_made_smaller_before_it_travels(page, room):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2400, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=80)
    assert len(file.getvalue()) > 1.5e6
    before = set((room / "uploads").rglob("*.jpg"))
    upload(page, file.getvalue())
    sent = list(set((room / "uploads").rglob("*.jpg")) - before)
    with Image.open(sent[0]) as opened_again:
        assert opened_again.size == (1600, 1000)
    assert picture_size(page, "#flowers-answer .whole") == [800, 500]


def test_what_does_not_look_like_a_known_flower_is_said_so(page):
    upload(page, photo((0, 0, 0), 5))
    assert heading(page) == "This does not look like a flower I know"
    assert page.locator("#flowers-answer .names li").count() == 3  # the best guesses, muted
    assert page.locator("#flowers-answer [data-refused]").count() == 1
    upload(page, photo(COLOURS["poppy"]))
    assert "not look like" not in heading(page)
    assert page.locator("#flowers-answer [data-refused]").count() == 0


def test_a_photo_can_be_taken_with_the_camera(page):
    page.click("#flowers-photo .take")
    page.wait_for_function("document.querySelector('#flowers-photo video').videoWidth > 0")
    page.click("#flowers-photo .shoot >> visible=true")
    page.wait_for_selector("#flowers-answer h2")
    assert picture_size(page, "#flowers-answer .whole")[0] > 0
    assert not page.locator("#flowers-photo dialog").is_visible()


def test_a_phone_opens_its_own_camera(browser, server):
    with (
        visitor(browser, has_touch=True, is_mobile=True) as tab,
        opened(tab, server) as page,
    ):
        with page.expect_file_chooser() as choosing:
            page.tap("#flowers-photo .take")
        file = {"name": "taken.jpg", "mimeType": "image/jpeg", "buffer": encoded("JPEG")}
        answered(page, lambda: choosing.value.set_files(file))
        assert picture_size(page, "#flowers-answer .whole") == [120, 90]


def test_a_photo_can_be_pasted_by_button(page):
    page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(50, 40);
            canvas.getContext("2d").fillRect(0, 0, 25, 40);
            const blob = await canvas.convertToBlob({type: "image/png"});
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }"""
    )
    answered(page, lambda: page.click("#flowers-photo .paste"))
    assert picture_size(page, "#flowers-answer .whole") == [50, 40]


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_a_photo_can_be_pasted_and_dropped_anywhere(page, way):
    carry = """([way, text]) => {
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const items = new DataTransfer();
        items.items.add(new File([bytes], "photo.jpg", {type: "image/jpeg"}));
        const more = {bubbles: true, cancelable: true};
        document.body.dispatchEvent(way === "drop"
            ? new DragEvent("drop", {dataTransfer: items, ...more})
            : new ClipboardEvent("paste", {clipboardData: items, ...more}));
    }"""
    text = base64.b64encode(encoded("JPEG")).decode()
    answered(page, lambda: page.evaluate(carry, [way, text]))
    assert picture_size(page, "#flowers-answer .whole") == [120, 90]


def test_a_tapped_example_shows_the_guess_beside_the_true_label(page, model):
    classifier = FlowerClassifier.from_pretrained(model)
    for number, label in ((0, "blue iris"), (1, "poppy"), (1, "poppy")):
        said = answered(page, page.locator(f"#flowers-examples [data-photo='{number}']").click)
        [expected] = classifier.classify(model / "gallery" / f"{number}.jpg")
        assert heading(page) == expected.labels[0]
        right = "That is what the photo is labelled"
        wrong = f"The photo is labelled {label}"
        assert (right if expected.labels[0] == label else wrong) in said
        # On a phone the examples lie below; the answer comes into view, and has the focus.
        page.wait_for_function(
            "() => { const heading = document.querySelector('#flowers-answer h2');"
            " const {top} = heading.getBoundingClientRect(); return top >= 0 && top < innerHeight }"
        )
        assert page.evaluate("document.activeElement.matches('#flowers-answer h2')")


def test_the_gallery_is_searched_opened_and_asked(page):
    page.click("role=tab[name='Gallery']")
    cards = page.locator("#flowers-index li")
    playwright.expect(cards).to_have_count(3)
    page.locator("#flowers-index [data-flower='0']").click()
    page.wait_for_selector("#flowers-flower h2:text('blue iris')")
    flower = page.inner_text("#flowers-flower")
    assert "Of 8 test photos of it the model names 6 right, 75%" in flower
    assert "it is right in 90%" in flower
    assert page.locator("#flowers-flower .cards [data-flower='1']").inner_text().split("\n") == [
        "poppy",
        "2 photos",
    ]
    page.locator("#flowers-flower .cards [data-flower='1']").click()
    page.wait_for_selector("#flowers-flower h2:text('poppy')")
    assert "Papaver rhoeas" in page.inner_text("#flowers-flower")
    assert picture_size(page, "#flowers-flower .photos img:last-child") == [80, 60]
    said = answered(page, page.locator("#flowers-flower .photos [data-photo='3']").click)
    assert "poppy" in said
    assert "labelled" in said
    assert picture_size(page, "#flowers-answer .whole") == [48, 40]  # the second poppy
    page.click("role=tab[name='Gallery']")
    for way_back in (lambda: page.click("#flowers-flower .back"), page.go_back):
        assert page.locator("#flowers-flower").is_visible()
        way_back()
        cards.first.wait_for()
        assert not page.locator("#flowers-flower").is_visible()
        cards.first.locator("button").click()
        page.wait_for_selector("#flowers-flower h2 >> visible=true")


def test_each_flower_and_photo_has_an_address_that_can_be_sent(page, server):
    page.goto("about:blank")
    page.goto(f"{server}/#flower=poppy")
    page.wait_for_selector("#flowers-flower h2:text('poppy')")
    assert page.url.endswith("#flower=poppy")
    page.click("#flowers-flower .back")
    page.wait_for_selector("#flowers-index li")
    assert page.url == f"{server}/"
    page.goto("about:blank")
    page.goto(f"{server}/#photo=1")
    page.wait_for_selector("#flowers-answer .truth:has-text('poppy')")
    assert page.url.endswith("#photo=1")
    upload(page, encoded("PNG"))
    assert page.url == f"{server}/"


def test_the_preview_of_a_link_is_of_this_page(server):
    answer = httpx.get(server, headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    tags = dict(re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)">', answer.text))
    assert tags["og:title"] == "Which flower is this?"
    assert tags["og:description"].startswith("Show a photo and get its name, out of 3 flowers")
    assert "Gradio" not in "".join(tags.values())
    assert answer.text.count("og:image") == 1
    picture = httpx.get(tags["og:image"])
    assert picture.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "tags",
    [
        '<iframe src="{0}" style="width: 100%; height: 90vh"></iframe>',
        '<script type="module" src="{0}/gradio.js"></script><gradio-app src="{0}"></gradio-app>',
    ],
    ids=["iframe", "gradio-app"],
)
def test_it_answers_within_a_page_of_another_place(browser, server, tmp_path, tags):
    (tmp_path / "index.html").write_text(
        f'<title>Garden</title><p id="photo">Mine</p>{tags.format(server)}', "utf-8"
    )
    context = browser.new_context(viewport={"width": 390, "height": 844})
    with served(tmp_path) as garden, contextlib.closing(context):
        context.set_default_timeout(15_000)
        requests, faults = [], []
        context.on("request", lambda request: requests.append(request.url))
        outer = context.new_page()
        outer.on("pageerror", lambda error: faults.append(str(error)))
        outer.goto(f"{garden}#roses")
        page = outer.frame(url=f"{server}/") or outer.main_frame
        file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": encoded("JPEG")}
        page.set_input_files("#flowers-photo .zone input", file)
        page.wait_for_selector("#flowers-answer h2")
        assert picture_size(page, "#flowers-answer .whole") == [120, 90]
        assert picture_size(page, "#flowers-answer .like img") == [80, 60]
        assert picture_size(page, "#flowers-examples img") == [80, 60]
        page.click("#flowers-answer .more")
        page.wait_for_selector("#flowers-flower h2 >> visible=true")
        assert picture_size(page, "#flowers-flower .photos img") == [80, 60]
        page.click("#flowers-flower .back")
        page.wait_for_selector("#flowers-index li >> visible=true")
        # The page around it is left alone.
        assert (outer.title(), outer.url) == ("Garden", f"{garden}#roses")
        others = {url for url in requests if not url.startswith((server, "data:", "blob:"))}
        assert others <= {garden, f"{garden}favicon.ico"}
        assert faults == []


def test_it_answers_below_a_path_of_a_proxy(phone, model):
    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            # Other paths of the host do not belong to the page.
            path = self.path.removeprefix("/flowers") if "/flowers/" in self.path else "/none"
            url, headers = f"{target}{path}", self.headers.items()
            with httpx.stream(self.command, url, content=sent, headers=headers, timeout=30) as got:
                self.send_response(got.status_code)
                for name in {"content-type", "content-encoding"} & set(got.headers):
                    self.send_header(name, got.headers[name])
                self.end_headers()
                for part in got.iter_raw():
                    self.wfile.write(part)
                    self.wfile.flush()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    demo = build(FlowerClassifier.from_pretrained(model))
    with (
        launched(demo, root_path="/flowers", **theme.SETTINGS) as target,
        http_server(Proxy) as url,
        opened(phone, f"{url}flowers/") as page,
    ):
        upload(page, encoded("JPEG"))
        assert picture_size(page, "#flowers-answer .whole") == [120, 90]
        assert picture_size(page, "#flowers-answer .like img") == [80, 60]


@pytest.mark.parametrize(("locale", "language"), [("de-AT", "de"), ("zh-CN", "zh"), ("it", "en")])
def test_the_page_speaks_the_visitors_language(browser, server, locale, language):
    say = IN[language]
    with visitor(browser, locale=locale) as tab, opened(tab, server) as page:
        assert page.title() == say("title") == page.inner_text("h1")
        tabs = page.locator("[role=tab]").all_inner_texts()
        assert tabs == [say(f"tab_{name}") for name in ("name", "gallery", "many", "card")]
        assert upload(page, photo((0, 0, 0), 5)).startswith(say("unknown"))
        assert say("unreadable", needed="").strip() in upload(page, b"Dear diary")
        one = {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": encoded("JPEG")}
        page.set_input_files("#flowers-photo .zone input", [one] * 6)
        page.wait_for_selector(f"#flowers-photo :text('{say('too_many', count=6, most=5)}')")
        page.locator("[role=tab]").nth(1).click()
        page.click("#flowers-index [data-flower='1']")
        page.wait_for_selector("#flowers-flower h2:text('poppy')")
        assert page.inner_text("#flowers-flower .back") == say("all_flowers")


def test_a_flower_is_found_by_either_of_its_names(page):
    page.click("role=tab[name='Gallery']")
    page.wait_for_selector("#flowers-index li")
    # With few flowers the page has no search field, so this adds one; it works the same way.
    page.evaluate(
        """() => {
            const search = document.createElement("input");
            document.querySelector("#flowers-index .find").prepend(search);
        }"""
    )
    shown = page.locator("#flowers-index li:not([hidden]) button")
    page.fill("#flowers-index input", "PAPAV")
    playwright.expect(shown).to_have_count(1)
    playwright.expect(shown).to_contain_text("poppy")
    page.fill("#flowers-index input", "iris")
    playwright.expect(shown).to_contain_text("blue iris")
    page.fill("#flowers-index input", "oak")
    playwright.expect(shown).to_have_count(0)
    assert "No flower that I know is called so" in page.inner_text("#flowers-index")


def test_a_bad_file_gets_a_sentence_and_the_next_photo_an_answer(page):
    said = upload(page, b"Dear diary")
    assert said.startswith("Sorry, this photo cannot be read as a photo")
    assert page.locator("#flowers-answer .sorry").is_visible()
    assert page.locator("#flowers-answer .names").count() == 0
    assert "Traceback" not in page.content()
    assert "Sorry" not in upload(page, encoded("JPEG"))
    assert page.locator("#flowers-answer .names").count() == 1


def test_everything_can_be_reached_and_done_by_keyboard(page):
    def press_until(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"no way to {selector}")

    press_until("#flowers-photo .zone input")
    press_until("#flowers-photo .take")
    press_until("#flowers-examples [data-photo='1']")
    assert "labelled" in answered(page, lambda: page.keyboard.press("Enter"))
    press_until("#flowers-answer [role=switch]")
    page.keyboard.press("Space")
    assert page.locator("#flowers-answer .map:not([hidden])").count() == 1
    press_until("#flowers-answer .names li:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.locator("#flowers-answer .map:not([hidden])").get_attribute("data-name") == "1"


def test_the_card_says_what_the_model_is_and_how_well_it_does(page):
    page.click("role=tab[name='About the model']")
    page.wait_for_selector("#flowers-card")
    card = page.inner_text("#flowers-card")
    for words in ("3 flowers", "91.2%", "4,141", "ConvNet", "python train/run.py --preset tiny"):
        assert words in card
    assert picture_size(page, ".figure img") == [120, 90]


def test_the_card_shows_how_to_call_this_very_page(page, server):
    page.get_by_role("tab", name="About the model").click()
    shown = page.locator(".snippet")
    for number, line in enumerate(
        (f'Client("{server}")', f"@photo.jpg {server}/classify", f'fetch("{server}/classify"')
    ):
        playwright.expect(shown.nth(number)).to_contain_text(line)


def test_markup_in_a_bundle_is_shown_as_text(page):
    # Its true label is markup, and so is the scientific name of one of its classes.
    said = answered(page, page.locator("#flowers-examples [data-photo='2']").click)
    assert EVIL in said
    assert SCRIPT in said
    page.click("role=tab[name='Gallery']")
    page.locator("#flowers-index [data-flower='2']").click()
    page.wait_for_selector("#flowers-flower h2")
    assert EVIL in page.inner_text("#flowers-flower")
    page.click("role=tab[name='About the model']")
    page.wait_for_selector("#flowers-card")
    assert f"Drawn {SCRIPT} by {SCRIPT}{EVIL}" in page.inner_text("#flowers-card")
    # None of it has become an element; `opened` checks after each test that it did not run either.
    assert page.locator("img[src='x']").count() == 0
    assert html.escape(SCRIPT, quote=False) in page.inner_html("#flowers-card")


def test_there_is_no_serious_hindrance_for_anyone(browser, server, axe):
    with visitor(browser, color_scheme="dark") as tab, opened(tab, server) as page:
        assert axe(page) == []
        upload(page, b"Dear diary")
        assert axe(page) == []
        upload(page, encoded("PNG"), encoded("JPEG"))
        page.click("#flowers-answer [role=switch]")
        assert axe(page) == []
        page.click("role=tab[name='Many at once']")
        file = {"name": "one.jpg", "mimeType": "image/jpeg", "buffer": encoded("JPEG")}
        page.set_input_files("#flowers-many-files input[type=file]", file)
        page.wait_for_selector("#flowers-many-tools button >> visible=true")
        assert axe(page) == []
        page.click("role=tab[name='About the model']")
        page.wait_for_selector("#flowers-card")
        assert axe(page) == []
        page.click("role=tab[name='Gallery']")
        page.wait_for_selector("#flowers-index li")
        assert axe(page) == []
        page.locator("#flowers-index [data-flower='1']").click()
        page.wait_for_selector("#flowers-flower h2")
        assert axe(page) == []
