"""A bundle's network for phones."""

import os
import subprocess
import sys
import zipfile

import pytest
from helpers import COLOURS, write_tiny_bundle

from flowers_model import export


@pytest.mark.slow
def test_a_bundle_becomes_checked_files_with_their_labels_inside(tmp_path):
    folder = write_tiny_bundle(tmp_path / "bundle")
    # In a process of its own, since Keras runs on TensorFlow for it.
    command = [sys.executable, "-m", "flowers_model.export", "--format", "litert", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "model.tflite: float32" in done.stdout
    assert "model-float16.tflite: float16" in done.stdout
    for name in ("model.tflite", "model-float16.tflite"):
        assert (folder / name).read_bytes()[4:8] == b"TFL3"
        with zipfile.ZipFile(folder / name) as inside:
            assert inside.read("labels.txt").decode().splitlines() == list(COLOURS)
            assert inside.read("classifier.json") == (folder / "classifier.json").read_bytes()


def test_what_is_no_bundle_gets_one_line(tmp_path, capsys):
    assert export.main(["--format", "litert", str(tmp_path)]) == 2
    assert "is not a bundle with a network: it has no model.weights.h5" in capsys.readouterr().err
