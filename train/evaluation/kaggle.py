"""A submission to Kaggle's "Petals to the Metal": `id,label` for each test record."""

from __future__ import annotations

import collections
import csv
import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf.message import DecodeError

from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.names import petals104
from train.devices.progress import progress
from train.evaluation.answers import Item, rows
from train.evaluation.ensemble import Ensemble
from train.sources import SourceError
from train.sources.tfrecord import COUNTED, compression, entries, is_shard, readable, resolution

SAMPLE = "sample_submission.csv"


def write_submission(ensemble: Ensemble, path: str, output: pathlib.Path) -> int:
    """Write a line per record, in order; returns the number of records.

    Each id must occur once, and if there is a `sample_submission.csv` next to the records, the ids
    must be the ones that it lists.

    Args:
        path: a folder as for `train.sources.tfrecord.open_source`.

    Raises:
        UserError: if the model has other classes, or records or ids are wrong.
    """
    if different := set(ensemble.label_names) ^ set(petals104()):
        raise UserError(
            "--kaggle needs a model of the 104 classes of Petals to the Metal; "
            f"{min(different)!r} is not in both lists"
        )
    place = {name: i for i, name in enumerate(petals104())}
    root = resolution(path, ensemble.models[0].manifest.input.size)
    shards, total = _shards(root)
    items = (Item(name, lambda photo=photo: photo) for name, photo in _records(shards))
    ids: collections.Counter[str] = collections.Counter()
    with replacing(output) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "label"))
        for row in progress(rows(ensemble, items, top=1), "naming", total, "photos"):
            if row.prediction is None:
                raise UserError(f"{root}/test, id {row.item.name}: {row.error}")
            ids[row.item.name] += 1
            writer.writerow((row.item.name, place[row.prediction.labels[0]]))
        _check_ids(ids, total, root, path)
    return total


def _shards(root: str) -> tuple[list[str], int]:
    """The test shards, and the number of records according to their names."""
    names = [name for name in entries(f"{root}/test") if is_shard(name)]
    if not names:
        raise SourceError(f"{root}/test has no *.tfrec files: put the test records there.")
    total = 0
    for name in names:
        if (counted := COUNTED.fullmatch(name)) is None:
            raise SourceError(f"{root}/test/{name} is not named NN-SIZE-COUNT.tfrec.")
        total += int(counted[1])
    return [f"{root}/test/{name}" for name in names], total


def _records(shards: list[str]) -> Iterator[tuple[str, bytes]]:
    """The id and the photo of each record."""
    for shard in shards:
        with readable(shard):
            records = tf.data.TFRecordDataset(shard, compression(shard)).as_numpy_iterator()
            for number, record in enumerate(records, start=1):
                try:
                    features = tf.train.Example.FromString(record).features.feature
                except DecodeError:
                    raise SourceError(
                        f"{shard} record {number} is not a tf.train.Example."
                    ) from None
                values = {name: features[name].bytes_list.value for name in ("id", "image")}
                if any(len(value) != 1 for value in values.values()):
                    raise SourceError(
                        f"{shard} record {number} needs one id and one image, both bytes."
                    )
                yield values["id"][0].decode("utf-8", "replace"), values["image"][0]


def _check_ids(ids: collections.Counter[str], total: int, root: str, path: str) -> None:
    if ids.total() != total:
        raise SourceError(
            f"{root}/test has {ids.total()} records, but {total} according to the shards' names."
        )
    name, count = ids.most_common(1)[0]
    if count > 1:
        raise SourceError(f"{root}/test has the id {name!r} {count} times; each must occur once.")
    folders = (path, root, os.path.dirname(root))
    for sample in (f"{folder}/{SAMPLE}" for folder in folders):
        if tf.io.gfile.exists(sample):
            with readable(sample), tf.io.gfile.GFile(sample) as file:
                listed = {row["id"] for row in csv.DictReader(file.read().splitlines())}
            if different := listed ^ ids.keys():
                raise SourceError(
                    f"{len(different)} ids are not in both {sample} and {root}/test, such as "
                    f"{min(different)!r}."
                )
            return
