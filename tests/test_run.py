"""`train/run.py`: one command, a complete bundle, one line for each mistake.

Tests that depend on the process itself start one, as a user does; the others call `main`.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import huggingface_hub
import numpy as np
import pytest
from helpers import COLOURS, write_photo_folder
from hub_server import HubServer

import flowers_model
from flowers_model import FlowerClassifier, bundle
from train.evaluation.ensemble import open_for
from train.experiment import read_settings
from train.loop import training
from train.sources import open_source

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = [
    *("--backbone", "ConvNet", "--weights", "none", "--filters", "4", "--image-size", "24"),
    *("--epochs-head", "1", "--epochs-finetune", "2", "--batch-size", "8", "--gallery", "2"),
    *("--learning-rate", "0.01", "--seed", "3"),
    # The length of other schedules becomes a constant of the program that XLA compiles.
    *("--schedule", "constant"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_photo_folder(folder, {"train": 8, "valid": 3, "test": 4})


def start(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, ROOT / "train/run.py", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def run(main, quick_bundles, capsys):
    """The command in this process; the exit status and what it printed."""

    def run(*arguments) -> tuple[int, str, str]:
        status = main([str(word) for word in arguments])
        return status, *capsys.readouterr()

    return run


def train(backend: str, data, folder, *arguments, **environment: str) -> str:
    """Train as a person does; what the command printed."""
    environment |= {"KERAS_BACKEND": backend}
    process = start(
        *("--data", f"folder:{data}", *TINY, "--output", folder, *arguments),
        # Without the tests' GLIBC_TUNABLES, the command starts anew with its own.
        env={k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | environment,
    )
    out, err = process.communicate()
    assert process.returncode == 0, err
    return err + out


@pytest.fixture(scope="module")
def hub():
    with HubServer() as hub:
        hub.add_token("hf_writer", user="ada", write=True)
        yield hub


@pytest.fixture(scope="module")
def published(hub, data, tmp_path_factory):
    """The folder of a run that was published, and what the command printed."""
    folder = tmp_path_factory.mktemp("jax") / "run"
    push = ("--push-to", "ada/flowers", "--tag", "v1", "--license", "cc-by-4.0")
    out = train("jax", data, folder, *push, HF_ENDPOINT=hub.url, HF_TOKEN="hf_writer")
    return folder, out


@pytest.fixture(scope="module", params=["jax", "tensorflow"])
def trained(request, data, tmp_path_factory):
    """The backend, the run's folder and what the command printed."""
    if request.param == "jax":
        return "jax", *request.getfixturevalue("published")
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return request.param, folder, train(request.param, data, folder)


@pytest.mark.slow
def test_one_command_leaves_a_whole_bundle(trained, data):
    backend, run_folder, out = trained
    folder = run_folder / "bundle"
    manifest = bundle.check(folder)
    assert manifest.provenance.backend == backend
    assert manifest.provenance.splits == {"train": 24, "valid": 9, "test": 12}
    assert manifest.onnx_difference < 1e-4
    kept = bundle.read_splits(folder).photos
    assert {split: len(photos) for split, photos in kept.items()} == manifest.provenance.splits
    assert re.fullmatch(r"test top-1 \d\.\d{3} \(12 photos\)", out.strip().splitlines()[-1])
    assert out.count("test top-1") == 1  # libraries may add handlers to the root logger

    metrics = json.loads((folder / "report/metrics.json").read_text("utf-8"))
    assert set(metrics) == {"train", "valid", "test"}
    assert {"top1", "top5", "loss", "count", "macro_f1", "ece", "nll"} <= set(metrics["test"])
    assert set(metrics["test"]["top1_interval"]) == {"low", "high"}
    names = sorted(COLOURS)
    photos = sorted((data / "test").glob("*/*.jpg"))
    answers = FlowerClassifier.from_pretrained(folder).classify(photos)
    right = [a.labels[0] == path.parent.name for a, path in zip(answers, photos, strict=True)]
    assert metrics["test"]["top1"] == pytest.approx(np.mean(right))
    losses = [
        -np.log(dict(zip(a.labels, a.probabilities, strict=True))[path.parent.name])
        for a, path in zip(answers, photos, strict=True)
    ]
    assert metrics["test"]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)

    made = manifest.provenance
    assert made.versions["flowers_model"] == flowers_model.__version__
    assert 0 < made.trainable_parameters <= made.parameters
    assert made.optimizer_bytes > 2 * 4 * made.trainable_parameters  # two moments of each
    gallery = bundle.read_gallery(folder)
    assert bundle.read_embeddings(folder, gallery).shape == (len(gallery.photos), 4)
    assert sorted(photo.label for photo in gallery.photos) == sorted(names * 2)
    assert {path.name for path in (folder / "report").iterdir()} == {
        *("index.html", "metrics.json", "history.csv", "history.png", "per_class.csv"),
        *("thirds.csv", "confusions.csv", "confusion.png", "mistakes.jpg"),
        *("reliability.png", "refusal.png"),
    }
    assert "epoch" in (folder / "report/history.csv").read_text("utf-8").splitlines()[0]
    assert "finetune 2/2" in (run_folder / "run.log").read_text("utf-8")


@pytest.mark.slow
def test_the_card_states_the_measured_results(trained):
    _, folder, _ = trained
    card = huggingface_hub.ModelCard.load(folder / "bundle/README.md")
    metrics = json.loads((folder / "bundle/report/metrics.json").read_text("utf-8"))
    stated = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert stated["test", "accuracy"] == pytest.approx(metrics["test"]["top1"], abs=1e-4)
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.library_name == "keras"


FETCH_WITH_PLAIN_LIBRARIES = """
import sys
class Missing:  # as where TensorFlow is not installed
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing)
import keras, numpy
from huggingface_hub import snapshot_download
network = keras.saving.load_model(snapshot_download(sys.argv[1]))
photos = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], numpy.asarray(network.predict(photos, verbose=0)))
assert not any(name.split(".")[0] == "flowers_model" for name in sys.modules)
"""


@pytest.mark.slow
def test_a_published_model_is_opened_by_plain_keras_on_jax_alone(
    published, hub, data, tmp_path, monkeypatch
):
    folder, out = published
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert f"published: {hub.url}/ada/flowers" in out
    assert "hf_writer" not in out + (folder / "run.log").read_text("utf-8")
    head = hub.repo("ada/flowers").head()
    card = huggingface_hub.ModelCard(head.files["README.md"].data.decode())
    assert card.data.license == "cc-by-4.0"
    assert 'load_model("hf://ada/flowers")' in card.text
    assert "USER/MODEL" not in card.text
    accuracy = json.loads((folder / "bundle/report/metrics.json").read_text("utf-8"))
    assert f"{accuracy['test']['top1']:.3f}" in head.title

    photo = data / "test/poppy/000.jpg"
    fetched = FlowerClassifier.from_pretrained("ada/flowers@v1")
    kept = FlowerClassifier.from_pretrained(folder / "bundle")
    assert fetched.classify(photo) == kept.classify(photo)
    inputs = kept.prepare(photo)[None]
    np.save(tmp_path / "photos.npy", inputs.astype(np.float32))
    subprocess.run(
        [*(sys.executable, "-c", FETCH_WITH_PLAIN_LIBRARIES), "ada/flowers", "photos.npy", "x.npy"],
        cwd=tmp_path,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        check=True,
    )
    [logits] = kept.engine.run(inputs)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), logits, atol=1e-4)


@pytest.mark.slow
def test_kill_9_loses_nothing(run, data, tmp_path):
    long = [*TINY, "--epochs-finetune", "6", "--dropout", "0.4", "--schedule", "cosine"]
    long += ["--data", f"folder:{data}"]
    process = start(*long, "--output", tmp_path / "cut", start_new_session=True)
    history = tmp_path / "cut/history.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and len(json.loads(history.read_text("utf-8"))) >= 3:
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "cut/bundle").exists()
    status, _, err = run("--resume", tmp_path / "cut")
    assert status == 0, err
    (tmp_path / "whole").mkdir()
    training.train(read_settings(tmp_path / "cut")[1], tmp_path / "whole")

    rows = [
        json.loads((tmp_path / name / "history.json").read_text("utf-8"))
        for name in ("whole", "cut")
    ]
    assert len(rows[0]) == len(rows[1]) == 7
    for whole, cut in zip(*rows, strict=True):
        for name in ("loss", "accuracy", "val_loss", "learning_rate"):
            assert whole[name] == pytest.approx(cut[name], abs=1e-4)


@pytest.mark.slow
def test_a_loss_that_is_no_number_exits_with_advice(run, data, tmp_path):
    status, out, err = run(
        *("--data", f"folder:{data}", *TINY, "--epochs-head", "0"),
        *("--learning-rate", "1e30", "--output", tmp_path / "run"),
    )
    assert status == 1
    assert "lower --learning-rate" in out
    assert "Traceback" not in out + err


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(data, tmp_path):
    process = start(
        *("--data", f"folder:{data}", *TINY, "--epochs-finetune", "10000"),
        *("--output", tmp_path / "run"),
        # A process that a shell starts in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    history = tmp_path / "run/history.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not history.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert f"--resume {tmp_path / 'run'}" in out
    assert "Traceback" not in out + err


MISTAKES = {
    "--epoch-head 3": "did you mean --epochs-head",
    "--nonsense 3": "there is no --nonsense",
    "--preset oxford": "no preset is called 'oxford'; there are animals10",
    "--data folder:/nowhere": "/nowhere",
    "--data nonsense:x": "nonsense",
    "--backbone MobilNet": "did you mean MobileNet",
    "--image-size 4": "--image-size must lie in",
    "--image-size big": "--image-size: invalid int value: 'big'",
    "--augment everything": "--augment has no step 'everything'; give none, or some of inception",
    "--augment inception,crop": "both crop; choose one",
    "--oversample --class-weights balanced": "choose one",
    "--optimizer adamm": "--optimizer: invalid choice: 'adamm'",
    "--rate-decay 2": "--rate-decay must lie in 0..1",
    "--rate-low 1": "--rate-low 1 is above the learning rate",
    "--find-learning-rate 3": "needs at least 10 steps",
    "--augment mixup --augment-rare-below 9": "needs an --augment that changes photos",
    "--epochs-head 0 --epochs-finetune 0": "nothing to train",
    "--weights /nowhere.h5 --backbone MobileNet": "no weights at",
    "--teacher flowers --epochs-finetune 0": "only fine-tuning uses teachers",
    "--resume /nowhere": "holds no run",
    "--resume /nowhere --seed 3": "leave the other flags out",
    "--push-to not-a-repo": "USER/MODEL",
    "--push-to ada/flowers": "not logged in",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_gets_one_line_and_status_2(run, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*line.split())
    assert status == 2
    [error] = [text for text in (out + err).splitlines() if text.startswith("error: ")]
    assert MISTAKES[line] in error
    assert "Traceback" not in out + err


def test_a_run_is_never_overwritten(run, data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/experiment.json").write_text("{}")
    status, _, err = run("--data", f"folder:{data}", *TINY, "--output", tmp_path / "run")
    assert status == 2
    assert "holds a run" in err
    assert (tmp_path / "run/experiment.json").read_text() == "{}"


@pytest.mark.slow
def test_the_rate_is_found_before_a_run_and_another_bundle_made_after_it(run, data, tmp_path):
    folder = tmp_path / "run"
    flags = ("--data", f"folder:{data}", *TINY, "--valid-share", "0.3", "--gallery", "0")
    status, out, err = run("--output", folder, *flags, "--find-learning-rate", "12")
    assert status == 0, err
    assert re.search(r"suggested for head: --learning-rate \d", out)
    anew = ("--monitor", "last", "--serve-size", "40", "--average", folder / "bundle")
    for words in ((), anew):
        status, _, err = run("--resume", folder, *words)
        assert status == 0, err
    assert (folder / "learning_rate.csv").exists()
    manifest = bundle.check(folder / "bundle")
    assert manifest.input.size == 40
    assert manifest.provenance.command.endswith(
        f"--monitor last --serve-size 40 --average {folder}/bundle"
    )
    # Two thirds of valid were trained on, and no photo of any split appears in the run.
    source = open_source(f"folder:{data}", 0)
    splits = manifest.provenance.splits
    assert splits["valid"] == len(source.splits["valid"]) // 3
    assert splits["train"] + splits["valid"] == sum(
        len(source.splits[name]) for name in ("train", "valid")
    )
    assert not [*folder.rglob("*.jpg")]
    assert "image/jpeg" not in (folder / "bundle/report/index.html").read_text("utf-8")
    # A later evaluation of the bundle gets the same valid split.
    again, _ = open_for(manifest, f"folder:{data}")
    assert {name: len(split) for name, split in again.splits.items()} == splits


def test_every_setting_has_a_flag_with_help():
    out, _ = (process := start("--help")).communicate()
    assert process.returncode == 0
    flags = """--preset --data --backbone --weights --image-size --epochs-head --epochs-finetune
        --batch-size --learning-rate --seed --output --resume --push-to"""
    for flag in flags.split():
        assert flag in out


@pytest.mark.slow
def test_bad_data_is_one_line_and_skip_bad_trains_on_the_rest(run, data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    for i in range(2):
        (folder / f"train/poppy/00{i}.jpg").write_bytes(b"broken")
    short = [*TINY, "--epochs-head", "0", "--epochs-finetune", "1", "--gallery", "4"]
    command = ("--data", f"folder:{folder}", *short, "--output")
    status, out, _ = run(*command, tmp_path / "a")
    assert status == 2
    line = out.strip().splitlines()[-1]
    assert line.startswith("error: 2 of 24 train photos cannot be read (train/poppy/000.jpg: ")
    gone = folder / "test/poppy/000.jpg"
    gone.unlink()
    gone.symlink_to(tmp_path / "nowhere.jpg")
    status, out, err = run(*command, tmp_path / "b", "--skip-bad")
    assert status == 0, err
    assert "skipped: 2 of 24 train photos cannot be read (train/poppy/000.jpg: " in out
    assert "skipped: 1 of 12 test photos cannot be read (test/poppy/000.jpg: " in out
    assert bundle.check(tmp_path / "b/bundle").metrics["test"].count == 11
    assert len(bundle.read_gallery(tmp_path / "b/bundle").photos) == 11
