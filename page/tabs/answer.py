"""An answer as the page shows it: the names, the photo, and where the network looked."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from flowers_model.classifier import Prediction
from flowers_model.explain import scaled
from page.html import LISTED, escape, flower
from page.verdict import verdict
from page.words import Words

MASK = 64  # side of a map as it is sent, pixels; the browser smooths it
SHADE = 0.8  # opacity over the places that the network did not look at


@dataclasses.dataclass(frozen=True)
class Seen:
    """A photo that was answered.

    Attributes:
        url: where the browser finds it.
        shape: its height and width, pixels.
        maps: where the network looked for each name of the answer, float32 `(h, w, names)`.
        label: what the photo alone is taken for.
        share: how sure the network is of that, 0..1.
    """

    url: str
    shape: tuple[int, int]
    maps: np.ndarray
    label: str
    share: float


def render(
    prediction: Prediction,
    seen: Sequence[Seen],
    crop: float,
    truth: str | None,
    credit: str,
    scientific: dict[str, str],
    flowers: dict[str, int],
    alike: str,
    seconds: float,
    say: Words,
    known: int | None = None,
) -> str:
    """The answer to one photo, or to several of one plant, as HTML.

    Args:
        crop: share of a photo's short side that the network sees.
        truth: the name on the photo's label, where it has one.
        credit: who took the photo, as HTML, where it is a labelled one; may be empty.
        scientific: scientific names by name.
        flowers: the number of each name's page in the gallery.
        alike: the most similar labelled photos, as HTML; may be empty.
        seconds: how long it took.
        say: the visitor's words.
        known: the number of a labelled photo.
    """
    names = "".join(
        _name(number, label, flower(prediction, label, say), share, scientific, say)
        for number, (label, share) in enumerate(
            zip(prediction.labels, prediction.probabilities, strict=True)
        )
    )
    figures = "".join(
        _figure(number, one, prediction.labels, crop, say) for number, one in enumerate(seen)
    )
    top = prediction.labels[0]
    head = _headline(prediction, len(seen), truth, scientific, flowers, say)
    kind = " data-refused" if prediction.refused else ""
    kind += "" if known is None else f' data-photo="{known}"'
    like = (
        f"<section class='like'><h3>{say('like_it' if truth else 'like_yours')}</h3>"
        f"{alike}</section>"
        if alike
        else ""
    )
    return (
        f'<article class="answer"{kind}>'
        f'<div class="head">{head}</div>'
        f'<div class="seen">{figures}<button type="button" class="switch" role="switch" '
        f'aria-checked="false">{say("looked")}</button>{_each(seen, say)}{credit}</div>'
        f'<div class="said"><ul class="names">{names}</ul>'
        f'<p class="aside">{say("tap")} '
        f"{say('took', count=say.number(1000 * seconds))}</p>"
        f'<button type="button" class="more" data-flower="{flowers[top]}">'
        f"{say('more', name=escape(prediction.shown(top)))}</button></div>{like}</article>"
    )


def _mask(values: np.ndarray) -> str:
    """A map `(h, w)` as a shade that leaves free the places that spoke for the name."""
    heat = Image.fromarray(scaled(values)).resize((MASK, MASK), Image.Resampling.BICUBIC)
    dark = 255 * SHADE * (1 - np.asarray(heat).clip(0, 1))
    shade = Image.fromarray(np.rint(dark).astype(np.uint8))
    black = Image.new("L", shade.size)
    picture = Image.merge("RGBA", (black, black, black, shade))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=1, alpha_quality=80, method=0)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _figure(number: int, one: Seen, labels: Sequence[str], crop: float, say: Words) -> str:
    height, width = one.shape
    side = crop * min(height, width)
    box = (
        f"left:{50 - 50 * side / width:.2f}%;top:{50 - 50 * side / height:.2f}%;"
        f"width:{100 * side / width:.2f}%;height:{100 * side / height:.2f}%"
    )
    maps = "".join(
        f'<img class="map" data-name="{i}" style="{box}" src="{_mask(one.maps[..., i])}" '
        f'alt="{say("map", name=escape(label))}" hidden>'
        for i, label in enumerate(labels)
    )
    return (
        f'<figure data-seen="{number}" style="--ratio:{width / height:.4f}"'
        f'{" hidden" if number else ""}><img class="whole" src="{one.url}" '
        f'alt="{say("answered")}">{maps}</figure>'
    )


def _each(seen: Sequence[Seen], say: Words) -> str:
    """What each of several photos says alone."""
    if len(seen) == 1:
        return ""
    buttons = "".join(
        f'<button type="button" data-seen="{number}" aria-pressed="{str(not number).lower()}">'
        f'<img src="{one.url}" alt="{say("numbered", count=number + 1)}">'
        f"<span>{escape(one.label)}</span> "
        f"<span>{say.percent(one.share)}</span></button>"
        for number, one in enumerate(seen)
    )
    return f'<p class="aside">{say("alone")}</p><div class="each">{buttons}</div>'


def _name(
    number: int, label: str, shown: str, share: float, scientific: dict[str, str], say: Words
) -> str:
    latin = f"<i>{escape(scientific[label])}</i>" if label in scientific else ""
    return (
        f'<li><button type="button" data-name="{number}" aria-pressed="false">'
        f'<span class="label">{shown} {latin}</span>'
        f'<span class="share">{say.percent(share)}</span>'
        f'<span class="bar"><span style="width:{100 * share:.1f}%"></span></span></button></li>'
    )


def _headline(
    prediction: Prediction,
    photos: int,
    truth: str | None,
    scientific: dict[str, str],
    flowers: dict[str, int],
    say: Words,
) -> str:
    label, share = prediction.labels[0], prediction.probabilities[0]
    together = say("together", count=photos)
    lines = [f'<p class="eyebrow">{together}</p>'] if photos > 1 else []
    said = verdict(prediction, say)
    lines.append(f'<h2 tabindex="-1">{said.title}</h2>')
    if prediction.refused:
        lines.append(f"<p>{say('guess')}</p>")
    else:
        if label in scientific:
            lines.append(f'<p class="latin"><i>{escape(scientific[label])}</i></p>')
        lines.append(f'<p class="sure">{say("sure", share=say.percent(share))}</p>')
        if said.names:
            told = "".join(f"<span>{name}</span>" for name in said.names[:LISTED])
            rest = say("rest", count=len(said.names) - LISTED)
            more = rest if len(said.names) > LISTED else ""
            lines.append(f'<p class="set">{said.promise} {told}{more}</p>')
    if truth == label:
        lines.append(f'<p class="truth right">{say("right")}</p>')
    elif truth is not None and prediction.refused and truth not in flowers:
        strange = say("strange", name=f"<strong>{escape(truth)}</strong>")
        lines.append(f'<p class="truth right">{strange}</p>')
    elif truth is not None:
        wrong = say("wrong", name=f"<strong>{flower(prediction, truth, say)}</strong>")
        lines.append(f'<p class="truth">{wrong}</p>')
    return "".join(lines)
