"""The static page against Python: whether their answers agree, and how long the page takes.

    python benchmarks/browser.py BUNDLE --photos FOLDER [--photos FOLDER] [--count 200]

Builds the site and serves it uncompressed, without and then with the headers that allow threads.
Headless Chromium classifies the photos: as they are, or converted to JPEG, PNG, WebP, GIF, BMP or
AVIF, some with an EXIF orientation. `FlowerClassifier` classifies the same bytes. Twenty generated
PNGs show the difference that remains when the decoders agree.
"""

import argparse
import functools
import http.server
import io
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import typing

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "spaces"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import static_site

from flowers_model.classifier import FlowerClassifier

KINDS = ("as it is", "JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
ASK = """async (url) => {
    window.own ??= new Worker("app/worker.js", {type: "module"});
    const file = await (await fetch(url)).blob();
    return new Promise((resolve) => {
        window.own.onmessage = ({data}) => {
            const {id, error, result} = data;
            if (error) resolve(error);
            else if (id) resolve({
                all: result.all, score: result.prediction.score, ms: result.milliseconds});
        };
        window.own.postMessage({id: 1, task: "look", files: [file]});
    });
}"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and counts the bytes it sends."""

    headers_too: typing.ClassVar[dict[str, str]] = {}
    sent = 0

    def end_headers(self):
        for name, value in self.headers_too.items():
            self.send_header(name, value)
        super().end_headers()

    def copyfile(self, source, outputfile):
        data = source.read()
        Handler.sent += len(data)
        outputfile.write(data)

    def log_message(self, *_):
        pass


def variants(paths: list[pathlib.Path]) -> list[tuple[str, bytes]]:
    """Kind and bytes of each photo, cycling through the kinds; some get an EXIF orientation."""
    found = []
    for number, path in enumerate(paths):
        kind = KINDS[number % len(KINDS)]
        data = path.read_bytes()
        if kind != "as it is":
            exif = Image.Exif()
            if kind in ("JPEG", "PNG", "WEBP") and number % 3 == 0:
                exif[0x0112] = number % 8 + 1
            file = io.BytesIO()
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            settings = {"quality": 90} if kind in ("JPEG", "WEBP", "AVIF") else {}
            picture.save(file, kind, **settings, **({"exif": exif} if exif else {}))
            data = file.getvalue()
        found.append((kind, data))
    return found


def drawn() -> list[tuple[str, bytes]]:
    """Twenty PNGs of various sizes: smooth colours with noise."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(20):
        height, width = random.integers(40, 900, 2)
        down, across = np.mgrid[0:height, 0:width] / 90
        pixels = 127 + 100 * np.sin(down[..., None] * random.random(3) + across[..., None])
        pixels = (pixels + random.normal(0, 12, (height, width, 3))).clip(0, 255)
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
        found.append(("drawn PNG", file.getvalue()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("--photos", type=pathlib.Path, action="append", required=True)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    classifier = FlowerClassifier.from_pretrained(options.bundle)
    paths = sorted(p for folder in options.photos for p in folder.rglob("*.jp*g"))
    paths = [paths[i * len(paths) // options.count] for i in range(options.count)]
    photos = variants(paths) + drawn()
    with tempfile.TemporaryDirectory() as room, sync_playwright() as playwright:
        site = pathlib.Path(room, "site")
        static_site.write(site, options.bundle)
        (site / "photos").mkdir()
        for number, (_, data) in enumerate(photos):
            (site / f"photos/{number}").write_bytes(data)
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=site)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox"]
        )
        for headers, threads in (({}, 1), (ISOLATED, 2)):
            Handler.headers_too, Handler.sent = headers, 0
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(url)
            page.set_input_files("#flowers-photo .zone input", paths[0])
            page.wait_for_selector("#flowers-answer h2")
            first = time.perf_counter() - started
            page.wait_for_timeout(1500)
            print(
                f"{threads} thread(s), {'' if page.evaluate('crossOriginIsolated') else 'not '}"
                f"isolated: first answer after {first:.1f} s, {Handler.sent / 1000:.0f} kB sent"
            )
            times = []
            for number in range(30):
                times.append(page.evaluate(ASK, f"photos/{number}")["ms"])
            print(f"  median {np.median(times[5:]):.0f} ms per photo")
            if threads == 1:
                compare(classifier, page, photos)
            page.close()


def compare(classifier: FlowerClassifier, page, photos: list[tuple[str, bytes]]) -> None:
    """Print how much the browser's answers differ from Python's, per kind of file."""
    rows: dict[str, list] = {}
    for number, (kind, data) in enumerate(photos):
        answers = classifier.answer(classifier.prepare(data)[None])
        theirs = page.evaluate(ASK, f"photos/{number}")
        if not isinstance(theirs, dict):
            print(f"  photo {number}, {kind}: {theirs}")
            continue
        difference = np.abs(np.array(theirs["all"]) - answers.probabilities[0]).max()
        same = np.argmax(theirs["all"]) == answers.probabilities[0].argmax()
        refused = (theirs["score"] > 1) == (answers.refusal_scores[0] > 1)
        rows.setdefault(kind, []).append((same, refused, difference))
    real = [row for kind, of in rows.items() if kind != "drawn PNG" for row in of]
    for kind, of in [*rows.items(), ("all real photos", real)]:
        same, refused, difference = (np.array(one, float) for one in zip(*of, strict=True))
        print(
            f"  {kind:16} {len(of):4}  same top-1 {same.mean():.1%}  same refusal "
            f"{refused.mean():.1%}  probability within 0.02: {(difference <= 0.02).mean():.1%}, "
            f"at most {difference.max():.1e}"
        )


if __name__ == "__main__":
    main()
