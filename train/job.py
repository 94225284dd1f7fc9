"""From photos to a published bundle."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import textwrap

import keras

from flowers_model import hub
from flowers_model import network as networks
from flowers_model.bundle import Manifest, read_splits
from train.bundles.writer import write_bundle
from train.devices import environment, processes
from train.experiment import Experiment, load_preset
from train.loop.finishing import UnfinishedError, finishing, step
from train.loop.history import write_history_csv
from train.loop.range_test import range_test
from train.loop.task import stages
from train.loop.tracking import Run, following
from train.loop.training import kept_in, make_task, open_data, train
from train.optim.schedules import smooth, suggested_rate
from train.reports.figures import learning_rate_figure

log = logging.getLogger("flowers")


@dataclasses.dataclass(frozen=True)
class Publication:
    """Where and how a bundle is published on the Hub."""

    repo_id: str
    private: bool = False
    tag: str | None = None


def run(
    experiment: Experiment,
    folder: pathlib.Path,
    *,
    preset: str,
    command: str,
    publication: Publication | None = None,
    track: str | None = None,
) -> Manifest | None:
    """Train, or resume training, and write `folder/bundle`.

    Only process 0 writes and publishes; other processes return None.

    Args:
        preset, command: how the run was started, for the manifest.
        publication: where to publish the bundle; None to publish nothing.
        track: the tracker, as `train.loop.tracking.tracker_spec` returns it.

    Raises:
        UserError: if photos, weights, a Hub repo or a tracker cannot be used.
        TrainingError: if training cannot continue.
        UnfinishedError: if something fails after the last epoch; the trained network is safe.
        GroupError: if another process has died.
        Preempted: after SIGTERM, once everything is saved.
    """
    _log_start(preset, folder)
    if publication and processes.is_first():
        hub.check_may_write(publication.repo_id)
    if not processes.is_first():
        train(experiment, folder)
        processes.leave()
        return None
    about = Run(folder.resolve().name, preset, command, experiment)
    with following(folder, about, track) as follower:
        trained = train(experiment, folder, follower.epoch)
        processes.leave()
        splits = [name for name in ("train", "valid", "test") if name in trained.source.splits]
        with finishing(kept_in(folder)):
            step("reading the photos")
            photos = {name: trained.fitted(name) for name in splits}
            manifest = write_bundle(
                folder / "bundle",
                trained,
                photos,
                preset=preset,
                command=command,
                splits=None if trained.source.drawn else read_splits(folder),
            )
        log.info("bundle: %s", folder / "bundle")
        follower.end(trained.history, folder / "bundle")
    whole = f"the bundle in {folder / 'bundle'} is complete"
    if publication:
        with finishing(whole):
            step("publishing")
            _publish(folder / "bundle", publication)
    log.info("%s", manifest.headline)
    if not follower.told:
        raise UnfinishedError(f"{follower.spec} has not tracked the whole run; {whole}")
    return manifest


def _log_start(preset: str, folder: pathlib.Path) -> None:
    """Log what the preset promises, where the run is, what it runs on, and an unused GPU."""
    expectation = textwrap.dedent(load_preset(preset).__doc__ or "").strip()
    log.info("preset %s: %s\n", preset, expectation)
    backend = keras.backend.backend()
    log.info("run %s, Keras %s on %s", folder, keras.__version__, backend)
    if not networks.has_accelerator() and (missed := environment.unused_card(backend)):
        log.warning("warning: %s", missed)


def _publish(folder: pathlib.Path, publication: Publication) -> None:
    url = hub.publish(folder, publication.repo_id, private=publication.private, tag=publication.tag)
    log.info("published: %s", url)


def find_learning_rate(experiment: Experiment, folder: pathlib.Path, steps: int) -> float:
    """Range test of the first stage, on one device; returns the suggested learning rate.

    Writes `learning_rate.csv` and `learning_rate.png`.

    Raises:
        UserError: if photos or weights cannot be used.
    """
    task = make_task(experiment, open_data(experiment), experiment.weights)
    rows = range_test(task, steps)
    rates, losses = ([row[name] for row in rows] for name in ("learning_rate", "loss"))
    rate = float(f"{suggested_rate(rates, losses):.1e}")
    for row, loss in zip(rows, smooth(losses), strict=True):
        row["smoothed_loss"] = loss
    write_history_csv(rows, folder / "learning_rate.csv")
    learning_rate_figure(rows, rate, folder / "learning_rate.png")
    [stage, *_] = stages(experiment)
    own = stage.finetunes and experiment.learning_rate_finetune is not None
    flag = "--learning-rate-finetune" if own else "--learning-rate"
    log.info("suggested for %s: %s %g", stage.name, flag, rate)
    log.info("the curve: %s", folder / "learning_rate.png")
    return rate
