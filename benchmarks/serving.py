"""The page against the same network behind `gr.Interface` and `keras.Model.predict`.

    python benchmarks/serving.py BUNDLE [--photos 50] [--json FILE]

Both serve the same bundle on this machine, one after the other, and get the same uploads from one
client over HTTP: seconds from process start to the first answer, then milliseconds a photo. The
same is measured without HTTP, in one process each. Ratios say how many times ours is faster.
"""

import argparse
import io
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent

PLAIN_PAGE = """
import sys
import gradio as gr, keras, numpy as np
network = keras.saving.load_model(sys.argv[1])
size = network.input.shape[1]
def classify(photo):
    logits = network.predict(np.asarray(photo.resize((size, size)), "float32")[None], verbose=0)
    p = np.exp(logits[0] - logits[0].max())
    return {str(i): float(v) for i, v in enumerate(p / p.sum())}
answer = gr.Label(num_top_classes=5)
gr.Interface(classify, gr.Image(type="pil"), answer, api_name="classify").launch()
"""

IN_PROCESS = {
    "ours": """
from flowers_model import FlowerClassifier
classifier = FlowerClassifier.from_pretrained(bundle)
answer = lambda photo: classifier.classify([photo])
""",
    "plain": """
import io, keras, numpy as np
from PIL import Image
network = keras.saving.load_model(bundle)
size = network.input.shape[1]
def answer(photo):
    image = Image.open(io.BytesIO(photo)).resize((size, size))
    return network.predict(np.asarray(image, "float32")[None], verbose=0)
""",
}
TIMER = """
import json, resource, statistics, sys, time
bundle, photo = sys.argv[1], open(sys.argv[2], "rb").read()
{setup}
answer(photo)
first = time.time()
times = []
for _ in range(int(sys.argv[3])):
    started = time.perf_counter(); answer(photo); times.append(time.perf_counter() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({{"first": first, "p50_ms": 1000 * statistics.median(times), "rss_mb": peak}}))
"""


def photo_file() -> str:
    """A 1200 x 900 JPEG of noise at many scales, as hard to decode as a real photo."""
    random, layers = np.random.default_rng(0), []
    for cells in (3, 12, 60):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        layers.append(np.asarray(noise.resize((1200, 900), Image.Resampling.BICUBIC), np.float32))
    encoded = io.BytesIO()
    Image.fromarray(np.mean(layers, axis=0).astype(np.uint8)).save(encoded, "JPEG", quality=90)
    path = pathlib.Path(tempfile.mkdtemp()) / "photo.jpg"
    path.write_bytes(encoded.getvalue())
    return str(path)


def environment(**more: str) -> dict[str, str]:
    return os.environ | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **more,
    }


def serve(command: list[str], photo: str, count: int) -> dict[str, float]:
    """Start a page, and call its `/classify` until `count` answers are there."""
    from gradio_client import Client, handle_file

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    page = subprocess.Popen(
        command,
        env=environment(GRADIO_SERVER_PORT=str(port), GRADIO_SERVER_NAME="127.0.0.1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.05).close()
                client = Client(f"http://127.0.0.1:{port}", verbose=False)
                break
            except OSError:
                if page.poll() is not None or time.perf_counter() - started > 300:
                    sys.exit(f"error: {' '.join(command[:2])} did not start")
                time.sleep(0.02)
        client.predict(handle_file(photo), api_name="/classify")
        first = time.perf_counter() - started
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            client.predict(handle_file(photo), api_name="/classify")
            times.append(time.perf_counter() - begun)
        return {"start_s": first, "p50_ms": 1000 * statistics.median(times)}
    finally:
        page.terminate()
        page.wait()


def in_process(name: str, bundle: str, photo: str, count: int) -> dict[str, float]:
    started = time.time()
    script = TIMER.format(setup=IN_PROCESS[name])
    done = subprocess.run(
        [sys.executable, "-c", script, bundle, photo, str(count)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    return {"start_s": figures.pop("first") - started, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--photos", type=int, default=50, help="timed answers of each")
    parser.add_argument("--json", help="write the figures to this file, too")
    options = parser.parse_args()
    photo = photo_file()
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    figures: dict[str, dict[str, dict[str, float]]] = {"page": {}, "process": {}}
    pages = {
        "ours": [sys.executable, str(ROOT / "app.py"), "--model", options.bundle],
        "plain": [sys.executable, "-c", PLAIN_PAGE, options.bundle],
    }
    for name, command in pages.items():
        print(f"{name}: starting, then {options.photos} photos …", file=sys.stderr)
        figures["page"][name] = serve(command, photo, options.photos)
        figures["process"][name] = in_process(name, options.bundle, photo, options.photos)
    print(f"plain is Keras on {backend}; {os.cpu_count()} cores")
    print(f"{'':9} {'':10} {'ours':>9} {'plain':>9} {'ratio':>7}")
    for where, both in figures.items():
        for figure in both["ours"]:
            ours, plain = both["ours"][figure], both["plain"][figure]
            print(f"{where:9} {figure:10} {ours:9.2f} {plain:9.2f} {plain / ours:7.1f}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
