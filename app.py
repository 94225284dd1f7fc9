"""Serve the web page of a flower classifier.

    python app.py --model MODEL

Without --model, the page opens the models that FLOWERS_MODEL names (separated by commas), else the
newest bundle in runs/, else the model that comes with the code. GRADIO_SERVER_NAME and
GRADIO_SERVER_PORT set host and port. Hugging Face Spaces runs this file as it is.
"""

from __future__ import annotations

import os
import pathlib
import re
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

# Before the slow imports: from here on, Ctrl-C ends in one line.
from flowers_model import files
from flowers_model.command import MODEL_HELP, Parser, reporting_mistakes

# Gradio's own choice is one folder for all users of a machine, owned by the first of them.
os.environ.setdefault("GRADIO_TEMP_DIR", str(files.own_folder() / "page"))
files.check_output(os.path.join(os.environ["GRADIO_TEMP_DIR"], "upload"))

import page
from flowers_model import bundle
from flowers_model.classifier import DEFAULT
from flowers_model.installation import spoken

if TYPE_CHECKING:
    import gradio as gr

# The models of a Space, a name per line; written by spaces/deploy.py.
MODEL_FILE = pathlib.Path(__file__).with_name("model.txt")


def open_page(arguments: Sequence[str] = ()) -> gr.Blocks:
    """Build the page of the models that the arguments name; texts are about the first of them.

    Without `--model` they are those of FLOWERS_MODEL, else of model.txt beside this file (which a
    Space has), else of the newest bundle in runs/, else the one that comes with the code.

    Raises:
        UserError: for unknown arguments, and for a model that cannot be opened.
    """
    parser = Parser(spoken("app"), description=__doc__)
    parser.add_argument(
        "--model",
        action="append",
        metavar="MODEL",
        help=f"{MODEL_HELP}; the page compares several models",
    )
    parser.add_argument(
        "--mcp",
        action="store_true",
        help="serve the model to AI assistants as well, by MCP at /gradio_api/mcp",
    )
    parser.add_argument(
        "--requests-a-minute",
        type=int,
        default=page.server.limits.REQUESTS,
        metavar="N",
        help="limit for each client; 0 for none",
    )
    parser.add_argument(
        "--feedback",
        metavar="DIR|USER/DATASET",
        default=os.environ.get("FLOWERS_FEEDBACK"),
        help="keep the photos that visitors correct, in a folder or in a dataset repo on the Hub "
        "(default: $FLOWERS_FEEDBACK; keep none if unset)",
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
    """The names in a text, separated by commas or line breaks."""
    return [name.strip() for name in re.split(r"[,\n]", text) if name.strip()]


def __getattr__(name: str) -> gr.Blocks:
    """`app.demo` for programs that import it, built when first used: importing opens no model."""
    if name != "demo":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault("demo", open_page())


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Serve the page until interrupted; returns the exit status."""
    place = page.server.address.choose()
    demo = open_page(arguments)
    # Spaces stop with SIGTERM: gradio should then delete its files as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo.serve(*place)
    return 0


if __name__ == "__main__":
    # gradio would import it for the first answer, which would take a second longer.
    sys.modules.setdefault("matplotlib", None)
    sys.exit(main(sys.argv[1:]))
