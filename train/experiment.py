"""What can be set in an experiment: every setting is a field here and a flag of `train/run.py`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import pathlib
import types
from typing import Any

from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.hub import check_license
from flowers_model.storage import STORAGES
from train.data.augment import BATCH_STEPS, PHOTO_STEPS, photo_steps
from train.data.balance import SCHEMES

SETTINGS = "experiment.json"  # in a run's folder
PRESETS = pathlib.Path(__file__).parent / "presets"
# Written down, so that `--help` does not wait for Keras; `radam` is ours.
OPTIMIZERS = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion"),
    *("muon", "nadam", "radam", "rmsprop", "schedulefreeadamw", "sgd"),
)
SCHEDULES = ("cosine", "constant", "plateau", "cyclical", "step", "exponential")
MONITORS = ("val_accuracy", "val_loss")
LAST = "last"  # the epoch where a rate that falls to zero ends


def _setting(default: Any, group: str, help: str, **flag: Any) -> Any:
    """A field whose metadata makes its flag; `flag` goes to `ArgumentParser.add_argument`."""
    return dataclasses.field(default=default, metadata={"group": group, "help": help, **flag})


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
        "where photos come from: quickstart, folder:PATH, tfrecord:PATH, "
        "oxford_flowers102[:PATH] or hub:USER/DATASET[@REVISION]; given several times, they are "
        "merged by class name",
        type=str,
        action="append",
        metavar="SPEC",
    )
    classes: str = _setting(
        "union",
        "data",
        "of several --data: all classes, those of all, those (and valid and test) of the first, or "
        "those of the first with a part of each source held back (known)",
        choices=("union", "intersection", "first", "known"),
    )
    outliers: tuple[str, ...] = _setting(
        (),
        "data",
        "a folder of photos of what the model is not to know, which fine-tuning learns to be "
        "unsure of; four tenths are held back, to choose and to measure the refusal score",
        type=str,
        action="append",
        metavar="PATH",
    )
    data_list: str | None = _setting(
        None,
        "data",
        "which photos to use, in which split: a list as train.explore --clean writes",
        type=str,
        metavar="FILE",
    )
    skip_bad: bool = _setting(
        False, "data", "leave out, count and name what is bad in the data, however much it is"
    )
    image_size: int = _setting(224, "data", "side of the network's input, pixels")
    serve_size: int | None = _setting(
        None,
        "data",
        "side of what the finished network looks at, where it differs: networks serve best at a "
        "higher resolution than they trained at",
        type=int,
    )
    crop: float = _setting(0.875, "data", "share of the short side that serving looks at, 0..1")
    augment: str = _setting(
        "inception",
        "data",
        "what fine-tuning does to photos: none, or a comma list of "
        + ", ".join(PHOTO_STEPS + BATCH_STEPS),
        metavar="STEPS",
    )
    augment_strength: float = _setting(
        1.0, "data", "what the amounts of geometric and colour changes are multiplied by"
    )
    augment_rare_below: int | None = _setting(
        None, "data", "change only photos of classes with fewer training photos", type=int
    )
    crop_scale: float = _setting(
        0.35, "data", "smallest share of a photo's area that a random crop keeps, 0..1"
    )
    mix_share: float = _setting(
        1.0, "data", "share of the batches that cutmix and mixup blend, 0..1"
    )
    valid_share: float = _setting(
        1.0,
        "data",
        "share of each class's valid photos that stay valid, 0..1; the others train, as for final "
        "weights, when all choices are made",
    )
    gallery: int = _setting(
        3,
        "data",
        "held-out photos a class that go into the bundle's gallery; 0: no photo of the data "
        "goes into the bundle, its report neither",
    )

    backbone: str = _setting(
        "MobileNetV3Small",
        "network",
        "a Keras Applications name, EfficientNetLite0 to 4, or ConvNet",
        metavar="NAME",
    )
    alpha: float | None = _setting(
        None, "network", "width multiplier of MobileNets", type=float, metavar="SHARE"
    )
    filters: tuple[int, ...] = _setting(
        (32, 64, 128, 128), "network", "channels of ConvNet's convolutions", type=_units
    )
    weights: str | None = _setting(
        "imagenet",
        "network",
        "what the backbone starts from: imagenet (downloaded), none, a weights file, or another "
        "run's bundle",
        type=_weights,
        metavar="imagenet|none|PATH",
    )
    head_units: tuple[int, ...] = _setting(
        (), "network", "hidden layers of the head, as in 512 or 512,256; none: linear", type=_units
    )
    dropout: float = _setting(0.2, "network", "share dropped before each dense layer, 0..1")

    epochs_head: int = _setting(20, "training", "epochs of the head on the frozen backbone")
    epochs_finetune: int = _setting(10, "training", "epochs of fine-tuning")
    unfreeze: int | None = _setting(
        None, "training", "how many of the backbone's last layers fine-tuning frees", type=_layers
    )
    train_norms: bool = _setting(
        True, "training", "let the backbone's BatchNormalization learn while fine-tuning"
    )
    measure_norms: bool = _setting(
        True,
        "training",
        "measure BatchNormalization's statistics anew on training photos as they are served, which "
        "suits one collection; without, they stay the moving averages of training",
    )
    batch_size: int = _setting(32, "training", "photos a step, on all devices together")
    learning_rate: float = _setting(1e-3, "training", "peak learning rate")
    learning_rate_finetune: float | None = _setting(
        None, "training", "peak rate of fine-tuning, where it differs", type=float
    )
    optimizer: str = _setting(
        "adamw", "training", "what makes steps of gradients", choices=OPTIMIZERS
    )
    optimizer_finetune: str | None = _setting(
        None, "training", "that of fine-tuning, where it differs", type=str, choices=OPTIMIZERS
    )
    schedule: str = _setting(
        "cosine",
        "training",
        "learning rate: warm-up, then to zero along a cosine, or down by steps or exponentially; "
        "constant; reduced where valid stands still; up and down in cycles",
        choices=SCHEDULES,
    )
    schedule_finetune: str | None = _setting(
        None, "training", "that of fine-tuning, where it differs", type=str, choices=SCHEDULES
    )
    warmup: float = _setting(
        0.1, "training", "share of a stage's steps that warms up (cosine, step, exponential)"
    )
    rate_low: float = _setting(
        0.0, "training", "lowest learning rate (cyclical, step, exponential)"
    )
    rate_period: float = _setting(
        4.0, "training", "epochs of a cycle (cyclical), or that --rate-decay is for"
    )
    rate_decay: float = _setting(
        0.5, "training", "what a period multiplies the rate by, 0..1 (step, exponential)"
    )
    weight_decay: float | None = _setting(
        None,
        "training",
        "decoupled weight decay; else the optimizer's own: AdamW's 0.004, mostly none",
        type=float,
        metavar="N",
    )
    label_smoothing: float = _setting(0.0, "training", "share of the label spread evenly, 0..1")
    teacher: tuple[str, ...] = _setting(
        (),
        "training",
        "a bundle or Hub repo whose answers are half of the labels in fine-tuning; of several, "
        "their mean",
        type=str,
        action="append",
        metavar="NAME",
    )
    average: tuple[str, ...] = _setting(
        (),
        "training",
        "a bundle or Hub repo of a network that began as this one did; the weights of the finished "
        "network are the mean of its own and those (and of others, where it comes several times)",
        type=str,
        action="append",
        metavar="NAME",
    )
    loss: str = _setting(
        "crossentropy",
        "training",
        "what is minimised; focal counts photos that are sure already for less",
        choices=("crossentropy", "focal"),
    )
    focal_gamma: float = _setting(2.0, "training", "how much less (focal); 0: crossentropy")
    class_weights: str = _setting(
        "none",
        "training",
        "how much more photos of rare classes count in the loss",
        choices=SCHEMES,
    )
    oversample: bool = _setting(
        False, "training", "draw all classes equally often, photos of rare ones again and again"
    )
    patience: int | None = _setting(
        None, "training", "epochs without a better valid figure before a stage stops", type=int
    )
    monitor: str = _setting(
        "val_accuracy",
        "training",
        "what the best epoch is judged by, or last for the last one; --resume RUN --monitor ... "
        "makes another's bundle",
        choices=(*MONITORS, LAST),
    )
    precision: str = _setting(
        "auto",
        "training",
        "what the network trains in; auto: bfloat16 on TPU and on NVIDIA's cards that have it, "
        "float16 on those before with tensor cores, float32 elsewhere",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    )
    distribution: str = _setting(
        "auto",
        "training",
        "how several devices train: each its part of a batch (data), the wide layers divided, too "
        "(model, JAX alone), or one device alone (none); auto: data where there are several",
        choices=("auto", "none", "data", "model"),
    )
    model_devices: int = _setting(
        2, "training", "devices that divide the wide layers among them (model)"
    )
    cache_features: bool = _setting(
        True, "training", "compute the frozen backbone's features once for the head, and keep them"
    )
    head_views: int = _setting(
        0,
        "training",
        "augmented views a photo that cached features are computed of; 0: the photo as it is",
    )
    fast_convolutions: bool = _setting(
        True, "training", "under JAX on a CPU, compute convolutions in the way that suits XLA"
    )
    storage: str = _setting(
        "float32",
        "training",
        "what the bundle keeps kernels in; float16 rounds them, to files of half the size, before "
        "anything is measured",
        choices=STORAGES,
    )
    seed: int = _setting(0, "training", "of photos, splits, order, augmentation and weights")
    license: str | None = _setting(
        None,
        "training",
        "licence of the weights, for the model card, such as apache-2.0: an id of the Hub; the "
        "terms of the photos must allow it",
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
        for name, low, high in (
            ("image_size", 8, 4096),
            ("serve_size", 8, 4096),
            ("crop", 0.1, 1),
            ("crop_scale", 0.01, 1),
            ("augment_strength", 0, 10),
            ("gallery", 0, 1000),
            ("head_views", 0, 1000),
            ("dropout", 0, 0.99),
            ("epochs_head", 0, 100_000),
            ("epochs_finetune", 0, 100_000),
            ("batch_size", 1, 1_000_000),
            ("model_devices", 1, 1_000_000),
            ("learning_rate", 0, float("inf")),
            ("warmup", 0, 0.9),
            ("rate_low", 0, float("inf")),
            ("rate_period", 0.01, 100_000),
            ("rate_decay", 0, 1),
            ("label_smoothing", 0, 0.9),
            ("focal_gamma", 0, 10),
            ("mix_share", 0, 1),
            ("valid_share", 0, 1),
            ("seed", 0, 2**31 - 1),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"{flag_of(name)} must lie in {low}..{high}, not {value}")
        if self.license is not None:
            check_license(self.license)
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
            raise UserError("--teacher needs --epochs-finetune: it teaches in fine-tuning alone")
        if self.data_list is not None and self.classes == "known" and self.valid_share < 1:
            raise UserError("--data-list says what is valid, and so does --valid-share: choose one")
        if self.average and not self.measure_norms:
            raise UserError("--average needs --measure-norms: means of statistics fit no network")
        if self.outliers and not (self.epochs_finetune and changes):
            raise UserError(
                "--outliers needs --epochs-finetune and an --augment that is not none: they are "
                "learned in fine-tuning alone"
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
        flag = dict(field.metadata)
        group = flag.pop("group")
        groups.setdefault(group, parser.add_argument_group(group))
        if isinstance(field.default, bool):
            flag["action"] = argparse.BooleanOptionalAction
        elif "choices" not in flag:
            flag.setdefault("type", type(field.default))
            if not isinstance(field.default, str):
                flag.setdefault("metavar", "N")
        groups[group].add_argument(flag_of(field.name), default=argparse.SUPPRESS, **flag)


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def write_settings(folder: pathlib.Path, preset: str, experiment: Experiment, command: str) -> None:
    """Make `folder` a run's, which `--resume` starts or goes on with."""
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
            f"{path} has the setting {unknown[0]!r}, which this version does not know: go on with "
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
