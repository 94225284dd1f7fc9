"""Engines that run a bundle's network: ONNX Runtime by default, or Keras."""

import os
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from flowers_model.errors import UserError
from flowers_model.export import OUTPUTS

BATCH = 32  # photos per Keras batch


class Engine(Protocol):
    """Runs the network of a bundle."""

    def run(self, photos: np.ndarray, outputs: Sequence[str] = ("logits",)) -> list[np.ndarray]:
        """Run the network.

        >>> logits, embeddings = engine.run(photos, ("logits", "embedding"))

        Args:
            photos: uint8 `(N, S, S, 3)`, as `flowers_model.photo.fit` makes them, N at least 1.
            outputs: names from `flowers_model.export.OUTPUTS`.

        Returns:
            One float32 array per output, each with N rows.
        """


def open_engine(folder: str | os.PathLike, engine: str = "onnx") -> Engine:
    """Open the network of a bundle.

    >>> engine = open_engine("runs/RUN/bundle")

    Args:
        engine: `"onnx"`, which loads neither Keras nor its backends, or `"keras"`.

    Raises:
        UserError: if there is no such engine, or the network cannot be opened.
    """
    engines = {"onnx": OnnxEngine, "keras": KerasEngine}
    if engine not in engines:
        raise UserError(f"there is no engine {engine!r}, only {', '.join(engines)}")
    return engines[engine](folder)


class OnnxEngine:
    """ONNX Runtime on the CPU.

    Each core runs one photo at a time: this was measured to be faster than batches, and the answer
    to a photo does not depend on other photos in a batch.
    """

    def __init__(self, folder: str | os.PathLike):
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        path = str(pathlib.Path(folder) / "model.onnx")
        try:
            self._session = onnxruntime.InferenceSession(
                path, settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no public base class
            reason = " ".join(str(error).split())
            raise UserError(f"model.onnx cannot be opened: {reason[:200]}") from error
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True
        self._cores = ThreadPoolExecutor(os.cpu_count() or 1, "network")

    def run(self, photos: np.ndarray, outputs: Sequence[str] = ("logits",)) -> list[np.ndarray]:
        def one(photo: np.ndarray) -> list[np.ndarray]:
            inputs = {"photos": photo[None].astype(np.float32)}
            return self._session.run(list(outputs), inputs, self._options)

        return [np.concatenate(rows) for rows in zip(*self._cores.map(one, photos), strict=True)]


class KerasEngine:
    """The network as Keras loads it, on the backend of this process."""

    def __init__(self, folder: str | os.PathLike):
        from flowers_model.network import load, with_taps

        self._network = with_taps(load(folder))

    def run(self, photos: np.ndarray, outputs: Sequence[str] = ("logits",)) -> list[np.ndarray]:
        parts = []
        for start in range(0, len(photos), BATCH):
            batch = photos[start : start + BATCH].astype(np.float32)
            values = dict(zip(OUTPUTS, self._network.predict_on_batch(batch), strict=True))
            parts.append([np.asarray(values[name]) for name in outputs])
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
