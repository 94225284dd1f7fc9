"""Teach a model classes from a few photos: `python -m flowers_model.teach --data folder:PHOTOS …`.

    python -m flowers_model.teach --model USER/MODEL --data folder:PHOTOS --output BUNDLE

writes a bundle that knows the classes of `PHOTOS`, one folder each of 3 to 50 photos, beside those
that it knew. Nothing is trained, and neither Keras nor its backends are loaded: the network's last
layer gets more columns (`flowers_model.few_shot`). Photos of a class that it knows improve that.
"""

from __future__ import annotations

import pathlib
import sys
import time

from flowers_model import FlowerClassifier
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output
from flowers_model.installation import spoken
from flowers_model.lesson import Example, example

# What is taken for a photo by its name.
# fmt: off
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif", ".gif",
    ".bmp", ".dib", ".tif", ".tiff",
)
# fmt: on


def read_folder(path: str | pathlib.Path) -> dict[str, list[Example]]:
    """The photos of a folder by class: one folder each, called by the class.

    >>> read_folder("photos")["tulip"][0].title
    'first.jpg'

    Raises:
        UserError: if there is no such folder, or no folder with photos in it.
        PhotoError: if one is not a photo that can be read.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"there is no folder {str(root)!r}: give one that holds a folder a class")
    found = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES))
        files = [file for file in files if not file.name.startswith(".")]
        if not files:
            raise UserError(f"{str(folder)!r} holds no photos: put those of a class there")
        found[folder.name] = [example(file, file.name) for file in files]
    if not found:
        raise UserError(f"{str(root)!r} holds no folders: put the photos of each class into one")
    return found


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("teach"), description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, metavar="BUNDLE|USER/MODEL[@REVISION]")
    parser.add_argument("--data", required=True, metavar="folder:PHOTOS", help="one folder a class")
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="BUNDLE")
    parser.add_argument(
        "--gallery",
        type=int,
        default=2,
        metavar="N",
        help="photos of each class that go into the bundle's gallery, for all to see (2)",
    )
    options = parser.parse_args(arguments)
    form, mark, path = options.data.partition(":")
    if form != "folder" or not mark:
        raise UserError(f"--data {options.data!r} must be folder:PHOTOS, one folder a class")
    if options.gallery < 0:
        raise UserError(f"--gallery must be 0 or more, not {options.gallery}")
    if options.output.exists():
        raise UserError(f"--output {str(options.output)!r} is there already; give a new folder")
    check_output(options.output)
    classifier = (
        FlowerClassifier.from_pretrained(options.model)
        if options.model
        else FlowerClassifier.from_pretrained()
    )
    photos = read_folder(path)
    started = time.perf_counter()
    lesson = classifier.teach(photos, pathlib.Path(path).resolve().name)
    for one in lesson.classes:
        right = "" if one.right is None else f", {one.right:.0%} right when left out"
        photo = "1 photo" if one.photos == 1 else f"{one.photos} photos"
        print(f"{one.name}: {'new' if one.new else 'known before'}, {photo}{right}")
    for note in lesson.notes:
        print(f"note: {note}")
    lesson.write(options.output, options.gallery)
    print(f"taught in {time.perf_counter() - started:.1f} s")
    print(f"bundle: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
