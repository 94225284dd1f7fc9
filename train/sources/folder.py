"""Photos on disk, one folder per class, with or without `train/ valid/ test/` above them."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from flowers_model.files import expanded, is_clutter, legible
from train.sources.base import Options, Source, SourceError, Split, nameless, plain_name
from train.sources.splits import add_missing_splits, check_classes, some, split_named

# The formats that flowers_model.photo decodes. Other files are ignored.
# fmt: off
PHOTO_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif", ".gif",
    ".bmp", ".dib", ".tif", ".tiff",
)
# fmt: on


def open_source(path: str, options: Options) -> Source:
    """Open a folder that contains a folder per class, or split folders that contain those.

    Split folders are recognised in many spellings: `Training`, `val`, `validation`, `test_set`. A
    folder `images` next to a validation or test folder is train if there is no train folder.
    Without split folders, each class is split at random, about 70 / 15 / 15. With a test folder but
    no validation folder, 15 % of train become valid; with a validation folder but no test folder,
    there is no test split. A single folder around everything, as in many archives, is skipped.

    Without `options.cut`, splits stay as they are: any of them may be missing, and a split need not
    have every class; class folders without split folders are train. Files that are not photos,
    hidden files, and photos outside class folders are ignored.

    Raises:
        SourceError: if the layout is wrong, there is only one class, a class has no photos or too
            few to split, or splits have different classes.
    """
    root = find_root(path)
    folders = split_folders(root, needs_train=options.cut)
    class_names, splits = read_splits(root, folders or {"train": root}, whole=options.cut)
    if options.cut:
        splits = add_missing_splits(splits, class_names, options.seed)
    name = legible(expanded(path).resolve().name)
    return Source(name=name, class_names=class_names, splits=splits, credits=f"Photos from {name}")


def open_photos(path: str | os.PathLike) -> Split:
    """All photos anywhere in a folder, by relative path; all labels are -1.

    Raises:
        SourceError: if there is no such folder, it cannot be read, or it has no photos.
    """
    root = expanded(path)
    if not root.is_dir():
        raise SourceError(f"There is no folder {root}: check the path.")

    names = [file.relative_to(root).as_posix() for file in photo_files(root)]
    if not names:
        raise SourceError(f"{root} has no photos, and neither have its subfolders.")
    split = files_split(root, names, np.full(len(names), -1))
    return dataclasses.replace(split, origins=(root.resolve().name,) * len(names))


def find_root(path: str | os.PathLike) -> pathlib.Path:
    """The folder whose subfolders are classes or splits: `path`, or the single folder inside it.

    Raises:
        SourceError: if there is no such folder, or it cannot be read.
    """
    root = expanded(path)
    if not os.path.exists(root):
        raise SourceError(f"There is no folder {root}: check the path.")
    if not root.is_dir():
        raise SourceError(f"{root} is a file: give a folder (unpack an archive first).")
    while len(inner := _folders(root)) == 1 and _folders(inner[0]):
        if split_named(inner[0].name) in ("valid", "test"):
            break  # the folder contains a single split
        root = inner[0]
    return root


def split_folders(root: pathlib.Path, needs_train: bool = True) -> dict[str, pathlib.Path]:
    """The split folders in `root` by split name; empty if `root` contains class folders.

    Raises:
        SourceError: if a split has two folders, if split folders are mixed with other folders, or
            if a required train folder is missing.
    """
    found: dict[str, pathlib.Path] = {}
    others: list[pathlib.Path] = []
    for folder in _folders(root):
        split = split_named(folder.name)
        if split is None:
            others.append(folder)
        elif split in found:
            raise SourceError(
                f"{root} has two {split} folders, {found[split].name!r} and {folder.name!r}: "
                "keep one."
            )
        else:
            found[split] = folder
    if not found:
        return {}
    if "train" not in found:
        images = [folder for folder in others if folder.name.strip().casefold() == "images"]
        if images:
            found["train"] = images[0]
            others.remove(images[0])
        elif needs_train:
            raise SourceError(
                f"{root} has {some(folder.name for folder in found.values())} but no train "
                "folder: add one, or put only class folders there."
            )
    if others:
        raise SourceError(
            f"{root} mixes split folders ({some(folder.name for folder in found.values())}) with "
            f"others ({some(folder.name for folder in others)}): move the others away."
        )
    return {split: found[split] for split in ("train", "valid", "test") if split in found}


def read_splits(
    root: pathlib.Path, folders: dict[str, pathlib.Path], whole: bool = True
) -> tuple[tuple[str, ...], dict[str, Split]]:
    """The class names, sorted, and the splits, whose photo names are relative to `root`.

    Args:
        root: a folder that contains all photos.
        folders: the folder of class folders of each split, by split name.
        whole: whether every split must have every class, and at least two.

    Raises:
        SourceError: as `open_source`.
    """
    listings = {split: _photos_by_class(folder) for split, folder in folders.items()}
    class_names = tuple(sorted(set().union(*listings.values())))
    splits = {}
    for split, listing in listings.items():
        photos = [photo for name in class_names for photo in listing.get(name, ())]
        counts = [len(listing.get(name, ())) for name in class_names]
        labels = np.repeat(np.arange(len(class_names), dtype=np.int32), counts)
        splits[split] = files_split(root, [p.relative_to(root).as_posix() for p in photos], labels)
    if whole:
        check_classes(root, class_names, {folders[s].name: split for s, split in splits.items()})
    elif not class_names:
        raise SourceError(f"{root} has no class folders with photos.")
    return class_names, splits


def files_split(root: pathlib.Path, names: list[str], labels: np.ndarray) -> Split:
    """A split of the files `root / name`."""

    def read(i: int) -> bytes:
        path = root / names[i]
        if not path.is_file() and path.exists():  # a pipe or a device may never end
            raise OSError(f"{path} is not a file")
        return path.read_bytes()

    return Split(tuple(map(legible, names)), labels.astype(np.int32), read)


def photo_files(
    folder: pathlib.Path, above: frozenset[str] = frozenset()
) -> Iterator[pathlib.Path]:
    """All photos anywhere in a folder, sorted; links are followed, but not in circles.

    Raises:
        SourceError: if a folder cannot be read.
    """
    above |= {os.path.realpath(folder)}
    for entry in entries(folder):
        inner = folder / entry.name
        if is_folder(entry):
            if os.path.realpath(inner) not in above:
                yield from photo_files(inner, above)
        elif is_photo(entry.name):
            yield inner


def is_photo(name: str) -> bool:
    """Whether a file's name is that of a photo."""
    return name.lower().endswith(PHOTO_SUFFIXES)


def entries(folder: pathlib.Path) -> list[os.DirEntry]:
    """The entries of a folder, sorted, without hidden files and the clutter of operating systems.

    Raises:
        SourceError: if the folder cannot be read.
    """
    try:
        # scandir tells files from folders without a system call per photo.
        with os.scandir(folder) as found:
            kept = [entry for entry in found if not is_clutter(entry.name, is_folder(entry))]
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error
    return sorted(kept, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _photos_by_class(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    classes = _folders(folder)
    if not classes:
        raise SourceError(
            f"{folder} has no class folders: put the photos of each class into a folder of its own."
        )
    photos: dict[str, list[pathlib.Path]] = {}
    for inner in classes:
        if fault := nameless(inner.name):
            raise SourceError(
                f"The name of the class folder {os.fsencode(inner)!r} {fault}: rename the folder."
            )
        if deeper := _folders(inner):
            raise SourceError(
                f"{inner} holds folders ({some(d.name for d in deeper)}): photos must lie "
                "directly in the folder of their class."
            )
        photos.setdefault(plain_name(inner.name), []).extend(
            inner / entry.name for entry in entries(inner) if is_photo(entry.name)
        )
    if empty := [name for name, found in photos.items() if not found]:
        raise SourceError(
            f"{folder} has class folders without photos: {some(empty)}; add photos or remove them."
        )
    return photos


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return [folder / entry.name for entry in entries(folder) if is_folder(entry)]
