"""The features of a frozen backbone, computed once and cached in `$FLOWERS_DATA/features/`.

The cache is keyed by the backbone, its weights and the pixels of each photo, so another head can be
trained on the same photos without computing them again.
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
from train.devices import distribution, processes
from train.devices.precision import full_float32
from train.devices.progress import progress

log = logging.getLogger("flowers")

BATCH = 32
# On a CPU, ONNX Runtime is several times faster than the training backend, but the export takes as
# long as the backend takes for about this many photos.
EXPORT_FROM = 4000


def features(network: keras.Model, photos: np.ndarray, title: str) -> np.ndarray:
    """The embeddings of photos, computed or read from the cache.

    Collective: each process computes its share and gets all of them. They are computed in full
    float32, whatever the precision of training.

    Args:
        photos: uint8 `(N, S, S, 3)`, as `flowers_model.photo.fit` makes them.
        title: the title of the progress bar.

    Returns:
        float32 `(N, D)`; ONNX Runtime's differ from the network's by about 1e-6 of their size.
    """
    with full_float32(network):
        return _features(network, photos, title)


def _features(network: keras.Model, photos: np.ndarray, title: str) -> np.ndarray:
    own = processes.share(len(photos))
    place = f"-{processes.process()}" if processes.processes() > 1 else ""
    path = cache_folder() / "features" / f"{_key(network)}{place}.npz"
    known = _read(path)
    digests = {i: hashlib.blake2b(photos[i], digest_size=16).digest() for i in own}
    missing = {digest: i for i, digest in digests.items() if digest not in known}
    with tempfile.TemporaryDirectory() as folder:
        predict = _predictor(network, len(missing), pathlib.Path(folder))
        known |= zip(
            missing,
            predict(
                photos,
                list(missing.values()),
                lambda n: progress(range(n), f"features of {title}", n, "batches"),
            ),
            strict=True,
        )
    if missing:
        try:
            with replacing(path) as temporary:
                np.savez(
                    temporary,
                    digests=np.frombuffer(b"".join(known), np.uint8).reshape(-1, 16),
                    features=np.stack(list(known.values())),
                )
        except OSError as error:
            log.warning("features of %s are not cached (%s); set FLOWERS_DATA", title, error)
    else:
        log.info("features of %s: all %d were cached in %s", title, len(own), path)
    found = np.array([known[digest] for digest in digests.values()], np.float32)
    return processes.gather(found.reshape(len(own), _depth(network)), len(photos))


def _predictor(network: keras.Model, count: int, folder: pathlib.Path) -> Callable[..., np.ndarray]:
    """The fastest way to embed `count` photos; see `distribution.predictor`."""
    if count < EXPORT_FROM or distribution.is_on() or networks.has_accelerator():
        batch = BATCH * distribution.parts()
        return distribution.predictor(networks.embedder(network), batch)
    log.info("exporting the backbone to ONNX, for %d photos", count)
    bundle.save_network(network, folder)
    write_onnx(folder)
    onnx = engine.open_engine(folder)
    return distribution.by_batches(
        lambda photos: onnx.run(photos, ["embedding"])[0], BATCH, _depth(network)
    )


def _depth(network: keras.Model) -> int:
    return network.get_layer("pool").output.shape[-1]


def _key(network: keras.Model) -> str:
    """A key of all that determines features: the network up to its head, and its weights."""
    embedder = networks.embedder(network)
    # The numbers of unnamed layers depend on what else the process has built.
    described = re.sub(r'_\d+"', '"', embedder.to_json())
    digest = hashlib.blake2b(described.encode(), digest_size=16)
    for weight in distribution.whole_weights(embedder):
        digest.update(np.ascontiguousarray(weight))
    return digest.hexdigest()


def _read(path: pathlib.Path) -> dict[bytes, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(path) as file:
            return dict(zip(map(bytes, file["digests"]), file["features"], strict=True))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        log.info("%s is damaged (%s); its features are computed again", path, error)
        return {}
