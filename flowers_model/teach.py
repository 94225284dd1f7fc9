"""Teach a model new classes from a few photos each.

    python -m flowers_model.teach --model MODEL --data folder:PATH --output DIR

The folder has a subfolder for each class, named after it, with 3 to 50 photos. The new bundle knows
these classes in addition to those of the model. Nothing is trained, and neither Keras nor a backend
is needed: the last layer of the network gets a column for each new class. Photos of a class that
the model already knows improve that class.
"""

from __future__ import annotations

import pathlib
import sys
import time

from flowers_model import FlowerClassifier
from flowers_model.command import MODEL_HELP, Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output
from flowers_model.installation import spoken
from flowers_model.lesson import Example, example

# A file with one of these suffixes is taken for a photo.
# fmt: off
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif", ".gif",
    ".bmp", ".dib", ".tif", ".tiff",
)
# fmt: on


def read_folder(path: str | pathlib.Path) -> dict[str, list[Example]]:
    """The photos of a folder by class: a subfolder each, named after the class.

    >>> read_folder("photos")["tulip"][0].title
    'first.jpg'

    Raises:
        UserError: if there is no such folder, or no subfolder with photos.
        PhotoError: if a photo cannot be read.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"there is no folder {str(root)!r}: give one with a subfolder per class")
    found = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES))
        files = [file for file in files if not file.name.startswith(".")]
        if not files:
            raise UserError(f"{str(folder)!r} holds no photos: put the photos of a class there")
        found[folder.name] = [example(file, file.name) for file in files]
    if not found:
        raise UserError(f"{str(root)!r} has no subfolders: put the photos of each class into one")
    return found


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("teach"), description=__doc__)
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"{MODEL_HELP} (default: the model that comes with the code)",
    )
    parser.add_argument(
        "--data", required=True, metavar="folder:PATH", help="a folder with one subfolder per class"
    )
    parser.add_argument(
        "--output", required=True, type=pathlib.Path, metavar="DIR", help="new folder of the bundle"
    )
    parser.add_argument(
        "--gallery",
        type=int,
        default=2,
        metavar="N",
        help="photos of each class that the bundle's gallery shows publicly",
    )
    options = parser.parse_args(arguments)
    form, mark, path = options.data.partition(":")
    if form != "folder" or not mark:
        raise UserError(
            f"--data {options.data!r} must be folder:PATH, a folder with one subfolder per class"
        )
    if options.gallery < 0:
        raise UserError(f"--gallery must be 0 or more, not {options.gallery}")
    if options.output.exists():
        raise UserError(f"--output {str(options.output)!r} exists already; give a new folder")
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
