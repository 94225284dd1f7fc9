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
from page.verdict import Verdict, verdict
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


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to one photo, or to several of one plant.

    Attributes:
        crop: share of a photo's short side that the network sees.
        scientific: scientific names by name.
        flowers: the number of each name's page in the gallery.
        alike: the most similar labelled photos, as HTML; may be empty.
        seconds: how long it took.
        truth: the name on the photo's label, where it has one.
        credit: who took the photo, as HTML, where it is a labelled one; may be empty.
        known: the number of a labelled photo.
        teachable: whether the visitor is offered to teach what it shows.
    """

    prediction: Prediction
    seen: Sequence[Seen]
    crop: float
    scientific: dict[str, str]
    flowers: dict[str, int]
    alike: str
    seconds: float
    truth: str | None = None
    credit: str = ""
    known: int | None = None
    teachable: bool = False


def render(answer: Answer, say: Words) -> str:
    """The answer as HTML, in the visitor's words."""
    kind = " data-refused" if answer.prediction.refused else ""
    kind += "" if answer.known is None else f' data-photo="{answer.known}"'
    return (
        f'<article class="answer"{kind}>'
        f'<div class="head">{_headline(answer, say)}</div>'
        f'<div class="seen">{_photos(answer, say)}</div>'
        f'<div class="said">{_names(answer, say)}{_ways_on(answer, say)}</div>'
        f"{_like(answer, say)}</article>"
    )


def _photos(answer: Answer, say: Words) -> str:
    """The photos with their maps, and the switch that shows where the network looked."""
    figures = "".join(
        _figure(number, one, answer.prediction.labels, answer.crop, say)
        for number, one in enumerate(answer.seen)
    )
    return (
        f'{figures}<button type="button" class="switch" role="switch" '
        f'aria-checked="false">{say("looked")}</button>{_each(answer.seen, say)}{answer.credit}'
    )


def _names(answer: Answer, say: Words) -> str:
    """The likeliest names, and how long it took."""
    prediction = answer.prediction
    names = "".join(
        _name(number, label, flower(prediction, label, say), share, answer.scientific, say)
        for number, (label, share) in enumerate(
            zip(prediction.labels, prediction.probabilities, strict=True)
        )
    )
    return (
        f'<ul class="names">{names}</ul><p class="aside">{say("tap")} '
        f"{say('took', count=say.number(1000 * answer.seconds))}</p>"
    )


def _ways_on(answer: Answer, say: Words) -> str:
    """Buttons: to the flower's page, and to teaching one that is not among the names."""
    top = answer.prediction.labels[0]
    more = say("more", name=escape(answer.prediction.shown(top)))
    offer = f'<button type="button" class="offer">{say("teach_offer")}</button>'
    return (
        f'<button type="button" class="more" data-flower="{answer.flowers[top]}">{more}</button>'
        f"{offer if answer.teachable else ''}"
    )


def _like(answer: Answer, say: Words) -> str:
    """The labelled photos that look most like it."""
    if not answer.alike:
        return ""
    title = say("like_it" if answer.truth else "like_yours")
    return f"<section class='like'><h3>{title}</h3>{answer.alike}</section>"


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


def _headline(answer: Answer, say: Words) -> str:
    """What the answer says in short, and whether it is what the photo's label says."""
    prediction, photos = answer.prediction, len(answer.seen)
    lines = [f'<p class="eyebrow">{say("together", count=photos)}</p>'] if photos > 1 else []
    said = verdict(prediction, say)
    lines.append(f'<h2 tabindex="-1">{said.title}</h2>')
    if prediction.refused:
        lines.append(f"<p>{say('guess')}</p>")
    else:
        lines += _certainty(answer, said, say)
    if answer.truth is not None:
        lines.append(_judged(answer, answer.truth, say))
    return "".join(lines)


def _certainty(answer: Answer, said: Verdict, say: Words) -> list[str]:
    """Below a name: what science calls it, how sure it is, and what else it may be."""
    label, share = answer.prediction.labels[0], answer.prediction.probabilities[0]
    lines = []
    if label in answer.scientific:
        lines.append(f'<p class="latin"><i>{escape(answer.scientific[label])}</i></p>')
    lines.append(f'<p class="sure">{say("sure", share=say.percent(share))}</p>')
    if said.names:
        told = "".join(f"<span>{name}</span>" for name in said.names[:LISTED])
        rest = say("rest", count=len(said.names) - LISTED)
        more = rest if len(said.names) > LISTED else ""
        lines.append(f'<p class="set">{said.promise} {told}{more}</p>')
    return lines


def _judged(answer: Answer, truth: str, say: Words) -> str:
    """Whether the answer is right, by the photo's label."""
    prediction = answer.prediction
    if truth == prediction.labels[0]:
        return f'<p class="truth right">{say("right")}</p>'
    if prediction.refused and truth not in answer.flowers:
        strange = say("strange", name=f"<strong>{escape(truth)}</strong>")
        return f'<p class="truth right">{strange}</p>'
    wrong = say("wrong", name=f"<strong>{flower(prediction, truth, say)}</strong>")
    return f'<p class="truth">{wrong}</p>'
