"""How a command ends on errors: with one line and an exit status, before and in `main`."""

import os
import pathlib
import re
import resource
import subprocess
import sys

import pytest

from flowers_model import installation
from flowers_model.command import Parser

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMANDS = [
    *(["-m", f"train.{name}"] for name in ("predict", "explore", "evaluate", "calibrate")),
    *(["-m", f"train.{name}"] for name in ("convert", "sweep", "plan")),
    *(["-m", "flowers_model.explain"], ["train/run.py"], ["app.py"]),
]


def ended(body: str, before: str = "", **options) -> subprocess.CompletedProcess:
    """Run a command whose `main` is `body` in its own process, with code that runs before it."""
    script = (
        "import os, sys\n"
        "from flowers_model.command import reporting_mistakes\n"
        "@reporting_mistakes\n"
        f"def main(arguments):\n    {body}\n    return 0\n"
        f"{before}\nsys.exit(main([]))\n"
    )
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT} | options
    options["env"] = os.environ | {"PYTHONUNBUFFERED": ""}
    return subprocess.run([sys.executable, "-c", script], text=True, **options)


def test_help_has_a_short_usage_line_and_the_defaults(monkeypatch):
    monkeypatch.setattr(installation, "started_as", "flowers")
    parser = Parser("flowers predict", "Name photos.\n\n    python -m train.predict PHOTO\n")
    parser.add_argument("photos", nargs="*", metavar="PHOTO")
    parser.add_argument("--model", required=True, metavar="MODEL", help="a bundle")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes per photo")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the order")
    parser.add_argument("--kaggle", action="store_true", help="for Kaggle")
    said = parser.format_help()
    assert said.startswith("usage: flowers predict [options] [PHOTO ...] --model MODEL\n")
    assert "\n    flowers predict PHOTO\n" in said
    assert re.findall(r"(--\w+).*\(default: (\w+)\)", said) == [("--top", "5"), ("--seed", "0")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[-1])
def test_ctrl_c_while_libraries_are_imported(command, tmp_path):
    """A library that is interrupted, and one that makes an ImportError of that."""
    (tmp_path / "numpy.py").write_text(
        "try:\n    raise KeyboardInterrupt\nexcept BaseException as error:\n"
        "    raise ImportError('initialization failed') from error\n"
    )
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("name", "value", "body"),
    [
        ("GRADIO_NUM_PORTS", "abc", "int(os.environ['GRADIO_NUM_PORTS'])"),
        ("JAX_ENABLE_X64", "maybe", "raise ValueError('JAX_ENABLE_X64 is neither true nor false')"),
        ("JAX_DEFAULT_X", "foo", "raise ValueError('\"foo\" for JAX flag jax_default_x')"),
        ("HF_ENDPOINT", "http://localhost:9 ", "raise ValueError('no port')"),
        ("SSL_CERT_FILE", "/nowhere.pem", "open(os.environ['SSL_CERT_FILE'])"),
    ],
)
def test_a_variable_that_a_library_cannot_use(name, value, body, tmp_path):
    """When it is imported, before `main` or in it."""
    (tmp_path / "library.py").write_text(f"import os\n{body}\n")
    for before, inside in (("import library", "pass"), ("", "import library")):
        done = ended(
            inside,
            f"os.environ[{name!r}] = {value!r}\nsys.path[:0] = [{str(tmp_path)!r}]\n{before}",
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {name} is {value!r} (")
        assert done.stderr.endswith("): correct it, or unset it\n")


def test_other_errors_keep_their_traceback():
    done = ended("raise ValueError('ours')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_nobody_reads_the_output_any_more():
    """As after `| head`, while it is printed and at the end."""
    for body, status in (("[print('x' * 99) for _ in range(9999)]", 141), ("print('x')", 0)):
        reading, writing = os.pipe()
        os.close(reading)
        done = ended(body, stdout=writing)
        os.close(writing)
        assert (done.returncode, done.stderr) == (status, "")


def test_a_full_disk(tmp_path):
    def nearly_full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

    body = f"with open({str(tmp_path / 'x')!r}, 'w') as file: file.write('x' * 2000)"
    done = ended(body, preexec_fn=nearly_full)
    assert done.returncode == 1
    assert done.stderr == (
        "stopped: the disk is full ([Errno 27] File too large): make room, and start again\n"
    )


def test_a_working_folder_that_is_gone(tmp_path):
    done = ended("pass", f"os.chdir({str(tmp_path)!r}); os.rmdir({str(tmp_path)!r})")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the working folder is gone")
