"""Make a bundle the default model of this project, `flowers_model/default/`.

    python -m train.release --model runs/RUN/bundle

The bundle must not hold photos of its dataset: train it with `--gallery 0`. Its gallery becomes the
photos of `train/bundles/release_photos/` that the model classifies correctly, and tulips, which it
should refuse. Its card gets the credits of these photos, all candidates of `docs/results.csv`, and
the licences.
"""

from __future__ import annotations

import logging
import os
import pathlib
import sys

from flowers_model.classifier import DEFAULT
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.installation import spoken
from train.bundles.release import release
from train.devices import environment


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("release"), description=__doc__)
    parser.add_argument(
        "--model", required=True, type=pathlib.Path, metavar="BUNDLE", help="its folder"
    )
    parser.add_argument(
        "--license",
        metavar="ID",
        help="licence of the weights, as an id of the Hub such as apache-2.0 (default: the run's)",
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    environment.check()
    options = parser.parse_args(arguments)
    manifest = release(options.model, license=options.license)
    print(f"{DEFAULT}: {manifest.headline}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    sys.exit(main(sys.argv[1:]))
