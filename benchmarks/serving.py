"""Measures the latency of a served model for one image, over HTTP on the loopback address.

    python -m benchmarks.serving [--requests=200] [--size=32] [--encoder=small_resnet] [--model=models:/NAME@champion]

Registers an untrained encoder with a probe of ten classes in a temporary database, or takes a registered model (with
MLFLOW_TRACKING_URI, and --size of its images). Serves it with `mlflow models serve`, and sends one colour image at a
time, as pixels and as a PNG file. The last line is a JSON object of milliseconds.
"""

import argparse
import base64
import http.client
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

HOST = "127.0.0.1"
CLASSES = 10
STARTING = 120
"""Largest number of seconds that the server may take to start."""
WARM_UP = 10
"""Number of first requests that are not counted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--encoder", default="small_resnet")
    parser.add_argument("--model", help="a registered model of colour images; by default a new one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unlabeled-") as folder:
        model = options.model or register(Path(folder), options.encoder, options.size)
        with served(model) as port:
            pixels = np.random.default_rng(0).integers(0, 256, (3, options.size, options.size), dtype=np.uint8)
            requests = {"pixels": {"inputs": [pixels.tolist()]}, "file": as_file(pixels)}
            times = {name: latencies(port, request, options.requests) for name, request in requests.items()}
    numbers = {f"{name}_{key}_ms": value for name, each in times.items() for key, value in summary(each).items()}
    print(json.dumps({"requests": options.requests, "size": options.size, "cores": os.cpu_count(), **numbers}))


def register(folder: Path, architecture: str, size: int) -> str:
    """Registers a model with random weights in a database in this folder, and returns its URI."""
    import mlflow
    from mlflow.models import ModelSignature

    from pipelines.images import registration
    from pipelines.stages.registration import Served, create_version, log_model, outputs_of
    from unlabeled.evaluation.probe import LinearProbe
    from unlabeled.images.encoder import ImageEncoder, Normalisation

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    experiment = mlflow.create_experiment("serving", artifact_location=(folder / "artifacts").as_uri())
    encoder = ImageEncoder(architecture, 3, size, Normalisation((0.5,) * 3, (0.25,) * 3))
    weights = np.random.default_rng(0).normal(size=(CLASSES, encoder.feature_dim)).astype(np.float32)
    probe = LinearProbe(weights, np.zeros(CLASSES, np.float32), np.arange(CLASSES), 1.0)
    with mlflow.start_run(experiment_id=experiment):
        signature = ModelSignature(None, outputs_of(encoder, probe), registration.FILES)
        example, code = np.zeros((2, 3, size, size), np.uint8), registration.model.__file__
        served = Served(code, signature, example, registration.REQUIREMENTS)
        model_id = log_model(encoder, probe, [str(number) for number in range(CLASSES)], {}, served)
        client = mlflow.MlflowClient()
        client.set_registered_model_alias("made-up", "champion", create_version(client, "made-up", model_id, {}))
    return "models:/made-up@champion"


@contextmanager
def served(model: str) -> Iterator[int]:
    """Serves a model on a free port of the loopback address until the end of the block."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    mlflow = Path(sys.executable).with_name("mlflow")
    command = [mlflow, "models", "serve", "-m", model, "--env-manager", "local", "--host", HOST, "--port", str(port)]
    path = f"{mlflow.parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(command, env={**os.environ, "PATH": path}, start_new_session=True, stdout=sys.stderr)
    try:
        _wait(process, port)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait(process: subprocess.Popen, port: int) -> None:
    began = time.monotonic()
    while time.monotonic() - began < STARTING:
        if process.poll() is not None:
            sys.exit(f"Error: the server ended with exit code {process.returncode}")
        try:
            connection = http.client.HTTPConnection(HOST, port, timeout=5)
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"Error: the server did not answer within {STARTING} s")


def as_file(pixels: np.ndarray) -> dict:
    """A request with these pixels as a PNG file. MLflow requires `inputs`, which the model ignores here."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    placeholder = np.zeros((1, len(pixels), 1, 1), int).tolist()
    return {"inputs": placeholder, "params": {"files": [base64.b64encode(buffer.getvalue()).decode()]}}


def latencies(port: int, request: dict, count: int) -> list[float]:
    """Milliseconds from each request to its complete response, over one connection."""
    connection, times = http.client.HTTPConnection(HOST, port), []
    body = json.dumps(request)
    for _ in range(WARM_UP + count):
        began = time.perf_counter()
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        times.append(1000 * (time.perf_counter() - began))
        if response.status != 200:
            sys.exit(f"Error: the server answered {answer[:500]!r}")
    return times[WARM_UP:]


def summary(times: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(times), 2), "p95": round(float(np.percentile(times, 95)), 2)}


if __name__ == "__main__":
    main()
