"""Find photos that are probably labelled wrong.

    python -m train.relabel --model MODEL --data folder:PATH --output DIR

Writes `issues.csv`, the most certain first, and `index.html`, which shows these photos with a
checkbox each and saves a list without the checked ones, for --data-list of training.

Each photo's class is predicted from the embeddings and labels of the other photos, and compared
with its label (confident learning). The classes need not be those of the model. Wrong labels of
photos that the model was trained on may go unnoticed.
"""

from __future__ import annotations

import csv
import os
import pathlib
import sys

import numpy as np

from flowers_model import FlowerClassifier
from flowers_model.command import MODEL_HELP, Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from flowers_model.installation import spoken
from flowers_model.photo import PhotoError, decode
from train.devices.progress import progress
from train.evaluation.confident_learning import held_out_probabilities, label_issues
from train.reports.html import thumbnail
from train.reports.relabel_page import Issue, write_page
from train.sources import Source, forms, open_source
from train.sources.split_list import split_line

CHUNK = 64  # photos that are decoded at a time

Photos = list[tuple[str, int]]  # each as the name of its split and its index there


def _parser() -> Parser:
    parser = Parser(spoken("relabel"), description=__doc__)
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--data", required=True, metavar="SOURCE", help=f"photo source: {forms()}")
    parser.add_argument(
        "--output", required=True, type=pathlib.Path, metavar="DIR", help="new folder of the result"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed of splits and folds"
    )
    return parser


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.output.exists():
        raise UserError(f"--output {str(options.output)!r} exists already; give a new folder")
    check_output(options.output)
    classifier = FlowerClassifier.from_pretrained(options.model)
    source = open_source(options.data, options.seed)
    photos = [(name, i) for name, split in source.splits.items() for i in range(len(split))]
    readable, embeddings = _embed(classifier, source, photos)
    issues = _find(source, photos, readable, embeddings, options.seed)
    lines = [split_line(split, source.splits[split].names[i]) for split, i in photos]
    with replacing(options.output) as room:
        room.mkdir()
        with open(room / "issues.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("photo", "label", "looks like", "probability"))
            writer.writerows((x.name, x.label, x.guess, f"{x.probability:.4f}") for x in issues)
        write_page(room / "index.html", source.name, issues, lines)
    print(f"{len(issues)} of {len(photos)} labels are probably wrong")
    print(f"look at {options.output / 'index.html'}")
    return 0


def _embed(
    classifier: FlowerClassifier, source: Source, photos: Photos
) -> tuple[list[int], np.ndarray]:
    """The indices of the readable photos among all, and their embeddings `(n, D)`.

    Raises:
        UserError: if no photo can be read.
    """
    embeddings, readable = [], []
    for start in progress(
        range(0, len(photos), CHUNK), "embedding", -(-len(photos) // CHUNK), "x64"
    ):
        inputs = []
        for number in range(start, min(start + CHUNK, len(photos))):
            split, i = photos[number]
            try:
                inputs.append(classifier.prepare(source.splits[split].read(i)))
                readable.append(number)
            except (PhotoError, OSError) as error:
                print(f"skipped: {source.splits[split].names[i]}: {error}", file=sys.stderr)
        if inputs:
            embeddings += classifier.engine.run(np.stack(inputs), ("embedding",))
    if not readable:
        raise UserError(f"none of the photos of {source.name} can be read")
    return readable, np.concatenate(embeddings)


def _find(
    source: Source, photos: Photos, readable: list[int], embeddings: np.ndarray, seed: int
) -> list[Issue]:
    """The photos whose labels are probably wrong, the most certain first."""
    labels = np.concatenate([split.labels for split in source.splits.values()])
    probabilities = held_out_probabilities(
        embeddings, labels[readable], len(source.class_names), seed
    )
    found, guesses = label_issues(probabilities, labels[readable])

    issues = []
    for row, guess in zip(found.tolist(), guesses.tolist(), strict=True):
        number = readable[row]
        split, i = photos[number]
        issues.append(
            Issue(
                number,
                source.splits[split].names[i],
                source.class_names[labels[number]],
                source.class_names[guess],
                float(probabilities[row, guess]),
                thumbnail(decode(source.splits[split].read(i))),
            )
        )
    return issues


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
