"""The notebooks run as they stand, on drawn photos and with a tiny network."""

import csv
import os
import pathlib
import sys

import nbclient
import nbformat
import pytest
from helpers import photo, use_hub
from hub_server import HubServer
from test_tfrecord import record, write_shard

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TINY = (
    " --backbone ConvNet --weights none --filters 4,8 --image-size 24 --batch-size 32 --gallery 1"
    " --epochs-head 1 --epochs-finetune 1"
)


@pytest.fixture(scope="module")
def petals(tmp_path_factory):
    """TFRecords of 104 classes as Kaggle has them, with three photos to be named."""
    folder = tmp_path_factory.mktemp("petals") / "tfrecords-jpeg-192x192"
    for split in ("train", "val"):
        photos = [photo((2 * i, 255 - 2 * i, len(split) * 20), i, (24, 24)) for i in range(104)]
        records = [record(image, **{"class": i}) for i, image in enumerate(photos)]
        write_shard(folder / split, records, "00-192x192-104.tfrec")
    asked = [record(photo((80 * i, 90, 90), i, (24, 24)), id=b"id%d" % i) for i in range(3)]
    write_shard(folder / "test", asked, "00-192x192-3.tfrec")
    return folder.parent


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_trains_shows_publishes_and_predicts(path, petals, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    # What papermill does: values of the tagged cell are replaced by a cell behind it.
    [place] = [
        i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", ())
    ]
    values = f"DATA = {str(petals)!r}\nOUTPUT = {str(tmp_path)!r}\nMODEL = 'ada/petals'\n"
    values += f"FLAGS += {TINY!r}"
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(values))
    folder = os.path.dirname(sys.executable)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with HubServer() as hub:
        hub.add_token("hf_writer", user="ada", write=True)
        use_hub(hub, monkeypatch, token="hf_writer")
        # In the project's folder there is nothing to clone and to install.
        nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
        ).execute()
        assert "classifier.json" in hub.repo("ada/petals").head().files
    shown = [
        output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    assert len(shown) == 1
    assert "104 classes" in shown[0]
    with open(tmp_path / "submission.csv", newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["id0", "id1", "id2"]
