"""What a trained flower model is, and how it is used.

>>> from flowers_model import FlowerClassifier
>>> classifier = FlowerClassifier.from_pretrained("USER/MODEL")
>>> classifier.classify("photo.jpg")
"""

from flowers_model import files

files.settle()  # before the libraries that have caches are imported

from flowers_model.classifier import FlowerClassifier, Prediction  # noqa: E402

__all__ = ["FlowerClassifier", "Prediction"]
