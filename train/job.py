"""One job: from photos to a published bundle."""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
import textwrap
from collections.abc import Callable

import keras

from flowers_model import hub
from flowers_model.bundle import Manifest
from train import distribution, pipeline, processes, sources, stages, xla_cpu
from train.experiment import Experiment, load_preset
from train.package import build_network, write_bundle
from train.sources import Source
from train.sources.split_list import apply_split_list

log = logging.getLogger("flowers")


def run(
    experiment: Experiment,
    folder: pathlib.Path,
    *,
    preset: str,
    command: str,
    push_to: str | None = None,
    private: bool = False,
    tag: str | None = None,
) -> Manifest | None:
    """Train, or go on training, and write `folder/bundle`.

    Of several processes, the first one writes and publishes it; the others have None.

    Raises:
        UserError: for data, weights or a Hub repo that cannot be used.
        TrainingError: for a training that cannot go on.
        GroupError: where another process is gone.
        Preempted: after SIGTERM, when all is saved to go on.
    """
    expectation = textwrap.dedent(load_preset(preset).__doc__ or "").strip()
    log.info("preset %s: %s\n", preset, expectation)
    log.info("run %s, Keras %s on %s", folder, keras.__version__, keras.backend.backend())
    if push_to and processes.is_first():
        hub.check_login(push_to)
    trained = train(experiment, folder)
    first = processes.is_first()
    processes.leave()
    if not first:
        return None
    splits = [name for name in ("valid", "test") if name in trained.source.splits]
    manifest = write_bundle(
        folder / "bundle",
        trained.network,
        experiment,
        trained.source,
        {name: trained.fitted(name) for name in splits},
        trained.history,
        preset=preset,
        command=command,
    )
    log.info("bundle: %s", folder / "bundle")
    if push_to:
        log.info("published: %s", hub.publish(folder / "bundle", push_to, private=private, tag=tag))
    log.info("%s", manifest.headline)
    return manifest


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, and what it was trained on."""

    network: keras.Model
    source: Source
    history: list[stages.Row]
    fitted: Callable[[str], pipeline.Photos]  # evaluation photos by the name of a split


def train(experiment: Experiment, folder: pathlib.Path) -> Trained:
    """Open the source, build the network and train it, or go on training it.

    Raises:
        UserError: for data or weights that cannot be used.
        TrainingError: for a training that cannot go on.
        GroupError: where another process is gone.
        Preempted: after SIGTERM, when all is saved to go on.
    """
    with distribution.scope(experiment):
        trained = _train(experiment, folder)
        if not distribution.is_on():
            return trained
        weights = distribution.whole_weights(trained.network)
    network = build_network(experiment, len(trained.source.class_names), weights=None)
    network.set_weights(weights)
    return dataclasses.replace(trained, network=network)


def _train(experiment: Experiment, folder: pathlib.Path) -> Trained:
    keras.utils.set_random_seed(experiment.seed)
    keras.config.set_dtype_policy(distribution.precision(experiment.precision))
    source = sources.open_sources(
        experiment.data, experiment.classes, experiment.seed, experiment.image_size
    )
    if experiment.data_list is not None:
        source = apply_split_list(source, experiment.data_list)
    log.info(
        "%s: %d classes; photos in %s",
        source.name,
        len(source.class_names),
        ", ".join(f"{name} {len(split)}" for name, split in source.splits.items()),
    )
    network = build_network(experiment, len(source.class_names), experiment.weights)
    if experiment.fast_convolutions:
        xla_cpu.speed_up(network)
    distribution.synchronize_norms(network)

    @functools.cache
    def fitted(name: str) -> pipeline.Photos:
        return pipeline.evaluation_photos(
            source.splits[name], name, experiment.image_size, experiment.crop
        )

    with processes.preemption():
        history = stages.train(
            network,
            experiment,
            folder,
            len(source.class_names),
            fitted("valid"),
            lambda: fitted("train"),
            lambda: pipeline.training_photos(
                source.splits["train"], "train", experiment.image_size
            ),
        )
    if processes.processes() > 1:
        fitted.cache_clear()  # it holds this process's share alone
    return Trained(network, source, history, fitted)
