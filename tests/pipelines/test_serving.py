"""The registered model behind `mlflow models serve`, a real server on the loopback address."""

import base64
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import mlflow
import numpy as np
import pytest

STARTING = 180
"""Seconds at most."""
NOTHING = [[[[0]]]]
"""What stands for images where there are files instead."""


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    """The address of a server of the champion, and what it writes to its terminal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", "models:/unlabeled-digits@champion", "--env-manager", "local"]
    uri = f"sqlite:///{trained.path / 'mlflow.db'}"
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=trained.environment(MLFLOW_TRACKING_URI=uri),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(process, address, log)
        yield address, log
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def wait_for(process, address, log):
    end = time.monotonic() + STARTING
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(log.read_text())


def answer(server, **request):
    """The status of an answer, and what it says."""
    content = json.dumps(request).encode()
    post = urllib.request.Request(f"{server[0]}/invocations", content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(post, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def model(trained):
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    return mlflow.pyfunc.load_model("models:/unlabeled-digits@champion")


def test_images_are_answered_as_the_loaded_model_does(server, trained, model):
    images = np.load(trained.path / "data/02_intermediate/images.npy")[:3]
    status, said = answer(server, inputs=images.tolist())
    assert status == 200 and said["predictions"].keys() == {"embedding", "probability"}
    for name, expected in model.predict(images).items():
        np.testing.assert_allclose(said["predictions"][name], expected, rtol=1e-4, atol=1e-5)


def test_image_files_are_answered_too(server, model, photos):
    contents = [(photos / name).read_bytes() for name in ("00.png", "01.png")]
    files = [base64.b64encode(content).decode() for content in contents]
    status, said = answer(server, inputs=NOTHING, params={"files": files})
    assert status == 200 and np.shape(said["predictions"]["embedding"]) == (2, 256)
    expected = model.predict(np.zeros((1, 1, 8, 8), np.uint8), params={"files": files})
    np.testing.assert_allclose(said["predictions"]["probability"], expected["probability"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content, reason", [(b"text", "not an image"), (b"", "empty file")])
def test_a_file_that_is_no_image_is_refused_with_its_number(server, photos, content, reason):
    files = [base64.b64encode(each).decode() for each in ((photos / "00.png").read_bytes(), content)]
    status, said = answer(server, inputs=NOTHING, params={"files": files})
    assert status == 400 and f"files[1] cannot be used: {reason}" in said["message"]


def test_what_is_no_base64_or_no_image_array_is_refused(server):
    assert answer(server, inputs=NOTHING, params={"files": ["?"]})[0] == 400
    assert answer(server, inputs=[[1, 2]])[0] == 400


def test_it_listens_on_the_loopback_address_alone(server):
    address, log = server
    assert f"Uvicorn running on {address}" in log.read_text()
