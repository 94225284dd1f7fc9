"""The class names of well-known flower datasets, in label order."""

import functools
import pathlib
from collections.abc import Iterable


def petals104() -> tuple[str, ...]:
    """The 104 classes of Kaggle's "Petals to the Metal": class 0 is index 0.

    >>> petals104()[0]
    'pink primrose'
    """
    return _read("petals104")


def oxford_flowers102() -> tuple[str, ...]:
    """The 102 classes of Oxford 102 Flowers: label 1 of the official files is index 0.

    >>> oxford_flowers102()[0]
    'pink primrose'
    """
    return _read("oxford_flowers102")


def scientific(class_names: Iterable[str]) -> dict[str, str]:
    """The scientific names, species or genus, of the classes whose common names are known here.

    Classes that already go by their scientific name (petunia) are left out. For the classes of
    Oxford 102 Flowers, the names are those of the plants that its photos show: see `display`.

    >>> scientific(["sunflower"])
    {'sunflower': 'Helianthus annuus'}
    """
    class_names = list(class_names)
    known = dict(line.split("\t") for line in _read("scientific"))
    known |= {name: latin for name, (_, latin) in _shown(class_names).items()}
    return {name: known[name] for name in class_names if name in known}


def display(class_names: Iterable[str]) -> dict[str, str]:
    """Display names for the classes of Oxford 102 Flowers whose own names are misleading.

    Some of its photos show another plant than the class name says: its pelargonium is Alyogyne
    huegelii, its watercress is nasturtium. The names of other datasets may be right, so the result
    is empty unless the classes are exactly those 102.

    >>> display(oxford_flowers102())["orange dahlia"]
    'Mexican sunflower'
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
