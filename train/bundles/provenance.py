"""The provenance of a trained network: photos, command, versions, commit."""

from __future__ import annotations

import collections
import datetime
import importlib.metadata
import math
import pathlib
import platform
import subprocess

import keras

from flowers_model import __version__, bundle, hub
from flowers_model import network as networks
from flowers_model.efficientnet_lite import imagenet_repo
from flowers_model.installation import ROOT
from train.experiment import Experiment
from train.loop.history import Row
from train.sources import Source


def provenance(
    experiment: Experiment,
    source: Source,
    history: list[Row],
    network: keras.Model,
    preset: str,
    command: str,
    learned: dict[str, int],
) -> bundle.Provenance:
    """The provenance of a trained network, for the manifest.

    Args:
        preset, command: how the training was started.
        learned: number of out-of-distribution training photos, by folder.
    """
    packages = ("keras", keras.backend.backend(), "onnxruntime", "numpy", "pillow")
    weights = experiment.weights or "none"
    if weights not in ("imagenet", "none"):
        path = pathlib.Path(weights).absolute()
        weights = f"{path.parent.name}/{path.name}" if path.is_dir() else path.name
    return bundle.Provenance(
        preset=preset,
        command=command,
        seed=experiment.seed,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(sum(row["seconds"] for row in history), 1),
        data=source.name,
        credits=source.credits,
        splits={name: len(split) for name, split in source.splits.items()},
        valid_share=experiment.valid_share,
        sources=_by_source(source),
        outliers=learned,
        backbone=experiment.backbone,
        weights=weights,
        parameters=networks.parameter_count(network),
        trainable_parameters=sum(math.prod(one.shape) for one in network.trainable_variables),
        optimizer_bytes=_optimizer_bytes(network),
        backend=keras.backend.backend(),
        versions={"flowers_model": __version__, "python": platform.python_version()}
        | {name: _version(name) for name in packages},
        git_commit=_git_commit(),
        license=experiment.license,
        base_model=_base_model(experiment),
        datasets=list(source.datasets),
    )


def _base_model(experiment: Experiment) -> str | None:
    """The Hub repo that the initial weights come from, directly or through an earlier bundle."""
    weights = experiment.weights
    if weights == "imagenet" and experiment.backbone.startswith("EfficientNetLite"):
        return imagenet_repo(experiment.backbone)
    if weights is None or not pathlib.Path(weights).is_dir():
        return None
    if repo := hub.cached_repo(weights):
        return repo[0]
    return bundle.read_manifest(weights).provenance.base_model


def _by_source(source: Source) -> dict[str, dict[str, int]]:
    """Photos by source and split; {} if there is only one source."""
    counts: dict[str, dict[str, int]] = {}
    for split, photos in source.splits.items():
        for name, count in collections.Counter(photos.origins).items():
            counts.setdefault(name, {})[split] = count
    return counts


def _optimizer_bytes(network: keras.Model) -> int | None:
    """Bytes of the optimizer state in float32; None if this process did not train the network."""
    optimizer = getattr(network, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return 4 * sum(math.prod(one.shape) for one in optimizer.variables)


def _version(package: str) -> str:
    names = (package, f"{package}-cpu")  # tensorflow comes under either name
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _git_commit() -> str | None:
    if not (ROOT / ".git").exists():
        return None  # a repository around an installed package belongs to another project
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
