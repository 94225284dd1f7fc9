"""Train the network of an experiment."""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Sequence

import keras

from flowers_model import network as networks
from train import sources
from train.data import digests
from train.data.decoding import Photos, evaluation_photos, training_photos
from train.data.outliers import outliers
from train.devices import distribution, precision, processes, xla_cpu
from train.experiment import Experiment
from train.loop import preflight, soup, stages
from train.loop.batch_norm import measure_norms
from train.loop.distillation import teaching
from train.loop.finishing import finishing, step
from train.loop.history import Row, read_history
from train.loop.journal import INTERRUPTED
from train.loop.network import build_network
from train.loop.task import Task
from train.sources import Source
from train.sources.split_list import apply_split_list

log = logging.getLogger("flowers")


def kept_in(folder: pathlib.Path) -> str:
    """Where the trained network is, for messages about later failures."""
    return f"the trained network is safe in {folder / 'checkpoints'}"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, and what it was trained on."""

    network: keras.Model
    experiment: Experiment  # with the input size of serving
    source: Source
    history: list[Row]
    fitted: Callable[[str], Photos]  # the evaluation photos of a split, by name


def train(
    experiment: Experiment,
    folder: pathlib.Path,
    after_epoch: Callable[[list[Row]], None] = lambda history: None,
) -> Trained:
    """Open the source, build the network and train it, or resume its training.

    Args:
        after_epoch: called with the history after each epoch.

    Raises:
        UserError: if photos or weights cannot be used.
        TrainingError: if training cannot continue.
        UnfinishedError: if something fails after the last epoch.
        GroupError: if another process has died.
        Preempted: after SIGTERM, once everything is saved.
    """
    others = soup.read_finished(experiment.average)
    where = experiment.distribution, experiment.model_devices, experiment.backbone
    with distribution.scope(*where):
        begun = bool(read_history(folder)) or (folder / INTERRUPTED).exists()
        source = digests.begin(open_data(experiment), folder, begun)
        task = make_task(experiment, source, experiment.weights)
        soup.check_alike(others, task.network, source.class_names)
        preflight.check(folder, source, task)
        with processes.preemption():
            history = stages.train(task, folder, after_epoch)
            with finishing(kept_in(folder)):
                task = _as_served(task, source, others)
        experiment = task.experiment
        if processes.processes() > 1:
            task.fitted.cache_clear()  # it holds only this process's share
        if not distribution.is_on():
            return Trained(task.network, experiment, source, history, task.fitted)
        with finishing(kept_in(folder)):
            step("gathering the weights")
            weights = distribution.whole_weights(task.network)
    with finishing(kept_in(folder)):
        network = build_network(experiment, task.class_count, weights=None)
        network.set_weights(weights)
    return Trained(network, experiment, source, history, task.fitted)


def open_data(experiment: Experiment) -> Source:
    """Open the sources of an experiment, merged into one."""
    known = experiment.classes == "known"
    source = sources.open_sources(
        experiment.data,
        experiment.classes,
        experiment.seed,
        experiment.image_size,
        experiment.skip_bad,
        experiment.valid_share if known else 1.0,
    )
    if experiment.data_list is not None:
        source = apply_split_list(source, experiment.data_list)
    if not known:
        source = sources.train_on_valid(source, experiment.valid_share, experiment.seed)
    log.info(
        "%s: %d classes; photos in %s",
        source.name,
        len(source.class_names),
        ", ".join(f"{name} {len(split)}" for name, split in source.splits.items()),
    )
    return source


def make_task(experiment: Experiment, source: Source, weights: str | None) -> Task:
    """Build the network, and functions that decode the photos when they are first needed."""
    keras.utils.set_random_seed(experiment.seed)
    keras.config.set_floatx("float32")  # a keras.json of another project may say otherwise
    keras.config.set_dtype_policy(precision.policy(experiment.precision))
    count = len(source.class_names)
    network = build_network(experiment, count, weights)
    if experiment.fast_convolutions:
        xla_cpu.speed_up(network)
    distribution.synchronize_norms(network)

    size, skip_bad = experiment.image_size, experiment.skip_bad

    @functools.cache
    def fitted(name: str) -> Photos:
        split = source.splits[name]
        return evaluation_photos(split, name, size, experiment.crop, skip_bad)

    def whole() -> Photos:
        return training_photos(source.splits["train"], "train", size, skip_bad)

    def strange() -> Photos:
        split = outliers(experiment.outliers)["train"]
        return training_photos(split, "outliers", size, skip_bad)

    teach = teaching(experiment.teacher, source.class_names, size)
    return Task(
        network, experiment, count, fitted, whole, teach, strange if experiment.outliers else None
    )


def _as_served(task: Task, source: Source, others: Sequence[soup.Finished]) -> Task:
    """Average with the other models, switch to the serving size and re-estimate BatchNorm.

    Flowers appear larger in random crops than in serving, so a network trained on random crops is
    best at a higher resolution (Touvron et al., 2019, https://arxiv.org/abs/1906.06423).
    """
    experiment = task.experiment
    step("averaging and resizing the network")
    resized = experiment.serve_size not in (None, experiment.image_size)
    if resized or others:
        weights = soup.mean(distribution.whole_weights(task.network), others)
        if resized:
            # Training is over, so there is no distillation.
            experiment = dataclasses.replace(
                experiment, image_size=experiment.serve_size, serve_size=None, teacher=()
            )
            task = make_task(experiment, source, weights=None)
            networks.set_trainable(
                task.network, experiment.unfreeze, train_norms=experiment.train_norms
            )
        task.network.set_weights(weights)
    if experiment.epochs_finetune and experiment.train_norms and experiment.measure_norms:
        step("re-estimating BatchNorm")
        photos = task.fitted("train").array
        measure_norms(task.network, photos, experiment.batch_size, experiment.seed)
    return task
