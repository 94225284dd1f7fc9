"""Oxford 102 Flowers, with the official classes, class order and splits.

Nilsback and Zisserman, "Automated flower classification over a large number of classes" (ICVGIP
2008), https://www.robots.ox.ac.uk/~vgg/data/flowers/102/: 102 classes; train and valid have 10
photos per class, 1020 each; test has 6149.
"""

import hashlib
import http.client
import pathlib
import re
import tarfile
import urllib.error
import urllib.request
import zlib

import numpy as np
import tqdm

from flowers_model import names as flower_names
from flowers_model.files import cache_folder, replacing
from train.sources import folder as folder_source
from train.sources.base import Options, Source, SourceError, Split

BASE_URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
PHOTOS, LABELS, SPLITS = "102flowers.tgz", "imagelabels.mat", "setid.mat"
# The MD5 checksums that torchvision checks, too.
CHECKSUMS = {
    PHOTOS: "52808999861908f626f3c1f4e79d11fa",
    LABELS: "e0620be6f572b9609742df49c70aed4d",
    SPLITS: "a5357ecc9cb78c4bef273ce3793fc85c",
}
CREDITS = (
    "Oxford 102 Flowers (Nilsback and Zisserman, 2008); "
    "photos without explicit licence, for research use"
)
ATTEMPTS = 3
TIMEOUT = 30  # seconds without a byte


def open_source(path: str, options: Options) -> Source:
    """Open Oxford 102 Flowers, always with the official order of classes.

    Args:
        path: one of

            - a folder with `imagelabels.mat`, `setid.mat` and `102flowers.tgz` or its unpacked
              `jpg/`: the official splits. The archive is unpacked once, into the same folder;
            - a folder with train, valid and test folders (see `folder.split_folders`) of 102 class
              folders, named by class or by label 1..102: the splits of these folders;
            - empty: the official files, downloaded once from the authors' site (350 MB) into
              `$FLOWERS_DATA/oxford_flowers102`; FLOWERS_DATA defaults to `~/.cache/flowers`.

    Raises:
        SourceError: if files are missing, are not the official ones, or cannot be downloaded.
    """
    root = folder_source.find_root(path) if path else _downloaded()
    if (root / "jpg").is_dir() or (root / PHOTOS).exists():
        splits = _official_splits(root)
    else:
        splits = _folder_splits(root)
    return Source(
        name="oxford_flowers102",
        class_names=flower_names.oxford_flowers102(),
        splits=splits,
        credits=CREDITS,
    )


def _official_splits(root: pathlib.Path) -> dict[str, Split]:
    # scipy.io takes a while to import, and folders do not need it.
    from scipy.io import loadmat

    for file in (LABELS, SPLITS):
        if not (root / file).is_file():
            raise SourceError(f"{root} lacks {file}: download it from {BASE_URL}{file}.")
        _check(root / file)
    labels = loadmat(root / LABELS)["labels"].ravel().astype(np.int32) - 1
    numbers = loadmat(root / SPLITS)
    if not (root / "jpg").is_dir():
        _unpack(root)
    there = {file.name for file in folder_source.entries(root / "jpg")}

    splits = {}
    for split, key in {"train": "trnid", "valid": "valid", "test": "tstid"}.items():
        # Photos are numbered from 1, and so are the labels.
        ids = np.sort(numbers[key].ravel().astype(np.int64))
        files = [f"image_{i:05d}.jpg" for i in ids]
        if missing := [file for file in files if file not in there]:
            raise SourceError(
                f"{root / 'jpg'} lacks {len(missing)} photos of the {split} split, such as "
                f"{missing[0]}: unpack {PHOTOS} again."
            )
        names = [f"jpg/{file}" for file in files]
        splits[split] = folder_source.files_split(root, names, labels[ids - 1])
    return splits


def _folder_splits(root: pathlib.Path) -> dict[str, Split]:
    folders = folder_source.split_folders(root)
    if len(folders) < 3:
        raise SourceError(
            f"{root} is not Oxford 102 Flowers: it needs {PHOTOS} (or jpg/) with {LABELS} and "
            f"{SPLITS}, or train/, valid/ and test/; for your own photos use folder:PATH."
        )
    found, splits = folder_source.read_splits(root, folders)
    official = flower_names.oxford_flowers102()
    index = {name: i for i, name in enumerate(official)}
    index |= {str(i + 1): i for i in range(len(official))}
    order = [index.get(name.lstrip("0")) for name in found]
    if strange := [name for name, i in zip(found, order, strict=True) if i is None]:
        raise SourceError(
            f"{root} is not Oxford 102 Flowers: {strange[0]!r} is not one of its classes, which "
            "are named as in the official list or by their labels 1 to 102."
        )
    if sorted(order) != list(range(len(official))):
        raise SourceError(
            f"{root} is not Oxford 102 Flowers: it has {len(set(order))} of the 102 classes in "
            f"{len(order)} folders; for a selection use folder:PATH."
        )
    order = np.array(order, dtype=np.int32)
    return {
        name: Split(names=split.names, labels=order[split.labels], read=split.read)
        for name, split in splits.items()
    }


def _unpack(root: pathlib.Path) -> None:
    """Unpack the photos next to their archive; `jpg/` appears only when it is complete."""
    archive = root / PHOTOS
    _check(archive)
    try:
        with (
            replacing(root / "jpg") as room,
            open(archive, "rb") as packed,
            tqdm.tqdm.wrapattr(
                packed,
                "read",
                total=archive.stat().st_size,
                unit="B",
                unit_scale=True,
                desc=f"unpacking {archive.name}",
            ) as stream,
            tarfile.open(fileobj=stream, mode="r:gz") as members,
        ):
            room.mkdir()
            for member in members:
                # Only known names are extracted, so that no member leaves the folder.
                if member.isreg() and (m := re.fullmatch(r"jpg/(image_\d{5}\.jpg)", member.name)):
                    member.name = m[1]
                    members.extract(member, room, filter="data")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise SourceError(
            f"{archive} cannot be unpacked into its folder ({error}): "
            "unpack it yourself, or copy it to a writable folder with enough space."
        ) from error


def _downloaded() -> pathlib.Path:
    root = cache_folder() / "oxford_flowers102"
    # The small files first, so that a missing network is noticed at once.
    for file in (LABELS, SPLITS, PHOTOS):
        unpacked = file == PHOTOS and (root / "jpg").is_dir()
        if not unpacked and not (root / file).exists():
            _download(BASE_URL + file, root / file)
    return root


def _download(url: str, path: pathlib.Path) -> None:
    """Download a file and check it; an interrupted download is continued."""
    part = path.with_name(path.name + ".part")
    for attempt in range(ATTEMPTS):
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            _fetch(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS - 1:
                raise SourceError(
                    f"{url} could not be downloaded ({error}): check the network and run again, "
                    f"or give the path of a folder that contains it."
                ) from error
    if not _matches(part, path.name):
        part.unlink()
        raise SourceError(
            f"the download of {url} is damaged (its checksum differs) and was removed: "
            "run again, or give the path of a folder that contains the file."
        )
    with replacing(path) as temporary:
        part.rename(temporary)


def _fetch(url: str, part: pathlib.Path) -> None:
    """Append the missing bytes of `url` to `part`."""
    got = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={got}-"} if got else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum decides whether it is the right file
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            got = 0
        length = response.headers["Content-Length"]
        total = got + int(length) if length else None
        with (
            open(part, "ab" if got else "wb") as file,
            tqdm.tqdm(
                total=total, initial=got, unit="B", unit_scale=True, desc=f"downloading {part.stem}"
            ) as progress,
        ):
            while block := response.read(1 << 16):
                file.write(block)
                progress.update(len(block))
        # http.client takes a dropped connection for the end of the file.
        if total is not None and part.stat().st_size < total:
            raise ConnectionError(f"the connection dropped after {part.stat().st_size} bytes")


def _matches(path: pathlib.Path, name: str) -> bool:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == CHECKSUMS[name]


def _check(path: pathlib.Path) -> None:
    if not _matches(path, path.name):
        raise SourceError(
            f"{path} is not the official file (its checksum differs): remove it and download "
            f"{BASE_URL}{path.name}."
        )
