"""The page of `train.relabel`: photos to look through, with a checkbox for each wrong label.

One HTML file, pictures inside. Its script runs in the browser alone: it writes the list.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from train.reports import html
from train.reports.html import text

STYLE = """<style>
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .6rem }
.photos label { background: var(--soft); border-radius: .5rem; padding: .6rem; cursor: pointer }
.photos img { display: block; width: 100%; height: 9rem; object-fit: contain }
.photos label:has(:checked) { outline: .2rem solid var(--grave) }
.photos input { width: 1.2rem; height: 1.2rem; vertical-align: middle }
.photos small { display: block }
.bar { position: sticky; top: 0; background: var(--paper); padding: .6rem 0;
  border-bottom: 1px solid var(--line) }
.bar button { font: inherit; padding: .5rem .9rem }
</style>"""

SCRIPT = """<script>
const lines = JSON.parse(document.getElementById("lines").textContent);
const boxes = [...document.querySelectorAll("input[data-line]")];
const count = document.getElementById("count");
const show = () => { count.textContent = boxes.filter((box) => box.checked).length; };
document.addEventListener("change", show);
document.getElementById("all").addEventListener("click", () => {
  const checked = boxes.some((box) => !box.checked);
  boxes.forEach((box) => { box.checked = checked; });
  show();
});
document.getElementById("save").addEventListener("click", () => {
  const out = new Set(boxes.filter((box) => box.checked).map((box) => Number(box.dataset.line)));
  const kept = lines.filter((line, number) => !out.has(number));
  const head = `# Without ${out.size} photos whose labels are wrong\\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([head + kept.join("")], {type: "text/plain"}));
  link.download = "relabelled.txt";
  link.click();
});
show();
</script>"""


class Issue(NamedTuple):
    """A photo whose label is probably wrong."""

    line: int  # its index in the list of all photos
    name: str
    label: str
    guess: str  # its likely class
    probability: float  # of that class, 0..1
    thumbnail: str  # a data URI


def write_page(
    path: pathlib.Path, title: str, issues: Sequence[Issue], lines: Sequence[str]
) -> None:
    """Write the page.

    Args:
        issues: the most certain first.
        lines: the split list of all photos; see `train.sources.split_list`.
    """
    photos = "".join(
        f'<label><img src="{one.thumbnail}" alt="" loading="lazy">'
        f'<input type="checkbox" data-line="{one.line}"> labelled <b>{text(one.label)}</b>'
        f"<small>looks like {text(one.guess)} ({one.probability:.0%})</small>"
        f"<small>{text(one.name)}</small></label>"
        for one in issues
    )
    # A name may contain text that would end the script.
    data = json.dumps(list(lines)).replace("<", "\\u003c")
    parts = [
        STYLE,
        f"<h1>{text(title)}: labels to look at</h1>",
        f"<p>{len(issues)} of {len(lines)} photos look like another class than their label says. "
        "Check those whose label is wrong and save the list without them, for "
        "<code>--data-list</code> of train/run.py.</p>",
        '<p class="bar"><button id="all">Tick all or none</button> '
        '<button id="save">Save the list</button> <span id="count">0</span> ticked</p>',
        f'<div class="photos">{photos}</div>',
        f'<script type="application/json" id="lines">{data}</script>',
        SCRIPT,
    ]
    path.write_text(html.document(f"{title}: labels to look at", parts), "utf-8")
