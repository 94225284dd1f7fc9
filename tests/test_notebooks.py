"""The notebooks run unchanged, on generated photos and with a tiny network."""

import csv
import os
import pathlib
import shutil
import sys

import nbclient
import nbformat
import pytest
from helpers import photo, use_hub, write_photo_folder
from hub_server import HubServer
from test_tfrecord import record, write_shard

ROOT = pathlib.Path(__file__).resolve().parent.parent
GPU = ROOT / "notebooks/colab_gpu.ipynb"
PETALS = sorted(set((ROOT / "notebooks").glob("*.ipynb")) - {GPU})
pytestmark = pytest.mark.slow
TINY = (
    " --backbone ConvNet --weights none --filters 4 --image-size 24 --batch-size 32 --gallery 1"
    " --epochs-head 0 --epochs-finetune 1 --augment none"
)


@pytest.fixture(scope="module")
def petals(tmp_path_factory):
    """TFRecords of 104 classes in Kaggle's layout, with three photos to classify."""
    folder = tmp_path_factory.mktemp("petals") / "tfrecords-jpeg-192x192"
    for split in ("train", "val"):
        photos = [photo((2 * i, 255 - 2 * i, len(split) * 20), i, (24, 24)) for i in range(104)]
        records = [record(image, **{"class": i}) for i, image in enumerate(photos)]
        write_shard(folder / split, records, "00-192x192-104.tfrec")
    asked = [record(photo((80 * i, 90, 90), i, (24, 24)), id=b"id%d" % i) for i in range(3)]
    write_shard(folder / "test", asked, "00-192x192-3.tfrec")
    return folder.parent


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A ZIP of a folder of photos."""
    room = tmp_path_factory.mktemp("zip")
    write_photo_folder(room / "all/photos", {"": 12})
    return shutil.make_archive(str(room / "photos"), "zip", room / "all")


def execute(path, data, room, monkeypatch) -> list[dict]:
    """Run a notebook, which publishes `ada/NAME`; the outputs of its cells."""
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    # As papermill does: a cell inserted after the tagged one overrides its values.
    [place] = [
        i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", ())
    ]
    values = f"DATA = {str(data)!r}\nOUTPUT = {str(room)!r}\nMODEL = 'ada/{path.stem}'\n"
    values += f"FLAGS += {TINY!r}"
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(values))
    folder = os.path.dirname(sys.executable)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with HubServer() as hub:
        hub.add_token("hf_writer", user="ada", write=True)
        use_hub(hub, monkeypatch, token="hf_writer")
        # In the project's folder there is nothing to clone or install.
        nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
        ).execute()
        assert "classifier.json" in hub.repo(f"ada/{path.stem}").head().files
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert len(shown) == 1
    assert "classes" in shown[0]
    return outputs


@pytest.mark.parametrize("path", PETALS, ids=lambda path: path.stem)
def test_a_notebook_trains_shows_publishes_and_predicts(path, petals, tmp_path, monkeypatch):
    outputs = execute(path, petals, tmp_path, monkeypatch)
    assert any("104 classes" in output.get("data", {}).get("text/html", "") for output in outputs)
    with open(tmp_path / "submission.csv", newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["id0", "id1", "id2"]


def test_a_zip_of_photos_becomes_a_published_model_with_a_link(archive, tmp_path, monkeypatch):
    outputs = execute(GPU, archive, tmp_path, monkeypatch)
    assert outputs[-1]["text"].strip().endswith("/ada/colab_gpu")
