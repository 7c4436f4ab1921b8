"""The registered model behind `mlflow models serve`, a real server on the loopback address."""

import base64

import mlflow
import numpy as np
import pytest

NOTHING = [[[[0]]]]
"""What stands for images where there are files instead."""


@pytest.fixture(scope="module")
def server(trained, serve):
    with serve(trained, "unlabeled-digits") as server:
        yield server


@pytest.fixture(scope="module")
def model(trained):
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    return mlflow.pyfunc.load_model("models:/unlabeled-digits@champion")


def test_images_are_answered_as_the_loaded_model_does(server, trained, model):
    images = np.load(trained.path / "data/02_intermediate/images.npy")[:3]
    expected = model.predict(images)
    for order in ((0, 1, 2, 3), (0, 2, 3, 1)):  # (N, C, H, W), (N, H, W, C)
        status, said = server.answer(inputs=images.transpose(order).tolist())
        assert status == 200 and said["predictions"].keys() == {"embedding", "probability", "predicted"}
        assert said["predictions"]["predicted"] == expected["predicted"].tolist()
        for name in ("embedding", "probability"):
            np.testing.assert_allclose(said["predictions"][name], expected[name], rtol=1e-4, atol=1e-5)


def test_image_files_are_answered_in_each_format_of_a_request(server, model, photos):
    paths = [photos / "00.png", photos / "01.png"]
    first, second = texts = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    expected = model.predict(paths)
    for request in (
        {"inputs": texts},
        {"instances": texts},
        {"inputs": {"image": texts}},
        {"dataframe_records": [{"image": first, "label": 0}, {"image": second, "label": 1}]},
        {"dataframe_split": {"columns": ["file"], "data": [[first], [second]]}},
    ):
        status, said = server.answer(**request)
        assert status == 200 and said["predictions"]["predicted"] == expected["predicted"].tolist()
        np.testing.assert_allclose(said["predictions"]["probability"], expected["probability"], rtol=1e-4, atol=1e-5)
    assert server.answer(inputs=first)[1]["predictions"]["predicted"] == expected["predicted"][:1].tolist()


def test_a_refusal_is_one_sentence_whatever_was_sent(server, photos):
    pixels, text = np.random.default_rng(0).random((3, 1, 90, 90)), base64.b64encode(bytes(2**20)).decode()
    for request in ({"inputs": pixels.tolist()}, {"inputs": [text]}, {"dataframe_records": [{"image": text}]}):
        status, said = server.answer(**request)
        assert status == 400 and len(said["message"]) < 250 and "\n" not in said["message"]


def test_a_server_reads_no_file_that_a_request_names(server, photos):
    path = str(photos / "00.png")
    for text in (path, f"file://{path}"):
        for request in ({"inputs": [text]}, {"dataframe_records": [{"path": text}]}):
            status, said = server.answer(**request)
            assert status == 400 and "write a path as pathlib.Path" in said["message"]


def test_image_files_are_answered_too(server, model, photos):
    contents = [(photos / name).read_bytes() for name in ("00.png", "01.png")]
    files = [base64.b64encode(content).decode() for content in contents]
    status, said = server.answer(inputs=NOTHING, params={"files": files})
    assert status == 200 and np.shape(said["predictions"]["embedding"]) == (2, 256)
    expected = model.predict(np.zeros((1, 1, 8, 8), np.uint8), params={"files": files})
    np.testing.assert_allclose(said["predictions"]["probability"], expected["probability"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content, reason", [(b"text", "not an image"), (b"", "empty file")])
def test_a_file_that_is_no_image_is_refused_with_its_number(server, photos, content, reason):
    files = [base64.b64encode(each).decode() for each in ((photos / "00.png").read_bytes(), content)]
    status, said = server.answer(inputs=NOTHING, params={"files": files})
    assert status == 400 and f"files[1] cannot be used: {reason}" in said["message"]


def test_what_is_no_base64_or_no_image_array_is_refused(server):
    assert server.answer(inputs=NOTHING, params={"files": ["?"]})[0] == 400
    assert server.answer(inputs=[[1, 2]])[0] == 400


def test_it_listens_on_the_loopback_address_alone(server):
    assert f"Uvicorn running on {server.address}" in server.log.read_text()


@pytest.mark.parametrize(
    "images", [[[[[0.0, 0.5]]]], [[[[0.0, 1.0]]]], [[[[128.6]]]], [[[[300]]]], [[[[-1]]]], [[[[]]]], [[]], []]
)
def test_what_cannot_be_an_image_is_refused(server, images):
    status, said = server.answer(inputs=images)
    assert status == 400 and "expected uint8 of (N, 1, H, W)" in said["message"]


def test_images_of_unequal_sizes_are_refused(server):
    assert server.answer(inputs=[[[[0, 0]]], [[[0, 0], [0, 0]]]])[0] == 400
