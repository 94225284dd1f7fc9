"""The class names of known flower data sets, in label order."""

import functools
import pathlib


def petals104() -> tuple[str, ...]:
    """The 104 classes of Kaggle's "Petals to the Metal": class 0 is index 0."""
    return _read("petals104")


def oxford_flowers102() -> tuple[str, ...]:
    """The 102 classes of Oxford 102 Flowers: label 1 of the official files is index 0."""
    return _read("oxford_flowers102")


@functools.cache
def _read(name: str) -> tuple[str, ...]:
    file = pathlib.Path(__file__).with_name("names") / f"{name}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())
