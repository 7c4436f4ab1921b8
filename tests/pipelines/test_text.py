"""Methods of text by the same stages: from documents to a registered model and its page."""

import subprocess
import sys
from functools import cache

import mlflow
import numpy as np
import pytest

QUICK = "pretraining.epochs=1,pretraining.warmup_epochs=0,evaluation.draws=2,evaluation.shots=[1]"
CLEAN = """
import sys, mlflow, numpy
model = mlflow.pyfunc.load_model(sys.argv[1])
numpy.save(sys.argv[2], model.predict(["the with statement", "an integer"])["embedding"])
"""


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory, make_project):
    """A function from a method of text to a project in which it has run once."""

    @cache
    def made(method):
        project = make_project(tmp_path_factory.mktemp(method) / "project")
        result = project.kedro(f"--pipeline={method}", f"--params={QUICK}")
        assert result.exit_code == 0, result.output
        return project

    return made


@pytest.mark.parametrize("method, measured", [("gpt", "bits_per_byte"), ("bert", "masked_accuracy")])
def test_a_method_of_text_runs_from_documents_to_a_model_that_takes_strings(trained_on, tmp_path, method, measured):
    project = trained_on(method)
    metrics = project.json(f"data/08_reporting/{method}/metrics.json")
    assert metrics["language"][measured] > 0 and {"tfidf", "random_encoder"} == metrics["baselines"].keys()
    assert project.json(f"data/05_model_input/{method}/sequences.json")["padding"] < 0.1
    page = (project.path / f"data/08_reporting/{method}/report.html").read_text()
    assert all(title in page for title in ("What it makes of texts", "Nearest passages", "What it knows of language"))
    version = project.client().get_model_version_by_alias("unlabeled-topics", "champion")
    assert "An encoder of texts" in version.description and version.tags["method"] == method
    code = [sys.executable, "-c", CLEAN, version.source, str(tmp_path / "there.npy")]
    done = subprocess.run(code, cwd=tmp_path, env=project.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = mlflow.pyfunc.load_model(version.source).predict(["the with statement", "an integer"])["embedding"]
    assert np.array_equal(np.load(tmp_path / "there.npy"), here)


def test_a_server_answers_strings_and_the_champion_is_measured_again_on_other_documents(trained_on, serve):
    project = trained_on("gpt")
    texts = ["the with statement", "an integer"]
    with serve(project, "unlabeled-topics") as server:
        status, said = server.answer(inputs=texts)
    version = project.client().get_model_version_by_alias("unlabeled-topics", "champion")
    expected = mlflow.pyfunc.load_model(version.source).predict(texts)["embedding"]
    assert status == 200
    np.testing.assert_allclose(said["predictions"]["embedding"], expected, rtol=1e-4, atol=1e-5)
    result = project.kedro("--pipeline=gpt", f"--params={QUICK},gpt.ingestion.passage=500,pretraining.seed=1")
    assert result.exit_code == 0, result.output
    version = project.client().get_model_version("unlabeled-topics", "2")
    assert "version 1, measured again on today's data and protocol" in version.tags["decision"]
    assert version.tags["drift"]


@pytest.mark.parametrize("given", ["ingestion.path=/texts", "augmentation.views=4", "pretraining.encoder=resnet18"])
def test_what_is_of_images_is_not_passed_over_in_silence(project, given):
    result = project.kedro("--pipeline=gpt", f"--params={given}")
    key = given.partition("=")[0]
    said = " ".join(result.output.split())
    assert result.exit_code == 1
    assert f"{key} is a parameter of the methods of images: for gpt, give gpt.{key}" in said


def test_one_document_is_one_sentence(project, tmp_path):
    (tmp_path / "one.txt").write_text("A document.")
    given = f"gpt.ingestion.source=text,gpt.ingestion.path={tmp_path / 'one.txt'}"
    result = project.kedro("--pipeline=gpt", f"--params={given}")
    assert result.exit_code == 1 and "found 1 document, and needs two at least" in result.output


def test_two_hundred_short_texts_in_a_table_are_enough_for_the_defaults(project, tmp_path):
    rows = "".join(f'{number};"Bewertung {number}: gut, gern wieder";{number % 3}\n' for number in range(201))
    (tmp_path / "alle.csv").write_text(f"nr;bewertung;sterne\n{rows}")
    source = f"gpt.ingestion.source=text,gpt.ingestion.path={tmp_path / 'alle.csv'},gpt.ingestion.label=sterne"
    source += ",gpt.ingestion.text=bewertung"
    given = f"--params={source},pretraining.epochs=1,pretraining.warmup_epochs=0"
    result = project.kedro("--pipeline=gpt", "--tags=ingestion", f"{given},gpt.ingestion.vocabulary=2048")
    assert result.exit_code == 1 and "ingestion.vocabulary: received 2048, expected no more than" in result.output
    result = project.kedro("--pipeline=gpt", "--tags=ingestion,augmentation,pretraining", given)
    said = " ".join(result.output.split())
    assert result.exit_code == 0, result.output
    assert "ingestion.vocabulary is adapted to the training texts: " in said
    assert "gpt.pretraining is adapted, as there are " in said and " sequences to train on: batch_size=" in said
