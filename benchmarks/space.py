"""How large a Space is once installed, and the seconds from its start to its first answer.

    python benchmarks/space.py BUNDLE [--json FILE]

Writes the Space's folder, installs its requirements and nothing else into a new virtual
environment, and starts `python app.py` in it as Hugging Face does: with the port from the
environment, a home that is not writable, HF_HOME elsewhere, and as user 1000 where this process may
switch users and that user can run Python. The tests' Hub server stands in for the Hub; nothing else
is reachable. The Space starts twice: with an empty cache, downloading its model, and with the model
cached, as after sleeping or with a preloaded model.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))

from hub_server import HubServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL, TOKEN = "ada/flowers", "hf_tokenOfAda"


def size(folder: pathlib.Path) -> float:
    """Total size of all files in megabytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def spaces_user(python: pathlib.Path) -> dict[str, int]:
    """Arguments that make subprocess run as user 1000; empty where that is not possible."""
    if os.name != "posix" or os.geteuid() != 0:
        return {}
    user = {"user": 1000, "group": 1000}
    try:
        subprocess.run([python, "-c", ""], check=True, stderr=subprocess.DEVNULL, **user)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return user


def first_answer(command: list, folder: pathlib.Path, environment: dict, photo: bytes) -> float:
    """Start a page, wait for its first answer and stop it; the seconds that the answer took."""
    started = time.perf_counter()
    user = spaces_user(command[0])
    with tempfile.TemporaryFile("w+") as log:
        page = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, **user
        )
        url = f"http://127.0.0.1:{environment['GRADIO_SERVER_PORT']}/classify"
        request = urllib.request.Request(url, photo)
        try:
            while True:
                try:
                    with urllib.request.urlopen(request) as answer:
                        print(f"  {json.load(answer)['label']}", file=sys.stderr)
                        return time.perf_counter() - started
                except urllib.error.URLError:
                    if page.poll() is not None or time.perf_counter() - started > 120:
                        log.seek(0)
                        sys.exit(f"error: the Space did not start\n{log.read()}")
                    time.sleep(0.02)
        finally:
            page.terminate()
            page.wait()


def measure(bundle: pathlib.Path, room: pathlib.Path) -> dict[str, float | str]:
    folder, packages = room / "space", room / "venv"
    deploy = [sys.executable, ROOT / "spaces" / "deploy.py", "ada/space", "--model", MODEL]
    subprocess.run([*deploy, "--dry-run", folder], check=True, stdout=subprocess.DEVNULL)
    started = time.perf_counter()
    venv.create(packages, with_pip=True)
    python = packages / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "-qq", "-r", folder / "requirements.txt"]
    subprocess.run(install, check=True)
    figures: dict[str, float | str] = {"install_s": time.perf_counter() - started}
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "pip", "setuptools"], check=True)
    figures["installed_mb"] = size(packages)
    files = {
        p.relative_to(bundle).as_posix(): p.read_bytes() for p in bundle.rglob("*") if p.is_file()
    }
    [photo, *_] = [data for path, data in sorted(files.items()) if path.endswith(".jpg")]
    cache = room / "huggingface"
    cache.mkdir()
    for path in (room, cache):
        path.chmod(0o777)
    with HubServer() as hub:
        hub.put(MODEL, files)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.devnull,  # not writable, not even for root
            "HF_HOME": str(cache),
            "HF_ENDPOINT": hub.url,
            "GRADIO_SERVER_PORT": str(7860),
            "GRADIO_TEMP_DIR": str(room / "gradio"),
            "NO_PROXY": "127.0.0.1,localhost",
            "HTTP_PROXY": "http://127.0.0.1:9",  # a closed port, so that nothing else is reachable
            "HTTPS_PROXY": "http://127.0.0.1:9",
        }
        command = [python, "app.py"]
        figures["first_start_s"] = first_answer(command, folder, environment, photo)
        figures["start_s"] = first_answer(command, folder, environment, photo)
    figures["user"] = spaces_user(python).get("user", os.geteuid())
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        figures = measure(options.bundle, pathlib.Path(room))
    print(json.dumps(figures, indent=2))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
