"""The gallery: every flower that the model knows, its photos, and the model's accuracy on it."""

from __future__ import annotations

import csv
import dataclasses
import html
import pathlib
import urllib.parse
from collections.abc import Callable

import gradio as gr

from flowers_model.bundle import BundleError
from flowers_model.classifier import FlowerClassifier
from page import words
from page.context import PRIVATE, Page
from page.examples import Examples, pictured
from page.html import chosen, escape, named
from page.visit import Visit
from page.words import Words

SEARCHED = 9  # number of flowers from which on there is a search
SHOWN = 4  # confusions that are shown
# The page of a flower has arrived, but the browser may not have built its tab yet.
OPENED = """() => {
    const show = (tries) => {
        const heading = document.querySelector("#flowers-flower h2");
        if (!heading) {
            if (tries) setTimeout(show, 50, tries - 1);
            return;
        }
        const place = document.getElementById("flowers-gallery");
        // Within another page (<gradio-app>), the address is that page's.
        const address = window.gradio_config
            ? `#flower=${encodeURIComponent(heading.dataset.flower)}` : location.href;
        if (place.dataset.open !== "yes") history.pushState(history.state, "", address);
        else history.replaceState(history.state, "", address);
        document.dispatchEvent(new Event("addressed"));
        place.dataset.open = "yes";
        place.scrollIntoView();
        heading.focus({preventScroll: true});
    };
    show(40);
}"""
# A forgotten flower has no page any more.
CLOSED = """() => {
    const place = document.getElementById("flowers-gallery");
    if (place) delete place.dataset.open;
}"""
FLOWER = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="2.2"/>'
    + "".join(
        f'<ellipse cx="12" cy="6.6" rx="2.4" ry="3.2" transform="rotate({turn} 12 12)"/>'
        for turn in range(0, 360, 72)
    )
    + "</svg>"
)


@dataclasses.dataclass(frozen=True)
class Opened:
    """The components of the tab that other tabs need.

    Attributes:
        shown: the components whose event `choose` carries the number of a `photo`.
        taught: the flowers that the visitor has taught.
        flower: the page of one flower.
        open: returns that page for the number `flower` in an event.
        known: returns `taught` and `flower` after the visitor has taught something else.
    """

    shown: list[gr.HTML]
    taught: gr.HTML
    flower: gr.HTML
    open: Callable[[Visit | None, gr.EventData, gr.Request], str]
    known: Callable[[Visit | None, gr.Request], dict]


@dataclasses.dataclass(frozen=True)
class Result:
    """The results of a model for a class, on held-out photos.

    Attributes:
        recall: fraction of its photos that are classified as it, 0..1.
        precision: fraction of the photos classified as it that are, 0..1.
        photos: number of its photos.
    """

    recall: float
    precision: float
    photos: int


def read_results(folder: pathlib.Path) -> tuple[dict[str, Result], list[tuple[str, str, int]]]:
    """A bundle's results by class, and its confusions.

    Both are empty if the bundle's report lacks them.

    Raises:
        BundleError: if a table is not in the form that `train.reports.report` writes.
    """
    results = {}
    confusions = []
    try:
        for row in _rows(folder / "report/per_class.csv"):
            results[row["class"]] = Result(
                float(row["recall"]), float(row["precision"]), int(row["photos"])
            )
        for row in _rows(folder / "report/confusions.csv"):
            confusions.append((row["is"], row["taken for"], int(row["photos"])))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BundleError(f"report: a table of the classes does not fit: {error}") from None
    return results, confusions


class Flowers:
    """A model's flowers as HTML: all of them, and a page of each."""

    def __init__(self, classifier: FlowerClassifier, examples: Examples):
        self._names = classifier.label_names
        self._latin = classifier.manifest.scientific_names
        self._shown = classifier.manifest.display_names
        self._examples = examples
        self._results, self._confusions = read_results(classifier.folder)

    def index(self, say: Words) -> str:
        """All flowers by name, those with photos first, and a search if there are many."""
        names, examples = self._names, self._examples
        order = sorted(range(len(names)), key=lambda i: self._shown.get(names[i], names[i]).lower())
        pictured = "".join(self._card(i, say) for i in order if names[i] in examples.by_class)
        others = "".join(self._card(i, say) for i in order if names[i] not in examples.by_class)
        if others:
            title = f"<h3>{say('known_too')}</h3>" if pictured else ""
            others = f'{title}<ul class="cards plain">{others}</ul>'
        if examples.unknown:
            strip = "".join(
                examples.figure(number, say, caption=True) for number in examples.unknown
            )
            others += (
                f"<h3>{say('not_known')}</h3>"
                f'<p class="aside">{say("tap_unknown")}</p><div class="photos">{strip}</div>'
            )
        count = say("counted", count=len(names), photos=say.photos(len(examples.labels)))
        search = (
            f'<input type="search" placeholder="{say("find")}" aria-label="{say("find_by_name")}">'
            if len(names) >= SEARCHED
            else ""
        )
        return (
            f'<div class="find">{search}<p class="aside count" role="status" data-all="{count}" '
            f'data-none="{say("none_found")}">{count}</p></div>'
            f'<ul class="cards">{pictured}</ul>{others}'
        )

    def taught(self, visit: Visit | None, say: Words) -> str:
        """The flowers that a visitor has taught; empty if there are none."""
        if visit is None:
            return ""
        names = visit.classifier.label_names
        cards = "".join(
            self._card_of(
                names.index(one.name),
                one.name,
                f'<img src="{visit.thumbnails[one.name][0]}" alt="">',
                None if one.right is None else say("right_share", share=say.share(one.right, 0)),
                say,
            )
            for one in visit.lesson.classes
        )
        return f'<h3>{say("teach_here")}</h3><ul class="cards">{cards}</ul>'

    def page(self, number: int, say: Words, visit: Visit | None = None) -> str:
        """One flower, by the number of its name.

        Args:
            visit: what the visitor has taught.
        """
        examples = self._examples
        names = visit.classifier.label_names if visit else self._names
        label = names[number]
        mine = examples.by_class.get(label, [])
        result = self._results.get(label)
        lines = [
            f'<button type="button" class="back">{say("all_flowers")}</button>',
            f'<h2 tabindex="-1" data-flower="{html.escape(label)}">'
            f"{named(self._shown, label, say)}</h2>",
        ]
        if label in self._latin:
            lines.append(f'<p class="latin"><i>{escape(self._latin[label])}</i></p>')
        if result:
            right = round(result.recall * result.photos)
            told = {
                "count": say.number(result.photos),
                "right": say.number(right),
                "recall": f"<strong>{say.share(result.recall, 0)}</strong>",
                "precision": f"<strong>{say.share(result.precision, 0)}</strong>",
            }
            lines.append(f"<p>{say('results', **told)}</p>")
        if label in self._latin:
            lines.append(f'<p class="elsewhere">{_elsewhere(self._latin[label], say)}</p>')
        here = visit.figures(label) if visit and label in visit.photos else []
        if here:
            photos = f'<div class="photos">{"".join(here)}</div>'
            lines.append(f"<h3>{say('teach_here')}</h3>{photos}")
        if mine:
            lines.append(
                f"<h3>{say('its_photos' if len(mine) > 1 else 'its_photo')}</h3>"
                f'<p class="aside">{say("tap_photo")}</p><div class="photos">'
                f"{''.join(examples.figure(number, say) for number in mine)}</div>"
                f'<p class="aside">{escape(examples.credits)}</p>'
            )
        elif not here:
            lines.append(f'<p class="aside">{say("no_photo")}</p>')
        taken = [(to, n) for of, to, n in self._confusions if of == label and to in names]
        takes = [(of, n) for of, to, n in self._confusions if to == label and of in names]
        lines.append(
            f'<div class="mixes">{self._mixed("taken_for", taken, say)}'
            f"{self._mixed('takes_for', takes, say)}</div>"
        )
        return "".join(lines)

    def _card(self, number: int, say: Words) -> str:
        label = self._names[number]
        result = self._results.get(label)
        right = say("right_share", share=say.share(result.recall, 0)) if result else None
        return self._card_of(number, label, self._picture(label, none=""), right, say)

    def _card_of(self, number: int, label: str, picture: str, right: str | None, say: Words) -> str:
        """A flower that can be opened, with the model's accuracy on it."""
        latin = self._latin.get(label, "")
        name = named(self._shown, label, say)
        find = html.escape(f"{label} {self._shown.get(label, '')} {latin}".lower())
        titled = f"{name} <i>{escape(latin)}</i>" if latin else name
        right = f'<span class="right">{right}</span>' if right else ""
        return (
            f'<li data-find="{find}"><button type="button" data-flower="{number}">'
            f'{picture}<span class="label">{titled}</span>{right}</button></li>'
        )

    def _picture(self, label: str, none: str = f'<span class="none">{FLOWER}</span>') -> str:
        """A flower's first photo, or a placeholder."""
        for number in self._examples.by_class.get(label, []):
            url = self._examples.url(number)
            return f'<img src="{url}" alt="" loading="lazy" decoding="async">'
        return none

    def _mixed(self, title: str, others: list[tuple[str, int]], say: Words) -> str:
        if not others:
            return ""
        items = "".join(
            f'<li><button type="button" data-flower="{self._names.index(other)}">'
            f"{self._picture(other)}"
            f'<span class="label">{escape(self._shown.get(other, other))}</span>'
            f'<span class="right">{say.photos(count)}</span></button></li>'
            for other, count in others[:SHOWN]
        )
        return f'<div><h3>{say(title)}</h3><ul class="cards few">{items}</ul></div>'


def add(page: Page) -> Opened:
    """Add the flowers, and the page of the one that is opened."""
    flowers = Flowers(page.classifier, page.examples)
    script = pathlib.Path(__file__).with_name("gallery.js").read_text("utf-8")

    def opened(visit: Visit | None, event: gr.EventData, request: gr.Request) -> str:
        names, say = page.knowing(visit).label_names, words.of(request)
        return flowers.page(chosen(event, "flower", len(names), say, names), say, visit)

    def known(visit: Visit | None, request: gr.Request) -> dict:
        return {taught: flowers.taught(visit, words.of(request)), flower: ""}

    with gr.Column(elem_id="flowers-gallery"):
        taught = pictured(js_on_load=script, elem_id="flowers-taught")
        listed = page.frame.html("index", flowers.index)
        index = pictured(listed, js_on_load=script, elem_id="flowers-index")
        flower = pictured(js_on_load=script, elem_id="flowers-flower")
    for part in (taught, index, flower):
        part.open(opened, page.visit, flower, **PRIVATE).then(js=OPENED)
    return Opened([index, flower], taught, flower, opened, known)


def _elsewhere(latin: str, say: Words) -> str:
    """Links to other sites about a flower; only the visitor's browser follows them."""
    sites = {
        "GBIF": "https://www.gbif.org/species/search?q=",
        "Wikipedia": f"https://{say.language}.wikipedia.org/w/index.php?search=",
    }
    links = (
        f'<a href="{site}{urllib.parse.quote(latin)}" target="_blank" rel="noopener noreferrer">'
        f"{name}</a>"
        for name, site in sites.items()
    )
    return say("elsewhere", links=say.listed(list(links)))


def _rows(path: pathlib.Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
