"""Evaluate a model on photos, and write a report.

    python -m train.evaluate --model MODEL --data SOURCE --output DIR

The report is the one that every training run writes into its bundle: `metrics.json`, tables,
figures, and `index.html` with all of them. It has a row for each split of each --data, and one for
each --refuse.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.bundle import METRICS, Metrics
from flowers_model.command import MODEL_HELP, Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from flowers_model.installation import spoken
from flowers_model.uncertainty import refused
from train.data.outliers import outlier_pictures
from train.evaluation.ensemble import TTA, TTA_HELP, Ensemble, open_for
from train.evaluation.metrics import Evaluation, measure
from train.sources import Source, forms

if TYPE_CHECKING:
    import argparse


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("evaluate"), description=__doc__)
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="MODEL",
        help=f"{MODEL_HELP}; the probabilities of several models are averaged",
    )
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="SOURCE",
        help=f"photo source: {forms()}; repeatable. A folder may have only some of the classes, "
        "and without splits of its own all of its photos are evaluated",
    )
    parser.add_argument(
        "--refuse",
        action="append",
        default=[],
        metavar="PATH",
        help="folder of out-of-distribution photos, which the model should refuse; repeatable",
    )
    parser.add_argument(
        "--by-class", action="store_true", help="print the metrics of each class, too"
    )
    parser.add_argument("--split", metavar="NAME", help="train, valid or test (default: all)")
    parser.add_argument(
        "--tta",
        choices=TTA,
        default="none",
        help=TTA_HELP,
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default="report", metavar="DIR", help="folder of the report"
    )
    options = parser.parse_args(arguments)
    names, evaluations, to_refuse = _evaluate(options)
    for title, evaluation in evaluations.items():
        print(f"{title}: {_said(evaluation.metrics)}")
        if options.by_class:
            for label in np.unique(evaluation.labels):
                print(f"  {names[label]}: {_said(evaluation.only(label))}")
    for title, scores in to_refuse.items():
        print(f"{title}: {refused(scores).mean():.1%} of {len(scores)} refused")
    print(f"look at {options.output / 'index.html'}")
    return 0


def _said(of: Metrics) -> str:
    """The metrics of some photos in one line."""
    parts = [f"top-1 {of.top1:.4f}", f"top-5 {of.top5:.4f}", f"macro F1 {of.macro_f1:.4f}"]
    parts += [f"NLL {of.nll:.4f}", f"ECE {of.ece:.4f}"]
    rates = {name: getattr(of, name) for name in ("refused", "kept_right", "sure_wrong")}
    parts += [f"{METRICS[name]} {rate:.1%}" for name, rate in rates.items() if rate is not None]
    return f"{', '.join(parts)} ({of.count} photos)"


def _evaluate(
    options: argparse.Namespace,
) -> tuple[list[str], dict[str, Evaluation], dict[str, np.ndarray]]:
    """The class names, evaluations by title, and refusal scores of the --refuse folders."""
    from train.reports.report import write_report  # which imports this module

    output = options.output
    ours = (output / "metrics.json").is_file()
    if output.exists() and not ours and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"--output {str(output)!r} is not an earlier report; give a new folder")
    check_output(output)
    ensemble = Ensemble.open(options.model, options.tta)
    manifest = ensemble.models[0].manifest
    opened = [open_for(manifest, spec, options.split, ensemble.records()) for spec in options.data]
    titles = _titles([source for source, _ in opened])
    strange = outlier_pictures(options.refuse, manifest)
    ood_scores = ensemble.ood_scores(strange)
    evaluations, counts = {}, np.zeros(len(manifest.class_names), int)
    for title, (source, places) in zip(titles, opened, strict=True):
        if "train" in source.splits:
            counts += np.bincount(places[source.splits["train"].labels], minlength=len(counts))
        for name in [options.split] if options.split else source.splits:
            split = source.splits[name]
            kept, answers = ensemble.answer_split(split, name)
            labels = places[split.labels[kept]]
            evaluations[f"{title} {name}".strip()] = Evaluation(
                [split.names[i] for i in kept],
                labels,
                answers,
                lambda i, split=split, kept=kept: ensemble.picture(split.read(kept[i])),
                measure(answers, labels, ood_scores),
            )
    with replacing(output.resolve()) as room:
        room.mkdir()
        if len(ensemble.models) == 1:
            for file in (ensemble.models[0].folder / "report").glob("history.*"):
                shutil.copyfile(file, room / file.name)
        write_report(room, ensemble.title, manifest, evaluations, counts, ood_scores)
    refused = {kind: ood_scores[kind] for kind in strange if kind in ood_scores}
    return ensemble.label_names, evaluations, refused


def _titles(sources: Sequence[Source]) -> list[str]:
    """The prefix of each source's rows; empty if there is only one source."""
    names = [source.name for source in sources]
    again = [names[:i].count(name) for i, name in enumerate(names)]
    numbered = [f"{name}#{n + 1}" if n else name for name, n in zip(names, again, strict=True)]
    return numbered if len(sources) > 1 else [""]


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
