"""Serving speed of the page, compared with `gr.Interface` and `keras.Model.predict`.

    python benchmarks/serving.py BUNDLE [--photos FOLDER] [--seconds 20] [--json FILE]
    python benchmarks/serving.py BUNDLE --soak 10

Both serve the same bundle on this machine at the same time and get the same photos over HTTP, each
as a new upload, from 1, 8 and 50 clients. Reports latency in milliseconds, photos per second and
errors. "ours" is `POST /classify`; "plain" is called through Gradio's API, the only one it has;
"ours, gradio" is our page called through that API. "python" is the same without HTTP, each in its
own process. A ratio above 1 means that ours is better.

--soak has 50 clients send requests to our page alone for that many minutes, and prints its memory.
Linux only.
"""

import argparse
import http.client
import io
import itertools
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLIENTS = (1, 8, 50)

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
for _ in range(50):
    started = time.perf_counter(); answer(photo); times.append(time.perf_counter() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({{"first": first, "p50_ms": 1000 * statistics.median(times), "rss_mb": peak}}))
"""


def drawn_photo() -> bytes:
    """A 1200 x 900 JPEG of noise at several scales, as slow to decode as a real photo."""
    random, layers = np.random.default_rng(0), []
    for cells in (3, 12, 60):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        layers.append(np.asarray(noise.resize((1200, 900), Image.Resampling.BICUBIC), np.float32))
    encoded = io.BytesIO()
    Image.fromarray(np.mean(layers, axis=0).astype(np.uint8)).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


def environment(**more: str) -> dict[str, str]:
    return os.environ | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **more,
    }


class Server:
    """A page in its own process, started by the constructor."""

    def __init__(self, command: list[str]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.started = time.perf_counter()
        settings = {"GRADIO_SERVER_PORT": str(self.port), "GRADIO_SERVER_NAME": "127.0.0.1"}
        self.process = subprocess.Popen(
            command,
            env=environment(**settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self, call, photo: bytes) -> float:
        """Seconds from the start of the process to its first answer."""
        while True:
            try:
                call(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60), photo)
                return time.perf_counter() - self.started
            except (OSError, http.client.HTTPException, RuntimeError):
                if self.process.poll() is not None or time.perf_counter() - self.started > 300:
                    sys.exit("error: a server did not start")
                time.sleep(0.02)

    def memory(self, kind: str = "VmRSS") -> float:
        """Resident memory in megabytes: VmRSS is the current value, VmHWM the peak."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{kind}:")[1].split()[0]) / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def ask(connection, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
    connection.request(method, path, body, {"Content-Type": kind} if kind else {})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:200]!r}")
    return content


def call_ours(connection: http.client.HTTPConnection, photo: bytes) -> None:
    json.loads(ask(connection, "POST", "/classify", photo, "image/jpeg"))["label"]


def call_gradio(connection: http.client.HTTPConnection, photo: bytes) -> None:
    """Upload the photo, join the queue and wait for the answer."""
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'
    body = head.encode() + photo + f"\r\n--{edge}--\r\n".encode()
    kind = f"multipart/form-data; boundary={edge}"
    [path] = json.loads(ask(connection, "POST", "/gradio_api/upload", body, kind))
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = json.dumps({"data": [file]}).encode()
    event = ask(connection, "POST", "/gradio_api/call/classify", call, "application/json")
    answer = ask(connection, "GET", f"/gradio_api/call/classify/{json.loads(event)['event_id']}")
    if b"event: complete" not in answer:
        raise RuntimeError(f"no answer: {answer[:200]!r}")


def load(port: int, call, photos: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Latency, throughput and errors of `clients` parallel clients over `seconds`."""
    times: list[float] = []
    errors: list[str] = []
    turn = itertools.cycle(photos)
    end = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (started := time.perf_counter()) < end:
            try:
                call(connection, next(turn))
                times.append(time.perf_counter() - started)
            except (OSError, http.client.HTTPException, RuntimeError) as error:
                errors.append(str(error))
                connection.close()

    started = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in sorted(set(errors))[:3]:
        print(f"  error: {error}", file=sys.stderr)
    ranked = sorted(times) or [float("nan")]
    return {
        "p50_ms": 1000 * statistics.median(ranked),
        "p95_ms": 1000 * ranked[int(0.95 * (len(ranked) - 1))],
        "photos_per_s": len(times) / (time.perf_counter() - started),
        "errors": len(errors),
    }


def in_process(name: str, bundle: str, photo: bytes) -> dict[str, float]:
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(photo)
        file.flush()
        started = time.time()
        done = subprocess.run(
            [sys.executable, "-c", TIMER.format(setup=IN_PROCESS[name]), bundle, file.name],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            text=True,
        )
    figures = json.loads(done.stdout.splitlines()[-1])
    return {"start_s": figures.pop("first") - started, **figures}


def our_page(bundle: str) -> Server:
    command = [sys.executable, str(ROOT / "app.py"), "--model", bundle, "--requests-a-minute", "0"]
    return Server(command)


def soak(bundle: str, photos: list[bytes], minutes: float) -> None:
    server = our_page(bundle)
    try:
        server.wait(call_ours, photos[0])
        print(f"start: {server.memory():.0f} MB")
        for minute in range(1, int(minutes) + 1):
            figures = load(server.port, call_ours, photos, 50, 60)
            print(
                f"minute {minute}: {server.memory():.0f} MB, "
                f"{figures['photos_per_s']:.1f} photos/s, p95 {figures['p95_ms']:.0f} ms, "
                f"{figures['errors']} errors",
                flush=True,
            )
    finally:
        server.stop()


def compare(bundle: str, photos: list[bytes], seconds: float) -> dict:
    servers = {"ours": our_page(bundle)}
    ways = {"ours": call_ours, "ours, gradio": call_gradio, "plain": call_gradio}
    figures: dict[str, dict] = {"ours": {}, "ours, gradio": {}, "plain": {}}
    try:
        figures["ours"]["start_s"] = servers["ours"].wait(call_ours, photos[0])
        servers["plain"] = Server([sys.executable, "-c", PLAIN_PAGE, bundle])
        figures["plain"]["start_s"] = servers["plain"].wait(call_gradio, photos[0])
        for clients in CLIENTS:
            for name, call in ways.items():
                port = servers[name.partition(",")[0]].port
                found = load(port, call, photos, clients, seconds)
                print(f"{clients:2} clients, {name}: {found}", file=sys.stderr)
                figures[name][str(clients)] = found
        for name, server in servers.items():
            figures[name]["rss_mb"] = server.memory("VmHWM")
    finally:
        for server in servers.values():
            server.stop()
    figures["python"] = {name: in_process(name, bundle, photos[0]) for name in servers}
    return figures


def table(figures: dict) -> list[str]:
    lines = [f"{'':24} {'ours':>9} {'plain':>9} {'ratio':>7} {'ours, gradio':>13}"]

    def line(name: str, ours: float, plain: float, through: float | None = None) -> None:
        more = "photos_per_s" in name
        ratio = (ours / plain if more else plain / ours) if ours and plain else float("nan")
        end = "" if through is None else f" {through:13.1f}"
        lines.append(f"{name:24} {ours:9.1f} {plain:9.1f} {ratio:7.1f}{end}")

    ours, plain = figures["ours"], figures["plain"]
    for clients in map(str, CLIENTS):
        for name in ours[clients]:
            through = figures["ours, gradio"][clients][name]
            line(f"{clients}: {name}", ours[clients][name], plain[clients][name], through)
    for name in ("start_s", "rss_mb"):
        line(name, ours[name], plain[name])
    for name, value in figures["python"]["ours"].items():
        line(f"python: {name}", value, figures["python"]["plain"][name])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument(
        "--photos", type=pathlib.Path, help="a folder of JPEGs (default: one generated, 1200 x 900)"
    )
    parser.add_argument("--seconds", type=float, default=20, help="time per measurement (20)")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="soak-test our page alone")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    options = parser.parse_args()
    photos = [drawn_photo()]
    if options.photos:
        photos = [path.read_bytes() for path in sorted(options.photos.rglob("*.jpg"))[:200]]
    if options.soak:
        return soak(options.bundle, photos, options.soak)
    figures = compare(options.bundle, photos, options.seconds)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    print(f"plain is Keras on {backend}; {os.cpu_count()} cores; {len(photos)} photos")
    print("\n".join(table(figures)))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
