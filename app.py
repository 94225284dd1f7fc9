"""The page: show it a flower, and it says the name.

    python app.py [--model PATH|USER/MODEL[@REVISION]]… [--feedback DIR|USER/DATASET] [--mcp]

Without --model it opens the models that FLOWERS_MODEL names, else the newest run's, else the one
that comes with the code. Hugging Face Spaces runs this file as it stands. Host and port are
gradio's own settings, GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.
"""

from __future__ import annotations

import os
import pathlib
import re
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowers_model import files
from flowers_model.command import Parser, reporting_mistakes  # Ctrl-C is one line from here on

# On a machine of several people, gradio's own choice belongs to whoever was first.
os.environ.setdefault("GRADIO_TEMP_DIR", str(files.own_folder() / "page"))
files.check_output(os.path.join(os.environ["GRADIO_TEMP_DIR"], "upload"))

import page
from flowers_model import bundle
from flowers_model.classifier import DEFAULT
from flowers_model.installation import spoken

if TYPE_CHECKING:
    import gradio as gr

# Where a Space keeps the names of its models, a line each; spaces/deploy.py writes it.
MODEL_FILE = pathlib.Path(__file__).with_name("model.txt")


def open_page(arguments: Sequence[str] = ()) -> gr.Blocks:
    """Build the page of the models that the arguments name; it is about the first of them.

    Without one, they are FLOWERS_MODEL's, else those of model.txt beside this file, which a Space
    has, else the newest run's, else the one that comes with the code.

    Raises:
        UserError: for arguments that do not fit, and for a model that cannot be opened.
    """
    parser = Parser(spoken("app"), description="Show the page of a flower classifier.")
    parser.add_argument(
        "--model",
        action="append",
        metavar="PATH|USER/MODEL[@REVISION]",
        help="a bundle's folder or a Hub repo; given again, the page compares them "
        "(else FLOWERS_MODEL, with commas between several, else the newest run's, else ours)",
    )
    parser.add_argument(
        "--mcp", action="store_true", help="let assistants call it, too, at /gradio_api/mcp"
    )
    parser.add_argument(
        "--requests-a-minute",
        type=int,
        default=page.server.limits.REQUESTS,
        metavar="N",
        help="of one client; 0 for any number (default: %(default)s)",
    )
    parser.add_argument(
        "--feedback",
        metavar="DIR|USER/DATASET",
        default=os.environ.get("FLOWERS_FEEDBACK"),
        help="keep photos whose right names visitors tell, in a folder or a dataset repo "
        "(else FLOWERS_FEEDBACK, else none is kept)",
    )
    options = parser.parse_args(arguments)
    models = options.model or _listed(os.environ.get("FLOWERS_MODEL", ""))
    if not models and MODEL_FILE.is_file():
        models = _listed(MODEL_FILE.read_text("utf-8"))
    if not models:
        manifests = pathlib.Path("runs").glob(f"*/bundle/{bundle.MANIFEST}")
        newest = max(manifests, key=lambda path: path.stat().st_mtime, default=None)
        models = [str(newest.parent if newest else DEFAULT)]
    classifiers = page.tabs.compare.open_models(models)
    kept = None
    if options.feedback:
        first = next(iter(classifiers.values()))
        kept = page.KeptPhotos(options.feedback, first.label_names)
    demo = page.build(classifiers, kept)
    demo.requests, demo.mcp = options.requests_a_minute, options.mcp
    return demo


def _listed(text: str) -> list[str]:
    """What stands on lines of its own, or between commas."""
    return [name.strip() for name in re.split(r"[,\n]", text) if name.strip()]


def __getattr__(name: str) -> gr.Blocks:
    """`app.demo`, for those who import it; importing the module opens no model."""
    if name != "demo":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault("demo", open_page())


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Serve the page until it is stopped; returns the exit status."""
    place = page.server.address.choose()
    demo = open_page(arguments)
    # Stopped like this (a Space is), gradio deletes its files as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo.serve(*place)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
