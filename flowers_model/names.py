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

    Left out are those that go by their scientific name already (petunia). For the classes of Oxford
    102 Flowers they are those of what its photos show: see `display`.
    """
    class_names = list(class_names)
    known = dict(line.split("\t") for line in _read("scientific"))
    known |= {name: latin for name, (_, latin) in _shown(class_names).items()}
    return {name: known[name] for name in class_names if name in known}


def display(class_names: Iterable[str]) -> dict[str, str]:
    """What to call the classes of Oxford 102 Flowers to people, where their own names mislead.

    Some of its photos show another plant than their class says: its pelargonium is Alyogyne
    huegelii, its watercress nasturtium. Other data sets may mean what they say, so for other
    classes than exactly those 102 there are none.
    """
    class_names = list(class_names)
    return {name: shown for name, (shown, _) in _shown(class_names).items() if shown != name}


def _shown(class_names: list[str]) -> dict[str, tuple[str, str]]:
    """Common and scientific names of what photos of Oxford 102 Flowers show, by class name."""
    if set(class_names) != set(oxford_flowers102()):
        return {}
    lines = (line.split("\t") for line in _read("oxford_flowers102_shown"))
    return {name: (shown, latin) for name, shown, latin in lines}


@functools.cache
def _read(name: str) -> tuple[str, ...]:
    file = pathlib.Path(__file__).with_name("names") / f"{name}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())
