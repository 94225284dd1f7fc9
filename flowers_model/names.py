"""The class names of known flower data sets, in label order."""

import functools
import pathlib
from collections.abc import Iterable


def petals104() -> tuple[str, ...]:
    """The 104 classes of Kaggle's "Petals to the Metal": class 0 is index 0."""
    return _read("petals104")


def oxford_flowers102() -> tuple[str, ...]:
    """The 102 classes of Oxford 102 Flowers: label 1 of the official files is index 0."""
    return _read("oxford_flowers102")


def scientific(class_names: Iterable[str]) -> dict[str, str]:
    """The scientific names, species or genus, of those classes whose own names are well known.

    Left out are those that go by their scientific name already (petunia), and the classes of
    Oxford 102 Flowers whose photos show another plant than their name says (ball moss), or several.
    """
    known = dict(line.split("\t") for line in _read("scientific"))
    return {name: known[name] for name in class_names if name in known}


@functools.cache
def _read(name: str) -> tuple[str, ...]:
    file = pathlib.Path(__file__).with_name("names") / f"{name}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())
