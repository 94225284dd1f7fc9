"""One job: from photos to a published bundle."""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
import textwrap
from collections.abc import Callable, Sequence

import keras

from flowers_model import hub
from flowers_model import network as networks
from flowers_model.bundle import Manifest, read_splits
from train import sources
from train.bundles.writer import build_network, write_bundle
from train.data import digests, pipeline
from train.data.outliers import outliers
from train.devices import distribution, environment, precision, processes, xla_cpu
from train.experiment import Experiment, load_preset
from train.loop import preflight, soup, stages
from train.loop.batch_norm import measure_norms
from train.loop.distillation import teaching
from train.loop.finishing import UnfinishedError, finishing, step
from train.loop.tracking import Run, following
from train.optim.schedules import smooth, suggested_rate
from train.reports import report
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
    track: str | None = None,
) -> Manifest | None:
    """Train, or go on training, and write `folder/bundle`.

    Of several processes, the first one writes and publishes it; the others have None.

    Args:
        track: who follows the run, as `train.loop.tracking.tracker_spec` has it.

    Raises:
        UserError: for data, weights, a Hub repo or a tracker that cannot be used.
        TrainingError: for a training that cannot go on.
        UnfinishedError: for whatever fails after the last epoch; what was trained is safe.
        GroupError: where another process is gone.
        Preempted: after SIGTERM, when all is saved to go on.
    """
    expectation = textwrap.dedent(load_preset(preset).__doc__ or "").strip()
    log.info("preset %s: %s\n", preset, expectation)
    backend = keras.backend.backend()
    log.info("run %s, Keras %s on %s", folder, keras.__version__, backend)
    if not distribution.has_accelerator() and (missed := environment.unused_card(backend)):
        log.warning("warning: %s", missed)
    if push_to and processes.is_first():
        hub.check_may_write(push_to)
    if not processes.is_first():
        train(experiment, folder)
        processes.leave()
        return None
    about = Run(folder.resolve().name, preset, command, experiment)
    with following(folder, about, track) as follower:
        trained = train(experiment, folder, follower.epoch)
        processes.leave()
        splits = [name for name in ("train", "valid", "test") if name in trained.source.splits]
        with finishing(_trained(folder)):
            step("reading the photos")
            photos = {name: trained.fitted(name) for name in splits}
            manifest = write_bundle(
                folder / "bundle",
                trained.network,
                trained.experiment,
                trained.source,
                photos,
                trained.history,
                preset=preset,
                command=command,
                splits=None if trained.source.drawn else read_splits(folder),
            )
        log.info("bundle: %s", folder / "bundle")
        follower.end(trained.history, folder / "bundle")
    whole = f"the bundle is whole in {folder / 'bundle'}"
    if push_to:
        with finishing(whole):
            step("publishing")
            url = hub.publish(folder / "bundle", push_to, private=private, tag=tag)
        log.info("published: %s", url)
    log.info("%s", manifest.headline)
    if not follower.told:
        raise UnfinishedError(f"{follower.spec} was not told of all; {whole}")
    return manifest


def _trained(folder: pathlib.Path) -> str:
    return f"the trained network is safe in {folder / 'checkpoints'}"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, and what it was trained on."""

    network: keras.Model
    experiment: Experiment  # with the size of the photos that are served
    source: Source
    history: list[stages.Row]
    fitted: Callable[[str], pipeline.Photos]  # evaluation photos by the name of a split


def train(
    experiment: Experiment,
    folder: pathlib.Path,
    after_epoch: Callable[[list[stages.Row]], None] = lambda history: None,
) -> Trained:
    """Open the source, build the network and train it, or go on training it.

    Args:
        after_epoch: is told the history whenever an epoch ends.

    Raises:
        UserError: for data or weights that cannot be used.
        TrainingError: for a training that cannot go on.
        UnfinishedError: for whatever fails after the last epoch.
        GroupError: where another process is gone.
        Preempted: after SIGTERM, when all is saved to go on.
    """
    others = soup.read_finished(experiment.average)
    with distribution.scope(experiment):
        begun = bool(stages.read_history(folder)) or (folder / stages.INTERRUPTED).exists()
        source = digests.begin(_source(experiment), folder, begun)
        task = _task(experiment, source, experiment.weights)
        soup.check_alike(others, task.network, source.class_names)
        preflight.check(folder, source, task)
        with processes.preemption():
            history = stages.train(task, folder, after_epoch)
            with finishing(_trained(folder)):
                task = _as_served(task, source, others)
        experiment = task.experiment
        if processes.processes() > 1:
            task.fitted.cache_clear()  # it holds this process's share alone
        if not distribution.is_on():
            return Trained(task.network, experiment, source, history, task.fitted)
        with finishing(_trained(folder)):
            step("gathering the weights")
            weights = distribution.whole_weights(task.network)
    with finishing(_trained(folder)):
        network = build_network(experiment, task.class_count, weights=None)
        network.set_weights(weights)
    return Trained(network, experiment, source, history, task.fitted)


def find_learning_rate(experiment: Experiment, folder: pathlib.Path, steps: int) -> float:
    """Test rates in the first stage; writes `learning_rate.csv` and `.png`, gives the suggestion.

    It trains on one device alone.

    Raises:
        UserError: for data or weights that cannot be used.
    """
    task = _task(experiment, _source(experiment), experiment.weights)
    rows = stages.range_test(task, steps)
    rates, losses = ([row[name] for row in rows] for name in ("learning_rate", "loss"))
    rate = float(f"{suggested_rate(rates, losses):.1e}")
    for row, loss in zip(rows, smooth(losses), strict=True):
        row["smoothed_loss"] = loss
    stages.write_history_csv(rows, folder / "learning_rate.csv")
    report.learning_rate_figure(rows, rate, folder / "learning_rate.png")
    [stage, *_] = stages.stages(experiment)
    own = stage.name == "finetune" and experiment.learning_rate_finetune is not None
    flag = "--learning-rate-finetune" if own else "--learning-rate"
    log.info("suggested for %s: %s %g", stage.name, flag, rate)
    log.info("the curve: %s", folder / "learning_rate.png")
    return rate


def _source(experiment: Experiment) -> Source:
    """Where the photos come from."""
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


def _task(experiment: Experiment, source: Source, weights: str | None) -> stages.Task:
    """What is to be trained, with photos that are decoded once."""
    keras.utils.set_random_seed(experiment.seed)
    keras.config.set_floatx("float32")  # whatever a keras.json of other projects says
    keras.config.set_dtype_policy(precision.policy(experiment.precision))
    count = len(source.class_names)
    network = build_network(experiment, count, weights)
    if experiment.fast_convolutions:
        xla_cpu.speed_up(network)
    distribution.synchronize_norms(network)

    size, skip_bad = experiment.image_size, experiment.skip_bad

    @functools.cache
    def fitted(name: str) -> pipeline.Photos:
        split = source.splits[name]
        return pipeline.evaluation_photos(split, name, size, experiment.crop, skip_bad)

    def whole() -> pipeline.Photos:
        return pipeline.training_photos(source.splits["train"], "train", size, skip_bad)

    def strange() -> pipeline.Photos:
        split = outliers(experiment.outliers)["train"]
        return pipeline.training_photos(split, "outliers", size, skip_bad)

    teach = teaching(experiment.teacher, source.class_names, size)
    return stages.Task(
        network, experiment, count, fitted, whole, teach, strange if experiment.outliers else None
    )


def _as_served(task: stages.Task, source: Source, others: Sequence[soup.Finished]) -> stages.Task:
    """The mean with the others, at the size that is served, its learned norms those of its photos.

    Random crops show flowers larger than serving does, so a network that learned from them serves
    best at a higher resolution (Touvron et al., 2019, https://arxiv.org/abs/1906.06423).
    """
    experiment = task.experiment
    step("averaging and resizing the network")
    resized = experiment.serve_size not in (None, experiment.image_size)
    if resized or others:
        weights = soup.mean(distribution.whole_weights(task.network), others)
        if resized:
            # Nothing trains any more, so nobody teaches.
            experiment = dataclasses.replace(
                experiment, image_size=experiment.serve_size, serve_size=None, teacher=()
            )
            task = _task(experiment, source, weights=None)
            networks.set_trainable(
                task.network, experiment.unfreeze, train_norms=experiment.train_norms
            )
        task.network.set_weights(weights)
    if experiment.epochs_finetune and experiment.train_norms and experiment.measure_norms:
        step("measuring the norms")
        photos = task.fitted("train").array
        measure_norms(task.network, photos, experiment.batch_size, experiment.seed)
    return task
