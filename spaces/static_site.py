"""Write the page that runs entirely in the visitor's browser: `python spaces/static_site.py DIR`.

The folder can be served by any web host, or by `python -m http.server`. It has the files of
`spaces/static/`, a bundle, and the runtime, onnxruntime-web, which npm downloads. The texts, the
style and everything that does not depend on a photo come from `page/`, as HTML.

    index.html  site.json   the page, in English; data for its scripts
    language/               in each language: the texts, and a page for each flower
    service-worker.js       makes the page work without a connection
    app/                    scripts and styles
    runtime/                onnxruntime-web; its WebAssembly is sent compressed
    model/                  model.onnx, classifier.json, refusal.npy, gallery/ and the report's
                            figures; for teaching, statistics.npz and head.npz, the last layer
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence

# `python spaces/static_site.py` puts spaces/ on the path; imports need the project's root.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import numpy as np

from flowers_model import hub
from flowers_model.bundle import STATISTICS
from flowers_model.classifier import DEFAULT, FlowerClassifier
from flowers_model.command import MODEL_HELP, Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import cache_folder, replacing
from flowers_model.grow import read_head
from flowers_model.installation import spoken
from flowers_model.storage import narrowed
from page import html, theme
from page.examples import Examples
from page.tabs import about, batch, intake
from page.tabs.gallery import Flowers
from page.verdict import promise
from page.visit import FEWEST, FLOWERS, LONGEST, MOST, can_be_taught
from page.words import ENGLISH, IN, LANGUAGES, Words

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
FORMER = {"flowers.json"}  # of earlier versions
FILES = {"LICENSE", "index.html", "service-worker.js", "site.json", "thumbnail.png"}
FOLDERS = {"app", "language", "model", "runtime"}

RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
# As `npm view onnxruntime-web@1.30.0 dist.integrity` tells.
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
SCRIPTS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs")
WASM = "ort-wasm-simd-threaded.wasm"


class Photos(Examples):
    """The photos of a gallery, copied into the site."""

    def __init__(self, classifier: FlowerClassifier, site: pathlib.Path):
        self._room = site / "model/gallery"
        super().__init__(classifier.folder, classifier.manifest.display_names)

    def _open_room(self) -> pathlib.Path:
        self._room.mkdir(parents=True)
        return self._room

    def url(self, number: int) -> str:
        return f"model/gallery/{number}.jpg"


def write(folder: pathlib.Path, model: str | os.PathLike, address: str = "") -> None:
    """Write the site of a bundle into a new folder.

    Args:
        model: as `FlowerClassifier.from_pretrained` takes it.
        address: where it will be, `https://…/`, for previews of its links.

    Raises:
        UserError: for a model that cannot be opened, and where the runtime cannot be had.
    """
    classifier = FlowerClassifier.from_pretrained(model)
    shutil.copytree(HERE / "static", folder, ignore=shutil.ignore_patterns("README.md"))
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    shutil.copyfile(ROOT / "docs/page.png", folder / "thumbnail.png")
    _write_runtime(folder / "runtime")
    checked = ["runtime/ort.wasm.bin", *_write_model(classifier.folder, folder)]

    photos = Photos(classifier, folder)
    if (embeddings := classifier.folder / "gallery/embeddings.npy").is_file():
        shutil.copyfile(embeddings, folder / "model/gallery/embeddings.npy")
        checked.append("model/gallery/embeddings.npy")
    teachable = can_be_taught(classifier)
    if teachable:
        checked += _write_teaching(classifier.folder, folder / "model")
    flowers = Flowers(classifier, photos)
    names = classifier.label_names
    sets = classifier.manifest.calibration.label_sets
    site = {
        "coverage": promise(sets.coverage) if sets else None,
        "similar": html.SIMILAR,
        "listed": html.LISTED,
        "flowers": names,
        "teaching": {"fewest": FEWEST, "most": MOST, "flowers": FLOWERS, "longest": LONGEST}
        if teachable
        else None,
        "scientific_names": classifier.manifest.scientific_names,
        "display_names": classifier.manifest.display_names,
        "photos": [
            {"url": photos.url(i), "label": label, "credit": photos.taken(i)}
            for i, label in enumerate(photos.labels)
        ],
        "files": {path: _checks(folder / path) for path in checked},
    }
    _write_json(folder / "site.json", site)

    (folder / "app/theme.css").write_text(_theme(), "utf-8", newline="\n")
    shutil.copyfile(ROOT / "page/style.css", folder / "app/style.css")
    for name in ("intake", "answer", "gallery", "many"):
        _write_script(ROOT / "page/tabs" / f"{name}.js", folder / "app/page" / f"{name}.js")
    _fill(folder / "app/language.js", {"languages": json.dumps(LANGUAGES)})
    template = (folder / "index.html").read_text("utf-8")
    for language, say in IN.items():
        parts = _parts(classifier, photos, flowers, say) | {"address": address}
        parts |= _teaching(model, say) if teachable else {"teach_tab": "", "teach_panel": ""}
        pages = [flowers.page(i, say) for i in range(len(names))]
        _write_language(folder, language, say, _filled(template, parts), pages)
    _write_service_worker(folder)


def _write_language(
    folder: pathlib.Path, language: str, say: Words, whole: str, pages: list[str]
) -> None:
    """Write what the site shows in one language: the HTML of the page, and of each flower."""
    room = folder / "language" / language
    room.mkdir(parents=True)
    page = {"words": say.table}
    if say is ENGLISH:
        (folder / "index.html").write_text(whole, "utf-8", newline="\n")
    else:
        main = whole.partition('<main class="main fillable">')[2]
        page["main"] = main.partition("</main>")[0]
    _write_json(room / "page.json", page)
    _write_json(room / "flowers.json", pages)


def _write_service_worker(folder: pathlib.Path) -> None:
    """Fill in the files that the service worker keeps, and a version that follows from them."""
    shell = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in (".html", ".js", ".mjs", ".css", ".json", ".svg")
        and not any(path.is_relative_to(folder / name) for name in ("language", "model"))
        and path.name != "service-worker.js"
    )
    kept = [folder / path for path in shell] + sorted((folder / "language").rglob("*.json"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in kept)).hexdigest()
    version = f"flowers-page-{digest[:16]}"
    _fill(folder / "service-worker.js", {"version": version, "shell": json.dumps(["./", *shell])})


def _parts(
    classifier: FlowerClassifier, photos: Photos, flowers: Flowers, say: Words
) -> dict[str, str]:
    """The parts of the page in one language, by their names in index.html."""
    count = len(classifier.label_names)
    some = photos.some(say)
    return say.table | {
        "introduction": say("introduction", count=count),
        "caution": say("caution", count=count),
        "intake": intake.write(say),
        "examples": f'<div id="flowers-examples">{some}</div>' if some else "",
        "flowers": flowers.index(say),
        "many_tools": batch.tools(say),
        "many_head": batch.head(say),
        "card": about.describe(classifier, say) + _figures(classifier.folder, say),
    }


def _teaching(model: str | os.PathLike, say: Words) -> dict[str, str]:
    """The parts of the tab for teaching, by their names in index.html."""
    repo = model if hub.is_repo_id(str(model)) else "USER/MODEL"
    named = "" if model == DEFAULT else f" --model {repo}"
    numbers = {"fewest": FEWEST, "most": MOST}
    command = f"{spoken('teach')}{named} --data folder:PHOTOS --output BUNDLE"
    how = say("teach_how", command=f"<code>{html.escape(command)}</code>")
    tab = (
        '<button type="button" role="tab" id="tab-teach" aria-controls="panel-teach" '
        f'aria-selected="false" tabindex="-1">{say("tab_teach")}</button>'
    )
    panel = f"""<section role="tabpanel" id="panel-teach" aria-labelledby="tab-teach" hidden>
<div id="flowers-teach">
    <p>{say("teach_introduction", **numbers)}</p>
    <label>{say("teach_name")} <input type="text" maxlength="{LONGEST}" autocomplete="off"></label>
    <label class="zone"><input type="file" accept="image/*,.avif" multiple>
        <strong>{say("teach_photos", **numbers)}</strong></label>
    <div class="strip"></div>
    <button type="button" class="press">{say("teach_press")}</button>
    <div class="said"></div>
    <div class="after" hidden><button type="button" class="try">{say("teach_try")}</button>
        <p class="aside">{how}</p></div>
</div>
</section>
"""
    return {"teach_tab": tab, "teach_panel": panel}


def replace(folder: pathlib.Path, model: str | os.PathLike) -> None:
    """Write the site of a bundle, or replace an earlier one.

    Raises:
        UserError: as `write`, where something else is in its place, and where it cannot be written.
    """
    try:
        held = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if held and ("site.json" not in held or held - FILES - FOLDERS - FORMER):
            raise UserError(
                f"{str(folder)!r} holds something else than this page: "
                "give a new or an empty folder"
            )
        with replacing(folder.resolve()) as temporary:
            write(temporary, model)
    except OSError as error:
        raise UserError(f"cannot write {str(folder)!r}: {error.strerror or error}") from error


def _write_model(bundle: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Copy the served files of a bundle without its gallery; returns those the page must check."""
    names = ["classifier.json", "model.onnx", "refusal.npy"]
    names = [name for name in names if (bundle / name).is_file()]
    figures = [f"report/{name}.png" for name in about.FIGURES]
    (folder / "model/report").mkdir(parents=True)
    for name in [*names, *(name for name in figures if (bundle / name).is_file())]:
        shutil.copyfile(bundle / name, folder / "model" / name)
    return [f"model/{name}" for name in names]


def _write_teaching(bundle: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Write the files that teaching needs; returns those that the page must check."""
    shutil.copyfile(bundle / STATISTICS, folder / STATISTICS)
    head = read_head(bundle)
    kernel = narrowed(head.kernel)
    narrow = np.array([kernel.dtype == np.float16], np.int32)  # taught columns then are, too
    np.savez_compressed(folder / "head.npz", kernel=kernel, bias=head.bias, narrow=narrow)
    return [f"model/{STATISTICS}", "model/head.npz"]


def _figures(bundle: pathlib.Path, say: Words) -> str:
    titles = {name: say(f"figure_{name}") for name in about.FIGURES}
    return "".join(
        f'<h3>{title}</h3><img class="figure" src="model/report/{name}.png" alt="{title}" '
        'loading="lazy">'
        for name, title in titles.items()
        if (bundle / f"report/{name}.png").is_file()
    )


def _write_script(source: pathlib.Path, target: pathlib.Path) -> None:
    """Make a module of a script of gradio's page, which runs as the body of such a function."""
    target.parent.mkdir(exist_ok=True)
    body = source.read_text("utf-8")
    head = "export default (element, trigger, props, upload) => {\n"
    target.write_text(f"{head}{body}}};\n", "utf-8", newline="\n")


def _theme() -> str:
    """The colours of gradio's page, as the style sheet calls them."""
    names = [
        *("body_background_fill", "body_text_color", "body_text_color_subdued", "link_text_color"),
        *("background_fill_primary", "border_color_primary", "color_accent", "primary_600"),
        *("radius_lg", "radius_md"),
    ]

    def rule(selector: str, ending: str) -> str:
        values = {name: getattr(theme.THEME, name + ending, None) for name in names}
        lines = "".join(
            f"    --{name.replace('_', '-')}: {value};\n" for name, value in values.items() if value
        )
        return f"{selector} {{\n{lines}}}\n"

    return rule(":root", "") + rule(".dark", "_dark")


def _fill(path: pathlib.Path, parts: dict[str, str]) -> None:
    """Put the parts into the places `{{name}}` of a file."""
    path.write_text(_filled(path.read_text("utf-8"), parts), "utf-8", newline="\n")


def _filled(template: str, parts: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)


def _write_json(path: pathlib.Path, value: object) -> None:
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    path.write_text(line, "utf-8", newline="\n")


def _checks(path: pathlib.Path) -> dict:
    data = path.read_bytes()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write_runtime(folder: pathlib.Path) -> None:
    """Write what the page needs of onnxruntime-web.

    The WebAssembly is compressed here, since not every host does so, and called .bin, since some
    hosts would have browsers take a .gz apart.
    """
    needed = {f"package/dist/{name}": name for name in (*SCRIPTS, WASM)}
    # As a stream: going back in the archive would unpack it from the start.
    with tarfile.open(_fetch_runtime(), "r|gz") as archive:
        files = {
            needed[one.name]: archive.extractfile(one).read()
            for one in archive
            if one.name in needed
        }
    for name in SCRIPTS:
        (folder / name).write_bytes(files[name])
    (folder / "ort.wasm.bin").write_bytes(gzip.compress(files[WASM], 9, mtime=0))


def _fetch_runtime() -> pathlib.Path:
    """onnxruntime-web as npm fetches it, in the cache; what is pinned above, or an error."""
    kept = cache_folder() / f"{RUNTIME}-{VERSION}.tgz"
    if not kept.is_file() or _sha512(kept) != SHA512:
        npm = shutil.which("npm")
        if npm is None:
            raise UserError(
                f"the page in the browser needs npm, to fetch {RUNTIME}: install Node.js "
                "(https://nodejs.org), which has it"
            )
        with tempfile.TemporaryDirectory() as room:
            command = [npm, "pack", f"{RUNTIME}@{VERSION}", "--pack-destination", room]
            done = subprocess.run(command, capture_output=True, text=True, cwd=room)
            packed = pathlib.Path(room, kept.name)
            if done.returncode or not packed.is_file():
                reason = " ".join((done.stderr or done.stdout).split())
                raise UserError(f"npm cannot fetch {RUNTIME}@{VERSION}: {reason[:200]}")
            if _sha512(packed) != SHA512:
                raise UserError(
                    f"npm fetched another {RUNTIME}@{VERSION} than the one that this project "
                    "knows; check npm's registry"
                )
            with replacing(kept) as temporary:
                shutil.copyfile(packed, temporary)
    return kept


def _sha512(path: pathlib.Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


@reporting_mistakes
def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(
        spoken("static"),
        description="Write a static page that classifies photos entirely in the visitor's browser.",
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=pathlib.Path,
        help="folder of the page: new, or one that this command wrote",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        default=DEFAULT,
        help=f"{MODEL_HELP} (default: the model that comes with the code)",
    )
    options = parser.parse_args(arguments)
    replace(options.folder, options.model)
    folder = shlex.quote(str(options.folder))
    print(f"any web host can serve {folder}; to see it: python -m http.server -d {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
