"""What the page says, in all its languages."""

import pathlib
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from helpers import photo

from flowers_model.classifier import Prediction
from flowers_model.errors import UserError
from flowers_model.photo import PhotoError, decode
from page import words
from page.verdict import Verdict, verdict
from page.words import ENGLISH, IN, LANGUAGES, WORDS

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_every_language_has_every_word_with_the_same_places():
    assert LANGUAGES == ("en", "de", "fr", "es", "hi", "zh")
    for name, texts in WORDS.items():
        assert tuple(texts) == LANGUAGES, name
        places = {frozenset(re.findall(r"\{(\w+)\}", text)) for text in texts.values()}
        assert len(places) == 1, name
        for text in texts.values():
            assert text, name
            # Safe without escaping in HTML, in attributes and in JavaScript template literals.
            assert not re.search(r"[<>&\"'`$\\]", text), name


def test_the_table_has_the_words_that_are_said_and_no_others():
    files = [path for kind in ("py", "js") for path in ROOT.glob(f"page/**/*.{kind}")]
    files += [ROOT / "spaces/static_site.py", *ROOT.glob("spaces/static/**/*")]
    source = "\n".join(path.read_text("utf-8") for path in files if path.is_file())
    said = set(re.findall(r"\b(?:say|text)\(\s*[\"'](\w+)[\"']", source))
    assert said - set(WORDS) == set()
    made = {name for name in WORDS if name.startswith(("column_", "figure_"))}
    quoted = set(re.findall(r"[\"'{.](\w+)[\"'}),;]", source))
    assert set(WORDS) - made - said - quoted == set()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("zh-CN", "zh"),
        ("fr;q=0.9", "fr"),
        ("it,de;q=0.5", "en"),
        ("", "en"),
        (",;=", "en"),
    ],
)
def test_a_request_is_answered_in_the_browsers_first_language(header, language):
    request = SimpleNamespace(headers={"accept-language": header})
    assert words.of(request) is IN[language]
    assert words.of(None) is IN["en"]


NEEDED = "gebraucht wird ein Foto als JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF oder BMP"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", f"dieses Foto ist leer; {NEEDED}"),
        (b"Dear diary", f"diese Datei lässt sich nicht als Foto lesen; {NEEDED}"),
        (
            photo((9, 9, 9))[:500],
            "dieses Foto ist beschädigt oder abgeschnitten; gebraucht wird eine ganze Datei",
        ),
        (
            photo((9, 9, 9), size=(2000, 600)),
            "dieses Foto ist zu groß (1 Megapixel); höchstens 0.5 Megapixel gehen",
        ),
    ],
    ids=["empty", "text", "half", "large"],
)
def test_what_is_wrong_with_a_photo_is_said_in_each_language(data, said):
    with pytest.raises(PhotoError) as caught:
        decode(data, max_pixels=500_000)
    assert IN["de"].reason(caught.value) == said
    assert IN["de"].reason(UserError("what no word is for")) == "what no word is for"


def test_numbers_are_written_as_each_language_writes_them():
    assert IN["en"].number(4141.25, 1) == "4,141.2"
    assert IN["de"].number(4141.25, 1) == "4.141,2"
    assert IN["fr"].percent(0.97) == "97\u00a0%"
    assert IN["en"].percent(0.999) == "&gt;99%"
    assert IN["de"].percent(0.001) == "&lt;1\u00a0%"


@pytest.mark.parametrize(
    ("coverage", "said"),
    [(0.9, "One of these, 9 times out of 10:"), (0.95, "One of these, 19 times out of 20:")],
)
def test_a_label_set_promises_what_the_model_was_calibrated_for(coverage, said):
    names = ["poppy", "<rose>"]
    prediction = Prediction(names, [0.6, 0.3], label_set=names, coverage=coverage)
    told = verdict(prediction, ENGLISH)
    assert told.promise == said
    assert told.names == ["poppy", "&lt;rose&gt;"]
    assert "19" in verdict(replace(prediction, coverage=0.95), IN["hi"]).promise
    refused = verdict(replace(prediction, refused=True), ENGLISH)
    assert refused == Verdict("This does not look like a flower I know", [], "")
    assert verdict(replace(prediction, label_set=["poppy"]), ENGLISH).names == []
