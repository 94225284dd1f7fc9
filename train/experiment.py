"""What can be set in an experiment: every setting is a field here and a flag of `train/run.py`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import math
import pathlib
import types
from typing import Any

from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.hub import check_license
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
LAST = "last"  # the epoch where a rate that falls to zero ends


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
    """A field of `Experiment`, with all that is known about its setting in the field's metadata.

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
        f"the photo source: {forms()}; given several times, the sources are merged by class name",
        type=str,
        action="append",
        metavar="SPEC",
    )
    classes: str = _setting(
        "union",
        "data",
        "the classes of several --data: all of them, those that all have (intersection), or those "
        "of the first, whose valid and test splits stay as they are (first) or get a part of each "
        "further source (known)",
        choices=("union", "intersection", "first", "known"),
    )
    outliers: tuple[str, ...] = _setting(
        (),
        "data",
        "a folder of out-of-distribution photos; fine-tuning learns to be uncertain about them "
        "(outlier exposure); four tenths are held out to choose and to measure the refusal score",
        type=str,
        action="append",
        metavar="PATH",
    )
    data_list: str | None = _setting(
        None,
        "data",
        "which photos to use in which split: a list as written by train.explore --clean",
        type=str,
        metavar="FILE",
    )
    skip_bad: bool = _setting(
        False, "data", "leave out bad photos and records, however many; they are counted and named"
    )
    valid_share: float = _setting(
        1.0,
        "data",
        "fraction of each class's validation photos that stays in valid, 0..1; the rest is trained "
        "on, as for final weights once all choices are made",
        low=0,
        high=1,
    )
    image_size: int = _setting(
        224, "data", "side of the network's input, pixels", low=8, high=4096, compiled=True
    )
    crop: float = _setting(
        0.875,
        "data",
        "fraction of the short side that evaluation and serving crop to, 0..1",
        low=0.1,
        high=1,
    )
    seed: int = _setting(
        0,
        "data",
        "random seed of drawn photos, splits, order, augmentation and weights",
        low=0,
        high=2**31 - 1,
    )

    augment: str = _setting(
        "inception",
        "augmentation",
        "augmentation of fine-tuning: none, or a comma-separated list of "
        + "; ".join(f"{name} ({line})" for name, line in STEPS.items()),
        metavar="STEPS",
    )
    augment_strength: float = _setting(
        1.0, "augmentation", "factor on the amount of geometric and colour changes", low=0, high=10
    )
    augment_rare_below: int | None = _setting(
        None, "augmentation", "augment only classes with fewer training photos", type=int
    )
    crop_scale: float = _setting(
        0.35,
        "augmentation",
        "smallest fraction of a photo's area that a random crop keeps, 0..1",
        low=0.01,
        high=1,
    )
    mix_share: float = _setting(
        1.0, "augmentation", "fraction of batches that cutmix and mixup blend, 0..1", low=0, high=1
    )

    backbone: str = _setting(
        "MobileNetV3Small",
        "network",
        "a Keras Applications name, EfficientNetLite0 to 4, or ConvNet",
        compiled=True,
        metavar="NAME",
    )
    alpha: float | None = _setting(
        None,
        "network",
        "width multiplier of MobileNets",
        compiled=True,
        type=float,
        metavar="SHARE",
    )
    filters: tuple[int, ...] = _setting(
        (32, 64, 128, 128),
        "network",
        "channels of ConvNet's convolutions",
        compiled=True,
        type=_units,
    )
    weights: str | None = _setting(
        "imagenet",
        "network",
        "initial weights of the backbone: imagenet (downloaded), none, a weights file, or another "
        "run's bundle",
        type=_weights,
        metavar="imagenet|none|PATH",
    )
    head_units: tuple[int, ...] = _setting(
        (),
        "network",
        "hidden layers of the head, such as 512 or 512,256; none: a linear head",
        compiled=True,
        type=_units,
    )

    batch_size: int = _setting(
        32, "optimizer", "photos per step, over all devices together", low=1, high=1_000_000
    )
    optimizer: str = _setting(
        "adamw", "optimizer", "the optimizer", compiled=True, choices=OPTIMIZERS
    )
    optimizer_finetune: str | None = _setting(
        None,
        "optimizer",
        "optimizer of fine-tuning, if different",
        compiled=True,
        type=str,
        choices=OPTIMIZERS,
    )
    weight_decay: float | None = _setting(
        None,
        "optimizer",
        "decoupled weight decay (default: the optimizer's own; 0.004 for AdamW, mostly none)",
        compiled=True,
        type=float,
        metavar="N",
    )

    learning_rate: float = _setting(1e-3, "schedule", "peak learning rate", low=0)
    learning_rate_finetune: float | None = _setting(
        None, "schedule", "peak learning rate of fine-tuning, if different", low=0, type=float
    )
    schedule: str = _setting(
        "cosine",
        "schedule",
        "learning rate schedule: warmup, then a decay to zero (cosine), by steps or exponentially; "
        "constant; reduced on a plateau of the validation metric; or cyclical",
        compiled=True,
        choices=SCHEDULES,
    )
    schedule_finetune: str | None = _setting(
        None,
        "schedule",
        "schedule of fine-tuning, if different",
        compiled=True,
        type=str,
        choices=SCHEDULES,
    )
    warmup: float = _setting(
        0.1,
        "schedule",
        "fraction of a stage's steps that warms up (cosine, step, exponential)",
        low=0,
        high=0.9,
        compiled=True,
    )
    rate_low: float = _setting(
        0.0, "schedule", "lowest learning rate (cyclical, step, exponential)", low=0
    )
    rate_period: float = _setting(
        4.0,
        "schedule",
        "epochs per cycle (cyclical), or between two decays by --rate-decay",
        low=0.01,
        high=100_000,
        compiled=True,
    )
    rate_decay: float = _setting(
        0.5,
        "schedule",
        "decay factor per period, 0..1 (step, exponential)",
        low=0,
        high=1,
        compiled=True,
    )

    epochs_head: int = _setting(
        20,
        "stages",
        "epochs of training the head on the frozen backbone",
        low=0,
        high=100_000,
        compiled=True,
    )
    epochs_finetune: int = _setting(
        10, "stages", "epochs of fine-tuning", low=0, high=100_000, compiled=True
    )
    unfreeze: int | None = _setting(
        None,
        "stages",
        "how many of the backbone's last layers are fine-tuned, or all",
        compiled=True,
        type=_layers,
    )
    train_norms: bool = _setting(
        True, "stages", "train the backbone's BatchNormalization in fine-tuning", compiled=True
    )
    cache_features: bool = _setting(
        True,
        "stages",
        "compute the frozen backbone's features once for the head, and cache them",
        compiled=True,
    )
    head_views: int = _setting(
        0,
        "stages",
        "augmented views per photo to cache features of; 0: the photo without augmentation",
        low=0,
        high=1000,
    )
    patience: int | None = _setting(
        None,
        "stages",
        "early stopping: epochs without improvement before a stage ends",
        type=int,
    )
    monitor: str = _setting(
        "val_accuracy",
        "stages",
        "how the best epoch is chosen: by validation accuracy or loss, or the last epoch; "
        "--resume RUN --monitor ... writes the bundle of another epoch",
        afterwards=True,
        choices=(*MONITORS, LAST),
    )

    dropout: float = _setting(
        0.2,
        "regularization",
        "dropout rate before each dense layer, 0..1",
        low=0,
        high=0.99,
        compiled=True,
    )
    label_smoothing: float = _setting(
        0.0, "regularization", "label smoothing, 0..1", low=0, high=0.9, compiled=True
    )
    teacher: tuple[str, ...] = _setting(
        (),
        "regularization",
        "distillation: a bundle or Hub repo whose probabilities are half of each label in "
        "fine-tuning; the probabilities of several are averaged",
        type=str,
        action="append",
        metavar="NAME",
    )
    loss: str = _setting(
        "crossentropy",
        "regularization",
        "the loss; the focal loss gives less weight to photos that are already confident",
        compiled=True,
        choices=("crossentropy", "focal"),
    )
    focal_gamma: float = _setting(
        2.0,
        "regularization",
        "focusing parameter gamma of the focal loss; 0 is cross-entropy",
        low=0,
        high=10,
        compiled=True,
    )
    class_weights: str = _setting(
        "none",
        "regularization",
        "class weights in the loss: how rare classes are weighted up",
        compiled=True,
        choices=SCHEMES,
    )
    oversample: bool = _setting(
        False, "regularization", "draw all classes equally often, repeating photos of rare ones"
    )

    precision: str = _setting(
        "auto",
        "devices",
        "precision of training; auto: bfloat16 on TPUs and on NVIDIA GPUs that support it, float16 "
        "on older ones with tensor cores, float32 elsewhere",
        compiled=True,
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    )
    distribution: str = _setting(
        "auto",
        "devices",
        "training on several devices: data parallel (data), wide layers sharded as well (model, "
        "JAX only), or one device (none); auto: data if there are several",
        choices=("auto", "none", "data", "model"),
    )
    model_devices: int = _setting(
        2, "devices", "devices that a wide layer is sharded over (model)", low=1, high=1_000_000
    )
    fast_convolutions: bool = _setting(
        True, "devices", "under JAX on a CPU, compute convolutions in a way that suits XLA"
    )

    serve_size: int | None = _setting(
        None,
        "bundle",
        "input size of the finished network, if different: networks serve best at a higher "
        "resolution than they were trained at",
        low=8,
        high=4096,
        afterwards=True,
        type=int,
    )
    measure_norms: bool = _setting(
        True,
        "bundle",
        "precise BatchNorm: re-estimate the statistics on training photos as they are served, "
        "which suits a single collection; without it, the moving averages of training stay",
        afterwards=True,
    )
    average: tuple[str, ...] = _setting(
        (),
        "bundle",
        "model soup: a bundle or Hub repo of a network that started from the same weights; the "
        "finished weights are the mean of this run's and those of all given",
        afterwards=True,
        type=str,
        action="append",
        metavar="NAME",
    )
    storage: str = _setting(
        "float32",
        "bundle",
        "data type of the kernels in the bundle; float16 halves the files and is applied before "
        "anything is measured",
        afterwards=True,
        choices=STORAGES,
    )
    gallery: int = _setting(
        3,
        "bundle",
        "held-out photos per class in the bundle's gallery; 0: neither gallery nor report holds "
        "any photo of the data",
        low=0,
        high=1000,
    )
    license: str | None = _setting(
        None,
        "bundle",
        "licence of the weights, for the model card, such as apache-2.0: an id of the Hub; the "
        "terms of the photos must allow it",
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
        """Check what one setting needs of another."""
        changes = photo_steps(self.augment)
        if self.head_views and not (changes and self.cache_features):
            raise UserError("--head-views needs --cache-features and an --augment that is not none")
        if self.augment_rare_below is not None and not changes:
            raise UserError("--augment-rare-below needs an --augment that changes photos")
        if self.oversample and self.class_weights != "none":
            raise UserError(
                "--oversample and --class-weights both even out the classes; choose one"
            )
        lowest = min(self.learning_rate, self.learning_rate_finetune or self.learning_rate)
        if self.rate_low > lowest:
            raise UserError(f"--rate-low {self.rate_low:g} is above the learning rate, {lowest:g}")
        schedules = self.schedule, self.schedule_finetune
        if self.monitor == LAST and (self.patience is not None or "plateau" in schedules):
            raise UserError("--monitor last goes neither with --patience nor with plateau")
        if self.teacher and not self.epochs_finetune:
            raise UserError("--teacher needs --epochs-finetune: only fine-tuning is distilled")
        if self.data_list is not None and self.classes == "known" and self.valid_share < 1:
            raise UserError("--data-list says what is valid, and so does --valid-share: choose one")
        if self.outliers and not (self.epochs_finetune and changes):
            raise UserError(
                "--outliers needs --epochs-finetune and an --augment that is not none: only "
                "fine-tuning learns from them"
            )
        if not self.epochs_head and not self.epochs_finetune:
            raise UserError("nothing to train: --epochs-head and --epochs-finetune are both 0")

    def changed(self, settings: dict[str, Any]) -> Experiment:
        """The same with other settings by name.

        A network that trains at another size serves at that, too, unless they say otherwise.

        Raises:
            UserError: for a value that is out of range, or does not go with another.
        """
        if "image_size" in settings:
            settings = {"serve_size": None, **settings}
        return dataclasses.replace(self, **settings)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting; those that are not given are not among the parsed ones."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in dataclasses.fields(Experiment):
        group, flag = field.metadata["group"], dict(field.metadata["flag"])
        groups.setdefault(group, parser.add_argument_group(group))
        if isinstance(field.default, bool):
            flag["action"] = argparse.BooleanOptionalAction
        elif "choices" not in flag:
            flag.setdefault("type", type(field.default))
            if not isinstance(field.default, str):
                flag.setdefault("metavar", "N")
        groups[group].add_argument(flag_of(field.name), default=argparse.SUPPRESS, **flag)


# What `--resume` can change once all epochs are trained: checkpoints of the best epochs by either
# metric and of the last one are kept, and weights can be resized, averaged and rounded.
AFTERWARDS = {one.name for one in dataclasses.fields(Experiment) if one.metadata["afterwards"]}


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def write_settings(folder: pathlib.Path, preset: str, experiment: Experiment, command: str) -> None:
    """Make `folder` the folder of a run, which `--resume` starts or resumes."""
    saved = {"preset": preset, "command": command, "experiment": dataclasses.asdict(experiment)}
    with replacing(folder / SETTINGS) as temporary:
        temporary.write_text(json.dumps(saved, indent=2) + "\n", "utf-8")


def read_settings(folder: pathlib.Path) -> tuple[str, Experiment, str]:
    """The preset, the experiment and the command of a run's folder.

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
            f"{path} is damaged: put a copy of it back, or begin a new run in another --output"
        ) from None
    if unknown := sorted(values.keys() - {field.name for field in dataclasses.fields(Experiment)}):
        raise UserError(
            f"{path} has the setting {unknown[0]!r}, which this version does not know: resume with "
            "the version that the run began with"
        )
    try:
        return preset, Experiment(**values), command
    except TypeError as error:
        raise UserError(f"{path} has a value of another kind than its setting: {error}") from None


def holds_run(folder: pathlib.Path) -> bool:
    """Whether a folder is a run's."""
    return (folder / SETTINGS).is_file()


def preset_names() -> list[str]:
    """The presets, one Python file each."""
    return sorted(path.stem for path in PRESETS.glob("[a-z]*.py"))


def load_preset(name: str) -> types.ModuleType:
    """The module of a preset: `EXPERIMENT`, and a docstring that says what to expect of it."""
    if name not in preset_names():
        raise UserError(f"no preset is called {name!r}; there are {', '.join(preset_names())}")
    return importlib.import_module(f"train.presets.{name}")
