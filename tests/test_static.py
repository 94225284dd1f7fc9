"""The page that runs in the visitor's browser alone, in headless Chromium, and how it is made."""

import base64
import contextlib
import io
import json
import pathlib
import shutil
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
import static_site
from helpers import COLOURS, measure_statistics, photo, served, write_tiny_bundle
from PIL import Image
from test_app import encoded, heic, lying

from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier
from flowers_model.statistics import write_statistics
from flowers_model.uncertainty import ClassMeanCosine
from page import words
from page.tabs import batch
from page.tabs.answer import Answer, render
from page.words import ENGLISH

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed", allow_module_level=True)

pytestmark = pytest.mark.slow

EVIL = '<img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    """A bundle with refusal, label sets, embeddings, and markup in a name."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    manifest = bundle.read_manifest(folder)
    manifest.class_names = ["blue iris", "poppy", EVIL]
    manifest.scientific_names = {"poppy": "Papaver rhoeas"}
    manifest.display_names = {"blue iris": "flag"}
    gallery = bundle.read_gallery(folder)
    gallery.photos[2].label = EVIL
    bundle.write_json(folder / "gallery/index.json", gallery)
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    classifier = FlowerClassifier.from_pretrained(folder)
    photos = [folder / "gallery" / one.file for one in gallery.photos]
    known = classifier.answer(np.stack([classifier.prepare(path) for path in photos])).embeddings
    np.save(folder / "gallery/embeddings.npy", known.astype(np.float16))
    # Of the photos in these tests, only the dark one is refused, being like none of the others.
    dark, other = (
        classifier.answer(classifier.prepare(data)[None]).embeddings
        for data in (photo((0, 0, 0), 5), encoded("PNG"))
    )
    means = np.concatenate([known, other])
    np.save(folder / "refusal.npy", means)
    [raw] = ClassMeanCosine(means).score(None, dark, 1.0)
    manifest.calibration.refusal = bundle.Refusal(
        score="distance", center=-1, threshold=raw - 1e-4, keeps=0.95, auroc={}
    )
    manifest.calibration.label_sets = bundle.LabelSets(coverage=0.9, limit=0.9)
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    write_statistics(folder, measure_statistics(classifier))
    return folder


@pytest.fixture(scope="module")
def classifier(model) -> FlowerClassifier:
    return FlowerClassifier.from_pretrained(model)


@pytest.fixture(scope="module")
def site(model, web_runtime, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERS_DATA", web_runtime)
        assert static_site.main([str(folder), "--model", str(model)]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(site) -> Iterator[str]:
    with served(site) as url:
        yield url


@contextlib.contextmanager
def opened(browser, url: str, query: str = "", **context) -> Iterator["playwright.Page"]:
    """The page on a phone: no request to another host, no failure, no script from a bundle."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, **context)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.add_init_script(
        "let answers = 0; document.addEventListener('answered', () => {"
        " document.documentElement.dataset.answers = ++answers })"
    )
    requests, faults = [], []
    context.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda answer: faults.append(answer.url) if answer.status >= 400 else None)
    page.goto(url + query)
    yield page
    assert page.evaluate("window.hacked") is None
    context.close()
    home = url.partition("#")[0]
    assert [one for one in requests if not one.startswith((home, "data:", f"blob:{home}"))] == []
    assert faults == []


@pytest.fixture(scope="module")
def page(server, browser) -> Iterator["playwright.Page"]:
    """One page, shared by the tests that restore its state."""
    with opened(browser, server) as page:
        yield page


def wait_for_service_worker(page) -> None:
    page.evaluate(
        "new Promise((done) => { const there = () => navigator.serviceWorker.controller "
        "&& done(true); there(); navigator.serviceWorker.oncontrollerchange = there })"
    )


def upload(page, *photos: bytes) -> str:
    """Give photos to the page; the text of the answer."""
    page.click("#tab-name")
    before = int(page.evaluate("document.documentElement.dataset.answers ?? 0"))
    files = [
        {"name": f"{i}", "mimeType": "image/jpeg", "buffer": data} for i, data in enumerate(photos)
    ]
    page.set_input_files("#flowers-photo .zone input", files)
    # Not `wait_for_function`: the page's security policy forbids evaluating strings.
    page.wait_for_selector(f"html[data-answers='{before + 1}']", state="attached")
    return page.inner_text("#flowers-answer").strip()


def ask(page, task: str, *photos: bytes, **values: str) -> dict | list:
    """The answer of the page's worker to a task."""
    return page.evaluate(
        """async ([task, texts, values]) => {
            window.own ??= new Worker("app/worker.js", {type: "module"});
            const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const files = texts.map((text, i) => new File([bytes(text)], `${i}.png`));
            return new Promise((resolve, reject) => {
                window.own.onmessage = ({data: {id, error, result}}) => {
                    if (error) reject(error);
                    if (id) resolve(task === "prepare" ? [...result] : task === "look"
                        ? {all: result.all, ...result.prediction, alike: result.alike} : result);
                };
                window.own.postMessage({id: 1, task, files, values});
            });
        }""",
        [task, [base64.b64encode(data).decode() for data in photos], values],
    )


def seethrough() -> bytes:
    """A photo that fades to transparent, over colours that must not show."""
    picture = Image.open(io.BytesIO(encoded("PNG"))).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


# The same answers as Python's.


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (encoded("PNG"), 0),
        (lying(), 0),
        (encoded("BMP"), 0),
        (encoded("GIF"), 0),
        (encoded("WEBP", lossless=True), 0),
        (
            encoded(
                "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x07\0\0"
            ),
            3,
        ),
        (encoded("AVIF", quality=95), 3),
        (seethrough(), 1),
    ],
    ids=["png", "lying", "bmp", "gif", "webp", "jpeg", "avif", "transparent"],
)
def test_the_network_sees_what_it_sees_in_python(page, classifier, data, tolerance):
    mine = classifier.prepare(data).reshape(-1).astype(int)
    theirs = np.array(ask(page, "prepare", data))
    assert np.abs(mine - theirs).max() <= tolerance


@pytest.mark.parametrize("size", [(33, 40), (32, 32), (641, 480), (20, 300)])
def test_photos_of_all_sizes_are_fitted_to_the_last_bit(page, classifier, size):
    noise = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert ask(page, "prepare", file.getvalue()) == list(classifier.prepare(noise).reshape(-1))


def test_an_answer_is_pythons_in_all_its_parts(page, classifier):
    for data in (encoded("PNG"), photo((0, 0, 0), 5), photo(COLOURS["poppy"], 3)):
        found = ask(page, "look", classifier_png(data))
        [expected] = classifier.classify(data)
        assert found["labels"] == expected.labels
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
        assert found["refused"] == expected.refused
        assert found["score"] == pytest.approx(expected.refusal_score, abs=1e-4)
        assert found["set"] == expected.label_set


def classifier_png(data: bytes) -> bytes:
    """The same pixels as a PNG, because JPEG decoders differ slightly."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "PNG")
    return file.getvalue()


def test_what_is_taught_is_what_python_learns(page, classifier):
    violets = [classifier_png(photo((140, 30, 200), i)) for i in range(7)]
    poppies = [classifier_png(photo((110, 20, 15), i)) for i in range(4)]
    single = [classifier_png(photo((30, 160, 60)))]
    lesson = classifier.teach({"violet": violets, "poppy": poppies, "fern": single})
    before = ask(page, "look", violets[0])
    for name, those in (("violet", violets), ("poppy", poppies), ("fern", single)):
        found = ask(page, "teach", *those, name=name)
    assert [one["name"] for one in found] == ["violet", "poppy", "fern"]
    assert [one["right"] for one in found] == [one.right for one in lesson.classes]
    for data in (*violets[:2], poppies[0], single[0], photo((0, 0, 0), 5), encoded("PNG")):
        found = ask(page, "look", classifier_png(data))
        answers = lesson.classifier.answer(lesson.classifier.prepare(classifier_png(data))[None])
        np.testing.assert_allclose(found["all"], answers.probabilities[0], atol=1e-3)
        assert found["score"] == pytest.approx(answers.refusal_scores[0], abs=1e-3)
    # Similar photos include the taught ones, whose numbers follow the gallery's three.
    assert ask(page, "look", violets[3])["alike"][0] == 3 + 3
    assert ask(page, "forget") == []
    assert ask(page, "look", violets[0]) == before


def test_a_flower_is_taught_from_its_answer_known_everywhere_and_forgotten(browser, server):
    violets = [photo((140, 30, 200), 50 + i) for i in range(4)]
    name = EVIL.replace("x ", "y ")
    with opened(browser, server) as page:
        page.wait_for_selector("html[data-ready]", state="attached")
        upload(page, violets[0])
        page.click("#flowers-answer .offer")
        files = [{"name": EVIL, "mimeType": "image/jpeg", "buffer": one} for one in violets[1:]]
        page.set_input_files("#flowers-teach input[type=file]", files)
        page.click("#flowers-teach .press")
        page.wait_for_selector("#flowers-teach .sorry:has-text('name first')")
        page.fill("#flowers-teach input[type=text]", name)
        page.click("#flowers-teach .press")
        page.wait_for_selector("#flowers-teach .said .strip figure:nth-child(4)")
        page.click("#flowers-teach .try")
        answer = page.locator("#flowers-answer")
        playwright.expect(answer.locator(".like .caption").first).to_have_text(name)
        assert name in answer.locator(".names").inner_text()
        page.click("#tab-gallery")
        page.click("#flowers-taught [data-flower]")
        playwright.expect(page.locator("#flowers-flower .photos figure")).to_have_count(4)
        page.click("#flowers-visit button")
        page.wait_for_selector("#flowers-index >> visible=true")
        assert page.locator("#flowers-taught li").count() == 0
        page.click("#tab-name")
        playwright.expect(answer.locator(".names")).not_to_contain_text(name)


def test_an_answer_says_what_gradios_page_says(page, classifier):
    data = encoded("PNG")
    said = upload(page, data)
    [prediction] = classifier.classify(data)
    numbers = {label: i for i, label in enumerate(classifier.label_names)}
    latin = {"poppy": "Papaver rhoeas"}
    html = render(Answer(prediction, [], 1.0, latin, numbers, "", 0), ENGLISH)
    parts = [".head", ".names", ".switch", ".more"]
    texts = """([html, parts]) => {
        const place = html ? new DOMParser().parseFromString(html, "text/html") : document;
        const text = (one) => place.querySelector(`.answer ${one}`).textContent;
        return parts.map((one) => text(one).replace(/\\s/g, ""));
    }"""
    assert page.evaluate(texts, [None, parts]) == page.evaluate(texts, [html, parts])
    assert f"{prediction.probabilities[0]:.0%} sure" in said
    assert "One of these, 9 times out of 10:" in said


def test_several_photos_of_one_plant_give_one_answer(page, classifier):
    photos = [classifier_png(photo(COLOURS["poppy"], 3)), encoded("PNG")]
    each = classifier.answer(np.stack([classifier.prepare(data) for data in photos]))
    [whole] = classifier.predictions(classifier.together(each), top=3)
    said = upload(page, *photos)
    assert "2 photos together" in said
    assert page.text_content("#flowers-answer h2").startswith(whole.shown(whole.labels[0]))
    assert f"{whole.probabilities[0]:.0%} sure" in said
    assert page.locator("#flowers-answer .each button").count() == 2
    page.set_input_files(
        "#flowers-photo .zone input",
        [{"name": "x", "mimeType": "image/png", "buffer": photos[0]}] * 6,
    )
    page.wait_for_selector(
        "#flowers-photo :text('These are 6 photos: choose up to 5 of one plant')"
    )


def test_where_the_network_looked_and_photos_alike_are_shown(page, model):
    upload(page, (model / "gallery/1.jpg").read_bytes())
    page.click("#flowers-answer [role=switch]")
    shown = page.locator("#flowers-answer canvas.map:not([hidden])")
    assert shown.get_attribute("data-name") == "0"
    # Some parts are light, others dark.
    shades = shown.evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, 64, 64).data].filter((_, i) => i % 4 == 3)"
    )
    assert min(shades) == 0
    assert max(shades) == 204
    assert page.locator("#flowers-answer .like .photo").first.get_attribute("data-photo") == "1"
    page.locator("#flowers-answer .like .photo").first.click()
    page.wait_for_selector("#flowers-answer .truth")
    assert page.url.endswith("#photo=1")


def test_what_does_not_look_like_a_known_flower_is_said_so(page):
    said = upload(page, photo((0, 0, 0), 5))
    assert said.startswith("This does not look like a flower I know")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "this photo is empty; a photo as JPEG"),
        (b"no photo at all", "cannot be read as a photo; a photo as JPEG, PNG, WebP, AVIF"),
        (encoded("JPEG")[:-300], "damaged or cut short; a whole photo file is needed"),
        (encoded("PNG")[:-300], "damaged or cut short; a whole photo file is needed"),
        (encoded("WEBP")[:-300], "damaged or cut short; a whole photo file is needed"),
        (heic(), "this browser cannot read HEIC photos; send it as JPEG, or open"),
        (encoded("TIFF"), "this browser cannot read TIFF photos; send it as JPEG, or open"),
    ],
    ids=["empty", "text", "jpeg", "png", "webp", "heic", "tiff"],
)
def test_what_cannot_be_read_is_said_in_a_sentence(page, data, message):
    said = upload(page, data)
    assert said.startswith("Sorry, ")
    assert message in said


# Many at once.


def test_many_photos_and_a_zip_give_the_table_that_python_gives(page, classifier):
    photos = {
        "=a.png": classifier_png(photo(COLOURS["poppy"], 1)),
        "b.png": classifier_png(photo((0, 0, 0), 5)),
        "note.txt": b"hello",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in photos.items():
            archive.writestr(name, data)
        archive.writestr("__MACOSX/._b.png", b"clutter")
        archive.writestr("@eaDir/b.png", b"clutter")
    page.click("#tab-many")
    files = [
        {"name": "c.png", "mimeType": "image/png", "buffer": encoded("PNG")},
        {"name": "d.zip", "mimeType": "application/zip", "buffer": packed.getvalue()},
    ]
    page.set_input_files("#panel-many input[type=file]", files)
    page.wait_for_selector("#flowers-many-tools:not([hidden])")
    assert page.inner_text("#flowers-many-status").startswith("3 photos named in ")
    assert "1 could not be." in page.inner_text("#flowers-many-status")
    with page.expect_download() as download:
        page.click("#flowers-many-tools button")
    mine = download.value.path().read_text("utf-8-sig").splitlines()
    rows = [
        batch.Row(name, classifier.classify(data, 1)[0])
        for name, data in (("c.png", encoded("PNG")), *photos.items())
        if name != "note.txt"
    ]
    assert mine[0] == ",".join(f'"{name}"' for name in batch.COLUMNS)
    for one, other in zip(mine[1:], map(batch.write_line, rows), strict=False):
        mine_cells, cells = one.split('","'), other.split('","')
        assert mine_cells[:2] == cells[:2]
        assert [float(mine_cells[2])] == pytest.approx([float(cells[2])], abs=1e-5)
        assert mine_cells[3] == cells[3]
        assert mine_cells[5:] == cells[5:]
    assert mine[2].startswith('"\'=a.png"')
    assert "cannot be read as a photo" in mine[4]
    page.check("#flowers-many-tools input")
    refused = sum(row.prediction.refused for row in rows)
    assert page.locator("#flowers-many-table tbody tr:visible").count() == refused > 0
    page.uncheck("#flowers-many-tools input")
    page.select_option("#flowers-many-tools select", label="surest first")
    shares = page.locator("#flowers-many-table tbody td:nth-child(3)").all_inner_texts()
    assert shares == sorted(shares, key=lambda share: -int(share.strip("<>%")))


# The page around it.


def test_each_flower_and_photo_has_an_address_and_the_way_back_leads_to_all(browser, server):
    with opened(browser, f"{server}#flower=poppy") as page:
        page.wait_for_selector("#flowers-flower h2 >> visible=true")
        assert page.text_content("#flowers-flower h2") == "poppy"
        links = [link.get_attribute("href") for link in page.locator(".elsewhere a").all()]
        assert [link for link in links if link.endswith("Papaver%20rhoeas")] == links != []
        page.click("#flowers-flower .back")
        page.wait_for_selector("#flowers-index >> visible=true")
        page.click("#flowers-index [data-flower='0']")
        page.wait_for_selector("#flowers-flower h2:text('flag')")
        assert page.url.endswith("#flower=blue%20iris")
        page.click("#flowers-flower .photo")
        page.wait_for_selector("#flowers-answer .truth")
        assert page.url.endswith("#photo=0")


def test_a_model_that_arrives_damaged_is_not_used(browser, site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    data = bytearray((copy / "model/model.onnx").read_bytes())
    data[-1] ^= 1
    (copy / "model/model.onnx").write_bytes(data)
    with served(copy) as url, opened(browser, url) as page:
        page.wait_for_selector("#loading:has-text('model/model.onnx arrived damaged')")


def test_the_tabs_are_used_by_keys(page):
    page.click("#tab-name")
    for key, tab in (("ArrowRight", "gallery"), ("End", "card"), ("ArrowRight", "name")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == f"tab-{tab}"
        assert page.locator(f"#panel-{tab}").is_visible()


def test_there_is_no_serious_hindrance_for_anyone(browser, server, axe):
    with opened(browser, server, color_scheme="dark") as page:
        assert axe(page) == []
        upload(page, encoded("PNG"), encoded("JPEG"))
        page.click("#flowers-answer [role=switch]")
        assert axe(page) == []
        for tab in ("gallery", "teach", "many", "card"):
            page.click(f"#tab-{tab}")
            assert axe(page) == []


# In the visitor's language.


@pytest.mark.parametrize(
    ("locale", "query", "language"),
    [("de-AT", "", "de"), ("fr", "?lang=zh", "zh"), ("it", "", "en")],
)
def test_after_one_visit_it_works_without_a_network_in_the_visitors_language(
    browser, site, classifier, locale, query, language
):
    say = words.IN[language]
    with served(site) as url, opened(browser, url, query=query, locale=locale) as page:
        for online in (True, False):
            page.wait_for_selector("html[data-ready]", state="attached")
            assert page.get_attribute("html", "lang") == language
            assert page.title() == say("title") == page.inner_text("h1")
            said = upload(page, photo((0, 0, 0), 5))
            assert said.startswith(say("unknown"))
            assert page.inner_text("#tab-gallery") == say("tab_gallery")
            if online:
                wait_for_service_worker(page)
                page.context.set_offline(True)
                page.reload()
        [known] = classifier.classify(encoded("PNG"))
        sure = say("sure", share=say.percent(known.probabilities[0]))
        assert sure in upload(page, encoded("PNG"))
        said = upload(page, b"")
        assert said == say("sorry", reason=say("empty", needed=say("needed", also="")))
        page.click("#tab-gallery")
        page.click("#flowers-index [data-flower='1']")
        page.wait_for_selector("#flowers-flower h2:text('poppy')")
        assert page.inner_text("#flowers-flower .back") == say("all_flowers")
        page.context.set_offline(False)


# How it is made.


def test_the_site_asks_for_no_other_place_and_lists_what_it_keeps(site):
    shell = (site / "service-worker.js").read_text("utf-8")
    listed = json.loads(shell.partition("const SHELL = ")[2].partition(";")[0])
    assert all((site / path).exists() for path in listed)
    assert not [path for path in listed if path.startswith("language/")]  # the visitor's only
    assert "{{" not in (site / "index.html").read_text("utf-8") + shell
    files = json.loads((site / "site.json").read_text("utf-8"))["files"]
    assert {"model/model.onnx", "model/refusal.npy", "runtime/ort.wasm.bin"} < set(files)


def test_a_site_takes_no_other_folders_place(model, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert static_site.main([str(tmp_path), "--model", str(model)]) == 2
    assert "holds something else than this page: give a new" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_npm_and_with_another_package_one_line_says_so(
    model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FLOWERS_DATA", str(tmp_path / "cache"))
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    command = [str(tmp_path / "site"), "--model", str(model)]
    assert static_site.main(command) == 2
    error = capsys.readouterr().err
    assert error == (
        "error: the page in the browser needs npm, to fetch onnxruntime-web: install Node.js "
        "(https://nodejs.org), which has it\n"
    )
    npm = tools / "npm"
    name = f"{static_site.RUNTIME}-{static_site.VERSION}.tgz"
    npm.write_text(f'#!/bin/sh\necho other > "$4/{name}"\n')
    npm.chmod(0o755)
    assert static_site.main(command) == 2
    assert "npm fetched another onnxruntime-web@" in capsys.readouterr().err
    npm.write_text("#!/bin/sh\necho no such host >&2\nexit 1\n")
    assert static_site.main(command) == 2
    assert "npm cannot fetch onnxruntime-web@1.30.0: no such host" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()
