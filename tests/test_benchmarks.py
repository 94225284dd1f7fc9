"""What the benchmarks do when a package is missing; their measurements are not tested."""

import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_a_pytorch_that_cannot_be_imported_is_left_out_with_a_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location("training", ROOT / "benchmarks/training.py")
    training = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(training)
    assert training.installed(training.CONTENDERS) == ["jax_stock", "jax_fast", "tensorflow"]
    assert capsys.readouterr().err == (
        "without PyTorch (operator torchvision::nms is missing): "
        "pip install -r benchmarks/requirements.txt\n"
    )
