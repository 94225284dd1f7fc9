"""Paths: outputs that cannot be written, missing homes, private caches."""

import os
import pathlib
import subprocess
import sys

import pytest

from flowers_model import files
from flowers_model.errors import UserError
from train import calibrate, convert, evaluate, explore, predict, sweep

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_an_output_is_checked_where_it_would_lie(tmp_path):
    (tmp_path / "file").touch()
    files.check_output(tmp_path / "file")  # would be replaced
    files.check_output(tmp_path / "new/folder/x.csv")
    for path in (tmp_path / "file/x.csv", tmp_path / "file/new/x.csv", "/proc/new/x.csv"):
        with pytest.raises(UserError, match="cannot be written"):
            files.check_output(path)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["x" * 300, f"{'x' * 300}/run", "run/" * 2000])
def test_an_output_whose_name_is_too_long(tmp_path, name):
    with pytest.raises(UserError, match=r"cannot be written .*File name too long"):
        files.check_output(f"{tmp_path}/{name}")


def test_a_home_of_nobody_is_one_line():
    with pytest.raises(
        UserError, match="'~nobody-here/photos' starts with the home of an unknown user"
    ):
        files.expanded("~nobody-here/photos")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (evaluate, ["--model", "m", "--data", "quickstart"]),
        (calibrate, ["--model", "m", "--data", "quickstart"]),
        (explore, ["--data", "quickstart"]),
        (convert, ["--data", "quickstart", "--to", "folder"]),
        (sweep, ["--vary", "seed=1,2"]),
        (predict, ["--model", "m", "a.jpg"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_output_that_cannot_be_written_is_one_line_before_the_work(
    command, arguments, tmp_path, capsys
):
    (tmp_path / "file").touch()
    output = str(tmp_path / "file/out.csv")
    assert command.main([*arguments, "--output", output]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "cannot be written" in line


def test_a_cache_that_cannot_be_made_goes_to_a_folder_of_ones_own(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("FLOWERS_DATA", str(tmp_path / "file/cache"))
    (tmp_path / "file").touch()
    own = files.own_folder()
    assert files.cache_folder() == files.cache_folder() == own / "cache"
    assert caplog.text.count("file/cache cannot be created") == 1
    assert own.stat().st_mode & 0o777 == 0o700
    own.rmdir()
    own.symlink_to(tmp_path / "elsewhere")  # laid there by somebody else
    assert files.own_folder() != own


@pytest.mark.skipif(os.name == "nt", reason="homes of Unix")
def test_without_a_home_libraries_keep_their_caches_in_a_folder_of_ones_own(tmp_path):
    (tmp_path / "file").touch()
    home = str(tmp_path / "file/home")
    shown = "import flowers_model, huggingface_hub.constants as c; print(c.HF_HOME)"
    environment = {k: v for k, v in os.environ.items() if k != "HF_HOME"}
    environment |= {"HOME": home, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / f"flowers-{os.getuid()}"))
    [line] = done.stderr.splitlines()
    assert f"caches cannot be kept in {home}" in line


@pytest.mark.slow
def test_the_page_keeps_uploads_in_a_folder_of_its_own(tmp_path):
    """Not in Gradio's default folder, which belongs to the first user who ran Gradio."""
    (tmp_path / "gradio").mkdir(mode=0o555)
    shown = "import app; from gradio.utils import get_upload_folder; print(get_upload_folder())"
    environment = {k: v for k, v in os.environ.items() if k != "GRADIO_TEMP_DIR"}
    environment["TMPDIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tmp_path / f"flowers-{os.getuid()}/page"), done.stderr


@pytest.mark.slow
def test_a_folder_for_uploads_that_cannot_be_made_is_one_line():
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=os.environ | {"GRADIO_TEMP_DIR": "/proc/nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: '/proc/nowhere/upload' cannot be written")
