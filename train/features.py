"""What a frozen backbone says of photos, computed once and kept.

Kept on disk by what the backbone is, weights and all, and by the pixels that it sees, so that
another head on the same photos starts at once: `$FLOWERS_DATA/features/`.
"""

from __future__ import annotations

import hashlib
import logging
import pathlib
import re
import tempfile
import zipfile
from collections.abc import Callable

import keras
import numpy as np

from flowers_model import bundle, engine
from flowers_model import network as networks
from flowers_model.export import write_onnx
from flowers_model.files import cache_folder, replacing
from train import pipeline

log = logging.getLogger("flowers")

BATCH = 32
# ONNX Runtime is several times faster than training's own backend, but the export takes as long as
# that takes for about so many photos.
EXPORT_FROM = 4000


def features(network: keras.Model, photos: np.ndarray, title: str) -> np.ndarray:
    """The embeddings of photos, from disk as far as they are there.

    Args:
        photos: uint8 `(N, S, S, 3)`, as `flowers_model.photo.fit` makes them.
        title: what to call them beside the progress bar.

    Returns:
        float32 `(N, D)`; ONNX Runtime's differ by about 1e-6 of their size from the network's own.
    """
    path = cache_folder() / "features" / f"{_key(network)}.npz"
    known = _read(path)
    digests = [hashlib.blake2b(photo, digest_size=16).digest() for photo in photos]
    missing = list({digest: i for i, digest in enumerate(digests) if digest not in known}.values())
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            run = _runner(network, len(missing), pathlib.Path(folder))
            starts = range(0, len(missing), BATCH)
            for start in pipeline.progress(starts, f"features of {title}", len(starts), "batches"):
                some = missing[start : start + BATCH]
                known |= zip((digests[i] for i in some), run(photos[some]), strict=True)
        with replacing(path) as temporary:
            np.savez(
                temporary,
                digests=np.frombuffer(b"".join(known), np.uint8).reshape(-1, 16),
                features=np.stack(list(known.values())),
            )
    else:
        log.info("features of %s: all %d were kept in %s", title, len(photos), path)
    return np.stack([known[digest] for digest in digests])


def _runner(
    network: keras.Model, count: int, folder: pathlib.Path
) -> Callable[[np.ndarray], np.ndarray]:
    """The fastest way to embed so many photos, uint8 `(B, S, S, 3)` to float32 `(B, D)`."""
    if count < EXPORT_FROM:
        embedder = networks.embedder(network)
        return lambda photos: np.asarray(embedder.predict_on_batch(photos), np.float32)
    log.info("exporting the backbone to ONNX, for %d photos", count)
    bundle.save_network(network, folder)
    write_onnx(folder)
    onnx = engine.open_engine(folder)
    return lambda photos: onnx.run(photos, ["embedding"])[0]


def _key(network: keras.Model) -> str:
    """What decides the features of a photo: the network up to its head, its weights, precision."""
    embedder = networks.embedder(network)
    # Keras numbers what has no name of its own through the whole process.
    described = re.sub(r'_\d+"', '"', embedder.to_json())
    digest = hashlib.blake2b(described.encode(), digest_size=16)
    for weight in embedder.get_weights():
        digest.update(np.ascontiguousarray(weight))
    return digest.hexdigest()


def _read(path: pathlib.Path) -> dict[bytes, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(path) as file:
            return dict(zip(map(bytes, file["digests"]), file["features"], strict=True))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        log.info("%s is damaged (%s); its features are computed anew", path, error)
        return {}
