"""The settings of an experiment: each is a field of `Experiment` and a flag of `train/run.py`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import math
import pathlib
import types
from typing import Any

from flowers_model.command import MODEL_HELP
from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.hub import check_license
from flowers_model.keras_hub_backbones import PREFIX
from flowers_model.storage import STORAGES
from train.data.augment import STEPS, photo_steps
from train.data.balance import SCHEMES
from train.sources import forms

SETTINGS = "experiment.json"  # in a run's folder
PRESETS = pathlib.Path(__file__).parent / "presets"
# Written down, so that `--help` does not wait for Keras; `radam` is ours.
# fmt: off
OPTIMIZERS = (
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion", "muon",
    "nadam", "radam", "rmsprop", "schedulefreeadamw", "sgd",
)
# fmt: on
SCHEDULES = ("cosine", "constant", "plateau", "cyclical", "step", "exponential")
MONITORS = ("val_accuracy", "val_loss")
LAST = "last"  # the last epoch, in which a decaying learning rate reaches zero


def _setting(
    default: Any,
    group: str,
    help: str,
    *,
    low: float | None = None,
    high: float = math.inf,
    compiled: bool = False,
    afterwards: bool = False,
    **flag: Any,
) -> Any:
    """A field of `Experiment`; its metadata hold all that is known about the setting.

    Args:
        group, help: where and how `--help` lists the flag.
        low, high: the range of a number, both ends included.
        compiled: whether the setting can change a compiled training step (`train.plans`).
        afterwards: whether `--resume` can change it once all epochs are trained.
        flag: goes to `ArgumentParser.add_argument`.
    """
    about = {"group": group, "low": low, "high": high, "compiled": compiled}
    about |= {"afterwards": afterwards, "flag": {"help": help, **flag}}
    return dataclasses.field(default=default, metadata=about)


def _units(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(int(part) for part in text.split(",") if part)


def _layers(text: str) -> int | None:
    return None if text == "all" else int(text)


def _weights(text: str) -> str | None:
    return None if text == "none" else text


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The settings of one training run; the defaults are plain fine-tuning at 224 px."""

    data: tuple[str, ...] = _setting(
        ("quickstart",),
        "data",
        f"photo source: {forms()}; several --data are merged by class name",
        type=str,
        action="append",
        metavar="SOURCE",
    )
    classes: str = _setting(
        "union",
        "data",
        "classes kept when several --data are merged: those of any source (union), of every source "
        "(intersection), or of the first source; valid and test then come from the first source "
        "alone (first) or from all sources (known)",
        choices=("union", "intersection", "first", "known"),
    )
    outliers: tuple[str, ...] = _setting(
        (),
        "data",
        "folder of out-of-distribution photos: fine-tuning trains on 60 %% of them (outlier "
        "exposure), the rest is held out to choose and to measure the refusal score; repeatable",
        type=str,
        action="append",
        metavar="PATH",
    )
    data_list: str | None = _setting(
        None,
        "data",
        "list of the photos to use and their splits, as `train.explore --clean` writes it",
        type=str,
        metavar="FILE",
    )
    skip_bad: bool = _setting(
        False, "data", "skip unreadable photos and bad records; the log counts and names them"
    )
    valid_share: float = _setting(
        1.0,
        "data",
        "fraction of each class's validation photos that stays in valid; the rest moves to train, "
        " for final weights once all choices are made",
        low=0,
        high=1,
    )
    image_size: int = _setting(
        224, "data", "side of the network's square input in pixels", low=8, high=4096, compiled=True
    )
    crop: float = _setting(
        0.875,
        "data",
        "side of the centre crop in evaluation and serving, as a fraction of the photo's short "
        "side",
        low=0.1,
        high=1,
    )
    seed: int = _setting(
        0,
        "data",
        "random seed of splits, shuffling, augmentation, initial weights and drawn photos",
        low=0,
        high=2**31 - 1,
    )

    augment: str = _setting(
        "inception",
        "augmentation",
        "augmentation in fine-tuning: none, or a comma-separated list of "
        + "; ".join(f"{name} ({line[0].lower()}{line[1:]})" for name, line in STEPS.items()),
        metavar="STEPS",
    )
    augment_strength: float = _setting(
        1.0, "augmentation", "strength of geometric and colour changes, as a factor", low=0, high=10
    )
    augment_rare_below: int | None = _setting(
        None, "augmentation", "augment only classes with fewer than N training photos", type=int
    )
    crop_scale: float = _setting(
        0.35,
        "augmentation",
        "smallest fraction of a photo's area that a random crop keeps",
        low=0.01,
        high=1,
    )
    mix_share: float = _setting(
        1.0, "augmentation", "fraction of batches to which cutmix and mixup apply", low=0, high=1
    )

    backbone: str = _setting(
        "MobileNetV3Small",
        "network",
        "backbone: a name of Keras Applications, EfficientNetLite0 to 4, ConvNet, or hub:PRESET "
        "(keras-hub)",
        compiled=True,
        metavar="NAME",
    )
    alpha: float | None = _setting(
        None,
        "network",
        "width multiplier of a MobileNet (default: 1)",
        compiled=True,
        type=float,
        metavar="N",
    )
    filters: tuple[int, ...] = _setting(
        (32, 64, 128, 128),
        "network",
        "channels of each convolution of ConvNet",
        compiled=True,
        type=_units,
        metavar="N,N,...",
    )
    weights: str | None = _setting(
        "imagenet",
        "network",
        "initial weights of the backbone: imagenet (downloaded), none, a weights file, or the "
        "bundle of another run",
        type=_weights,
        metavar="imagenet|none|PATH",
    )
    head_units: tuple[int, ...] = _setting(
        (),
        "network",
        "hidden layers of the head, such as 512,256, or none for a linear head (default: none)",
        compiled=True,
        type=_units,
        metavar="N,N,...",
    )

    batch_size: int = _setting(
        32, "optimizer", "photos per step, over all devices", low=1, high=1_000_000
    )
    optimizer: str = _setting(
        "adamw",
        "optimizer",
        f"optimizer: {', '.join(OPTIMIZERS)}",
        compiled=True,
        choices=OPTIMIZERS,
        metavar="NAME",
    )
    optimizer_finetune: str | None = _setting(
        None,
        "optimizer",
        "optimizer of fine-tuning (default: as --optimizer)",
        compiled=True,
        type=str,
        choices=OPTIMIZERS,
        metavar="NAME",
    )
    weight_decay: float | None = _setting(
        None,
        "optimizer",
        "decoupled weight decay (default: the optimizer's own, which is 0.004 for adamw)",
        compiled=True,
        type=float,
        metavar="N",
    )

    learning_rate: float = _setting(1e-3, "learning rate schedule", "peak learning rate", low=0)
    learning_rate_finetune: float | None = _setting(
        None,
        "learning rate schedule",
        "peak learning rate of fine-tuning (default: as --learning-rate)",
        low=0,
        type=float,
    )
    schedule: str = _setting(
        "cosine",
        "learning rate schedule",
        "warmup and then decay to zero (cosine), in steps (step) or exponentially (exponential); "
        "constant; reduced when the validation metric stops improving (plateau); or cyclical",
        compiled=True,
        choices=SCHEDULES,
    )
    schedule_finetune: str | None = _setting(
        None,
        "learning rate schedule",
        "schedule of fine-tuning (default: as --schedule)",
        compiled=True,
        type=str,
        choices=SCHEDULES,
    )
    warmup: float = _setting(
        0.1,
        "learning rate schedule",
        "fraction of a stage's steps spent on warmup (cosine, step, exponential)",
        low=0,
        high=0.9,
        compiled=True,
    )
    rate_low: float = _setting(
        0.0, "learning rate schedule", "lowest learning rate (cyclical, step, exponential)", low=0
    )
    rate_period: float = _setting(
        4.0,
        "learning rate schedule",
        "epochs per cycle (cyclical), or per decay by --rate-decay (step, exponential)",
        low=0.01,
        high=100_000,
        compiled=True,
    )
    rate_decay: float = _setting(
        0.5,
        "learning rate schedule",
        "factor by which the rate decays each --rate-period (step, exponential)",
        low=0,
        high=1,
        compiled=True,
    )

    epochs_head: int = _setting(
        20,
        "stages",
        "epochs of the head stage, which trains the head on the frozen backbone",
        low=0,
        high=100_000,
        compiled=True,
    )
    epochs_finetune: int = _setting(
        10, "stages", "epochs of the fine-tuning stage", low=0, high=100_000, compiled=True
    )
    unfreeze: int | None = _setting(
        None,
        "stages",
        "how many of the backbone's last layers are fine-tuned, or all (default: all)",
        compiled=True,
        type=_layers,
        metavar="N|all",
    )
    train_norms: bool = _setting(
        True, "stages", "train the BatchNorm layers of the backbone in fine-tuning", compiled=True
    )
    cache_features: bool = _setting(
        True,
        "stages",
        "in the head stage, compute the frozen backbone's features once and cache them",
        compiled=True,
    )
    head_views: int = _setting(
        0,
        "stages",
        "augmented views of each photo whose features are cached; 0 for the photo as it is",
        low=0,
        high=1000,
    )
    patience: int | None = _setting(
        None,
        "stages",
        "early stopping: end a stage after N epochs without improvement",
        type=int,
    )
    monitor: str = _setting(
        "val_accuracy",
        "stages",
        "which epoch is kept: the best by validation accuracy or loss, or the last; change it "
        "after training with --resume RUN --monitor ...",
        afterwards=True,
        choices=(*MONITORS, LAST),
    )

    dropout: float = _setting(
        0.2,
        "regularization and loss",
        "dropout rate before each dense layer of the head",
        low=0,
        high=0.99,
        compiled=True,
    )
    label_smoothing: float = _setting(
        0.0, "regularization and loss", "amount of label smoothing", low=0, high=0.9, compiled=True
    )
    teacher: tuple[str, ...] = _setting(
        (),
        "regularization and loss",
        f"distillation: a teacher ({MODEL_HELP}) whose probabilities make up half of each label in "
        "fine-tuning; several teachers are averaged",
        type=str,
        action="append",
        metavar="MODEL",
    )
    loss: str = _setting(
        "crossentropy",
        "regularization and loss",
        "loss; the focal loss gives less weight to photos that are already classified well",
        compiled=True,
        choices=("crossentropy", "focal"),
    )
    focal_gamma: float = _setting(
        2.0,
        "regularization and loss",
        "gamma of the focal loss; 0 gives cross-entropy",
        low=0,
        high=10,
        compiled=True,
    )
    class_weights: str = _setting(
        "none",
        "regularization and loss",
        "how the loss weights photos of rare classes up",
        compiled=True,
        choices=SCHEMES,
    )
    oversample: bool = _setting(
        False,
        "regularization and loss",
        "draw all classes equally often, repeating photos of rare classes",
    )

    precision: str = _setting(
        "auto",
        "devices",
        "precision of training; auto: mixed bfloat16 on TPUs and on NVIDIA GPUs that support it, "
        "mixed float16 on older NVIDIA GPUs with tensor cores, float32 elsewhere",
        compiled=True,
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    )
    distribution: str = _setting(
        "auto",
        "devices",
        "parallelism over several devices: data parallel (data), with wide layers sharded as well "
        "(model, JAX only), or a single device (none); auto: data if there are several",
        choices=("auto", "none", "data", "model"),
    )
    model_devices: int = _setting(
        2,
        "devices",
        "devices over which --distribution model shards a layer",
        low=1,
        high=1_000_000,
    )
    fast_convolutions: bool = _setting(
        True,
        "devices",
        "JAX on CPUs: write convolutions in a form that XLA compiles to faster code",
    )

    serve_size: int | None = _setting(
        None,
        "bundle",
        "input size of the finished network in pixels; a network is often most accurate somewhat "
        "above the size that it was trained at (default: as --image-size)",
        low=8,
        high=4096,
        afterwards=True,
        type=int,
    )
    measure_norms: bool = _setting(
        True,
        "bundle",
        "precise BatchNorm: replace the moving averages of training by statistics of training "
        "photos without augmentation; suits photos from a single dataset",
        afterwards=True,
    )
    average: tuple[str, ...] = _setting(
        (),
        "bundle",
        f"model soup: average the weights with those of another model ({MODEL_HELP}) trained from "
        "the same initial weights; repeatable",
        afterwards=True,
        type=str,
        action="append",
        metavar="MODEL",
    )
    storage: str = _setting(
        "float32",
        "bundle",
        "data type in which the bundle stores large weights; float16 halves the files, and every "
        "figure is measured after rounding",
        afterwards=True,
        choices=STORAGES,
    )
    gallery: int = _setting(
        3,
        "bundle",
        "held-out photos per class in the bundle's gallery; 0 keeps all photos out of the bundle, "
        "its report included",
        low=0,
        high=1000,
    )
    license: str | None = _setting(
        None,
        "bundle",
        "licence of the weights in the model card, as an id of the Hub such as apache-2.0; the "
        "photos' terms must allow it",
        afterwards=True,
        type=str,
        metavar="ID",
    )

    def __post_init__(self):
        # Presets and older runs give one spec as a string; the flag makes a list.
        data = (self.data,) if isinstance(self.data, str) else tuple(self.data)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "outliers", tuple(self.outliers))
        object.__setattr__(self, "teacher", tuple(self.teacher))
        object.__setattr__(self, "average", tuple(self.average))
        for field in dataclasses.fields(self):
            value, low, high = getattr(self, field.name), *map(field.metadata.get, ("low", "high"))
            if low is not None and value is not None and not low <= value <= high:
                raise UserError(f"{flag_of(field.name)} must lie in {low}..{high}, not {value}")
        if self.license is not None:
            check_license(self.license)
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Check that the settings fit together."""
        changes = photo_steps(self.augment)
        if self.head_views and not (changes and self.cache_features):
            raise UserError("--head-views needs --cache-features and an --augment that is not none")
        if self.augment_rare_below is not None and not changes:
            raise UserError("--augment-rare-below needs an --augment that changes photos")
        if self.oversample and self.class_weights != "none":
            raise UserError("--oversample and --class-weights both balance the classes; choose one")
        lowest = min(self.learning_rate, self.learning_rate_finetune or self.learning_rate)
        if self.rate_low > lowest:
            raise UserError(f"--rate-low {self.rate_low:g} is above the learning rate, {lowest:g}")
        schedules = self.schedule, self.schedule_finetune
        if self.monitor == LAST and (self.patience is not None or "plateau" in schedules):
            raise UserError("--monitor last cannot be combined with --patience or plateau")
        if self.teacher and not self.epochs_finetune:
            raise UserError("--teacher needs --epochs-finetune: only fine-tuning uses teachers")
        if self.data_list is not None and self.classes == "known" and self.valid_share < 1:
            raise UserError("--data-list and --valid-share both decide what is valid: choose one")
        if self.outliers and not (self.epochs_finetune and changes):
            raise UserError(
                "--outliers needs --epochs-finetune and an --augment that is not none: only "
                "fine-tuning trains on them"
            )
        if self.backbone.startswith(PREFIX) and self.serve_size not in (None, self.image_size):
            raise UserError(
                "--backbone hub:... serves at the size of its training; leave --serve-size out"
            )
        if not self.epochs_head and not self.epochs_finetune:
            raise UserError("nothing to train: --epochs-head and --epochs-finetune are both 0")

    def changed(self, settings: dict[str, Any]) -> Experiment:
        """A copy with some settings changed.

        A new `image_size` resets `serve_size`, unless that is given as well.

        Raises:
            UserError: for a value that is out of range or that does not fit another setting.
        """
        if "image_size" in settings:
            settings = {"serve_size": None, **settings}
        return dataclasses.replace(self, **settings)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting; a flag that is not given is absent from the parsed options."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in dataclasses.fields(Experiment):
        group, flag = field.metadata["group"], dict(field.metadata["flag"])
        groups.setdefault(group, parser.add_argument_group(group))
        shown = _shown(field.default)
        if shown and "default:" not in flag["help"]:
            flag["help"] += f" (default: {shown})"
        if isinstance(field.default, bool):
            flag["action"] = argparse.BooleanOptionalAction
        elif "choices" not in flag:
            flag.setdefault("type", type(field.default))
            if not isinstance(field.default, str):
                flag.setdefault("metavar", "N")
        groups[group].add_argument(flag_of(field.name), default=argparse.SUPPRESS, **flag)


def _shown(default: Any) -> str:
    """A default as its flag takes it; empty for none."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default is None else str(default)


# What `--resume` can change once all epochs are trained: the checkpoints of the last epoch and of
# the best ones by either metric are kept, and networks can be resized, averaged and rounded.
AFTERWARDS = {one.name for one in dataclasses.fields(Experiment) if one.metadata["afterwards"]}


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def write_settings(folder: pathlib.Path, preset: str, experiment: Experiment, command: str) -> None:
    """Write a run's settings into its folder, so that `--resume` can continue it."""
    saved = {"preset": preset, "command": command, "experiment": dataclasses.asdict(experiment)}
    with replacing(folder / SETTINGS) as temporary:
        temporary.write_text(json.dumps(saved, indent=2) + "\n", "utf-8")


def read_settings(folder: pathlib.Path) -> tuple[str, Experiment, str]:
    """The preset, the experiment and the command that a run's folder records.

    Raises:
        UserError: for a folder that holds no run, or one that this version cannot read.
    """
    if not holds_run(folder):
        raise UserError(f"{str(folder)!r} holds no run: there is no {SETTINGS} in it")
    path = folder / SETTINGS
    try:
        saved = json.loads(path.read_text("utf-8"))
        preset, command = str(saved["preset"]), str(saved["command"])
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in saved["experiment"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is damaged: restore it from a copy, or start a new run in another --output"
        ) from None
    if unknown := sorted(values.keys() - {field.name for field in dataclasses.fields(Experiment)}):
        raise UserError(
            f"{path} has the setting {unknown[0]!r}, which this version does not know: resume with "
            "the version that started the run"
        )
    try:
        return preset, Experiment(**values), command
    except TypeError as error:
        raise UserError(f"{path} has a value of the wrong type: {error}") from None


def holds_run(folder: pathlib.Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / SETTINGS).is_file()


def preset_names() -> list[str]:
    """The presets, one Python file each."""
    return sorted(path.stem for path in PRESETS.glob("[a-z]*.py"))


def load_preset(name: str) -> types.ModuleType:
    """The module of a preset: `EXPERIMENT`, and a docstring with the results to expect."""
    if name not in preset_names():
        raise UserError(f"no preset is called {name!r}; there are {', '.join(preset_names())}")
    return importlib.import_module(f"train.presets.{name}")
