"""What a trained flower model is, and how it is used.

>>> from flowers_model import FlowerClassifier
>>> classifier = FlowerClassifier.from_pretrained("USER/MODEL")
>>> classifier.classify("photo.jpg")
"""

from flowers_model.classifier import FlowerClassifier, Prediction

__all__ = ["FlowerClassifier", "Prediction"]
