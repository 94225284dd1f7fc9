"""Open and use a trained flower model.

>>> from flowers_model import FlowerClassifier
>>> classifier = FlowerClassifier.from_pretrained()  # or a folder, or "USER/MODEL" on the Hub
>>> [prediction] = classifier.classify("photo.jpg")
>>> prediction.labels[0], prediction.probabilities[0], prediction.refused
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowers_model import files

if TYPE_CHECKING:
    from flowers_model.classifier import FlowerClassifier, Prediction

__all__ = ["FlowerClassifier", "Prediction"]
__version__ = "0.1.0"

files.settle()  # before the libraries that have caches are imported


def __getattr__(name: str) -> type:
    """A class of `__all__`, imported when first used, so that commands can handle Ctrl-C before."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flowers_model import classifier

    return getattr(classifier, name)
