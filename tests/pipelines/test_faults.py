"""What goes wrong through no fault of the code ends in one sentence, and leaves every file whole or as it was."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

RUN = ("kedro", "run", "--pipeline=byol")


def params(**values):
    return "--params=" + ",".join(f"{key.replace('__', '.')}={value}" for key, value in values.items())


def sentence(result):
    """The one sentence that a run ends in."""
    *before, last = result.output.strip().splitlines()
    assert result.exit_code == 1 and "Traceback" not in result.output, result.output
    assert last.startswith("Error: ") and not any("Error" in line for line in before)
    return last.removeprefix("Error: ")


def write_images(folder, count, size=12, start=0):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(start)
    for i in range(start, start + count):
        Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / f"{i}.png")


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({"ingestion__source": "flickr"}, "ingestion.source: received 'flickr', expected 'digits', 'torchvision'"),
        ({"ingestion__soruce": "digits"}, "ingestion.soruce is not a parameter: did you mean ingestion.source?"),
        ({"ingestion__source": "image_folder"}, "expected ingestion.path to be set"),
        ({"ingestion__source": "parquet", "ingestion__path": "/no/such"}, "ingestion.path: /no/such does not exist"),
        ({"ingestion__image_size": 0}, "ingestion.image_size: received 0, expected greater than or equal to 4"),
        (
            {"ingestion__validation_fraction": "many"},
            "ingestion.validation_fraction: received 'many', expected a valid",
        ),
        ({"augmentation__views": 1}, "augmentation.views: received 1, expected greater than or equal to 2"),
        ({"augmentation__crop_size": 0}, "augmentation.crop_size: received 0, expected greater"),
        ({"augmentation__flip": 2}, "augmentation.flip: received 2, expected less than or equal to 1"),
        ({"pretraining__epochs": "abc"}, "pretraining.epochs: received 'abc', expected a valid integer"),
        ({"pretraining__epochs": -1}, "pretraining.epochs: received -1, expected greater than or equal to 1"),
        ({"pretraining__epcohs": 3}, "pretraining.epcohs is not a parameter: did you mean pretraining.epochs?"),
        ({"byol__pretraining__epcohs": 3}, "pretraining.epcohs is not a parameter"),
        ({"pretraning__epochs": 3}, "pretraning.epochs is not a parameter: did you mean pretraining.epochs?"),
        ({"byol__pretraning__epochs": 3}, "byol.pretraning.epochs is not a parameter: did you mean byol."),
        ({"bjol__pretraining__epochs": 3}, "bjol.pretraining.epochs is not a parameter: did you mean byol."),
        ({"byol__ingestion__path": "a"}, "byol.ingestion.path is not a parameter: did you mean ingestion.path?"),
        ({"zzz": 3}, "zzz is not a parameter: choose from the blocks augmentation, "),
        ({"pretraining": 3}, "pretraining: received 3, expected a block of parameters"),
        ({"pretraining__method__momentun": 0.9}, "pretraining.method.momentun is not a constant of byol"),
        ({"pretraining__method__momentum": 2}, "momentum: received 2.0, expected 0 to 1"),
        ({"pretraining__method__hidden_dim": 2**40}, "the memory is full: lower pretraining.batch_size, or"),
        ({"pretraining__batch_size": 100000}, "pretraining.batch_size: received 100000, but there are"),
        ({"pretraining__device": "cuda"}, "pretraining.device: received 'cuda', which this machine does not have"),
        ({"pretraining__optimizer": "adagrad"}, "pretraining.optimizer: received 'adagrad', expected 'sgd', 'adamw'"),
        ({"pretraining__learning_rate": 1e9, "pretraining__optimizer": "sgd"}, "the loss is nan at step"),
        ({"evaluation__draws": 0}, "evaluation.draws: received 0"),
        ({"registration__level": "beauty"}, "registration.level: received 'beauty'"),
    ],
)
def test_a_parameter_that_cannot_be_is_named_with_what_was_received_and_expected(project, changed, expected):
    import torch

    if changed.get("pretraining__device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has the device that has to be missing")
    message = sentence(project.kedro("--pipeline=byol", params(**changed)))
    assert expected in message and message.count(expected) == 1 and "instantiate" not in message
    assert not [name for name in project.files() if "partial" in name or "encoder" in name]


@pytest.mark.parametrize(
    "wrong", [{"registration__level": "beauty"}, {"pretraining__method__momentun": 0.9}, {"pretraning__epochs": 1}]
)
def test_parameters_are_checked_before_any_work(project, wrong):
    sentence(project.kedro("--pipeline=byol", params(**wrong)))
    assert not project.files()


def test_what_does_not_fit_the_size_of_the_images_is_refused_before_any_work(project):
    assert "grid" in sentence(project.kedro("--pipeline=jigsaw", params(pretraining__method__grid=3)))
    small_vit = params(pretraining__encoder="small_vit", ingestion__image_size=17)
    assert "none divides images of 17" in sentence(project.kedro("--pipeline=byol", small_vit))
    assert not project.files()


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--pipeline=boyl"], "byol"),
        (["--nodes=probing"], "--nodes: received 'probing', expected one of augmentation, byol.evaluation"),
        (["--pipeline=byol", "--tags=cooking"], "--tags: received 'cooking', expected one of augmentation, byol"),
        (["--pipeline=byol", "--tags=pretraining,evaluatio"], "--tags: received 'evaluatio', did you mean evaluation?"),
        (["--pipeline=byol", "--from-nodes=evaluation"], "did you mean byol.evaluation"),
        (["--pipeline=byol", "--to-outputs=byol.metric"], "did you mean byol.metrics"),
        (["--pipeline=pca", "--env=cifra10"], "--env: received 'cifra10', did you mean cifar10"),
        (["--pipeline=gpt", "--params=gpt.ingestion.passage=3"], "gpt.ingestion.passage: received 3, expected"),
    ],
)
def test_a_name_that_kedro_does_not_know_is_said_in_one_sentence(project, options, expected):
    assert expected in sentence(project.kedro(*options))


def folder_of_images(path):
    return {"ingestion__source": "image_folder", "ingestion__path": path, "ingestion__fraction": 1.0}


def test_an_empty_folder(project, tmp_path):
    (tmp_path / "photos").mkdir()
    assert "holds no images" in sentence(project.kedro(params(**folder_of_images(tmp_path / "photos"))))


def test_a_single_image(project, tmp_path):
    write_images(tmp_path / "photos", 1)
    assert "found 1 image" in sentence(project.kedro(params(**folder_of_images(tmp_path / "photos"))))


def test_a_class_with_one_image(project, tmp_path):
    write_images(tmp_path / "photos/cats", 20)
    write_images(tmp_path / "photos/dogs", 1, start=20)
    assert "the class 'dogs' has one image" in sentence(project.kedro(params(**folder_of_images(tmp_path / "photos"))))


def test_more_damaged_images_than_allowed_stop_the_run_and_are_listed(project, tmp_path):
    write_images(tmp_path / "photos", 10)
    (tmp_path / "photos/torn.png").write_bytes((tmp_path / "photos/0.png").read_bytes()[:100])
    message = sentence(project.kedro(params(**folder_of_images(tmp_path / "photos"))))
    assert "1 of 11 images cannot be used (the first, torn.png: " in message and "max_quarantined=0.05" in message
    assert list(project.files()) == ["data/02_intermediate/quarantine.csv"]
    assert list(pd.read_csv(project.path / "data/02_intermediate/quarantine.csv").path) == ["torn.png"]


def test_labels_outside_the_range_of_their_names(project, tmp_path):
    write_images(tmp_path, 1)
    image = {"bytes": (tmp_path / "0.png").read_bytes(), "path": None}
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": [image, image], "label": [0, 2]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "a.parquet")
    given = {"ingestion__source": "parquet", "ingestion__path": tmp_path / "a.parquet"}
    assert "received the label 2, expected -1 (no label) or 0 to 1" in sentence(project.kedro(params(**given)))


def test_a_failed_run_is_failed_in_mlflow_with_its_sentence(project):
    message = sentence(project.kedro(params(pretraining__batch_size=100000)))
    (run,) = project.runs()
    assert run.info.status == "FAILED" and message[:60] in run.data.tags["error"]


def test_a_missing_input_of_a_later_stage(project):
    message = sentence(project.kedro("--tags=pretraining"))
    assert "is missing: run the stages before this one" in message


def test_a_failure_after_a_training_does_not_cost_it(project, trained):
    folder = project.path / "data/08_reporting/byol"
    folder.mkdir(parents=True)
    (folder / "metrics.json").mkdir()  # nothing can be renamed to it
    assert project.kedro("--pipeline=byol").exit_code != 0
    checkpoint = project.path / "data/06_models/byol/resume.safetensors"
    assert checkpoint.exists()
    (folder / "metrics.json").rmdir()
    result = project.kedro("--pipeline=byol")
    assert result.exit_code == 0 and "resuming after step" in result.output
    name = "data/06_models/byol/encoder.safetensors"
    assert project.files()[name] == trained.files()[name] and not checkpoint.exists()


@pytest.mark.parametrize("key, value", [("augmentation.degrees", "3"), ("byol.augmentation.shear", "3")])
def test_crops_of_another_recipe_are_not_trained_on(project, key, value):
    assert project.kedro("--to-nodes=augmentation").exit_code == 0
    message = sentence(project.kedro("--from-nodes=byol.pretraining", f"--params={key}={value}"))
    assert f"{key.removeprefix('byol.')}: received" in message and "run the stage augmentation again" in message


def test_an_encoder_is_not_tested_on_what_it_may_have_been_trained_on(project):
    of_pca = [params(finetune__method="pca")]
    assert project.kedro("--pipeline=pca").exit_code == 0
    assert project.kedro("--tags=ingestion", params(ingestion__test_fraction=0.5)).exit_code == 0
    for command in (["--pipeline=pca", "--from-nodes=pca.evaluation"], ["--pipeline=finetune", *of_pca]):
        message = sentence(project.kedro(*command))
        assert "trained on other data than today's train split: run the stage pretraining again" in message


def test_metrics_of_other_data_or_of_another_protocol_are_not_registered(project):
    assert project.kedro("--pipeline=pca").exit_code == 0
    rest = ("--pipeline=pca", "--from-nodes=pca.registration")
    message = sentence(project.kedro(*rest, params(evaluation__knn_k=3)))
    assert "another evaluation than the parameters ask for: run the stage evaluation again" in message
    assert project.kedro("--tags=ingestion", params(ingestion__image_size=4)).exit_code == 0
    assert "of other data than today's: run the stage evaluation again" in sentence(project.kedro(*rest))
    assert len(project.client().search_model_versions("name='unlabeled-digits'")) == 1


def test_a_damaged_file_of_an_earlier_stage_is_named(project):
    assert project.kedro("--pipeline=pca", "--to-nodes=pca.pretraining").exit_code == 0
    for name in ("02_intermediate/images.npy", "02_intermediate/manifest.parquet", "06_models/pca/run.json"):
        whole = (project.path / "data" / name).read_bytes()
        (project.path / "data" / name).write_bytes(b"torn" if "npy" in name else b"")
        message = sentence(project.kedro("--pipeline=pca", "--from-nodes=pca.evaluation"))
        assert f"{name} is damaged" in message and "run the stage that writes it again" in message
        (project.path / "data" / name).write_bytes(whole)


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("base/parameters_byol.yml", "byol:\n  pretrainig: {epochs: 3}\n", "byol.pretrainig.epochs is not a parameter"),
        (
            "local/parameters.yml",
            "pretrainig: {epochs: 3}\n",
            "pretrainig.epochs is not a parameter: did you mean pret",
        ),
        ("local/parameters.yml", "byol: {ingestion: {fraction: 0.1}}\n", "did you mean ingestion.fraction?"),
        ("local/parameters.yml", "byol: 3\n", "byol: received 3, expected a block of parameters"),
        ("local/parameters.yml", "pretraining: {epochs: [\n", "the configuration cannot be read"),
    ],
)
def test_a_wrong_file_of_parameters(project, name, text, expected):
    (project.path / "conf/local").mkdir(exist_ok=True)
    (project.path / "conf" / name).write_text(text)
    assert expected in sentence(project.kedro("--pipeline=byol"))
    assert not project.files()


def test_an_environment_that_is_not_there(project):
    assert "--env: received 'nosuch', expected one of base, " in sentence(project.kedro("--env=nosuch"))
    assert "--env: received 'nosuch', expected one of base, " in sentence(project.command("champion", "--env=nosuch"))


def test_the_registry_is_asked_without_the_path_of_the_images(project):
    assert "unlabeled-image_folder" in sentence(project.command("champion", "--env=photos"))
    (project.path / "data/02_intermediate").mkdir()
    summary = {"source": "cats", "data_digest": "", "classes": [], "labelled": 0, "splits": {}, "quarantined": 0}
    (project.path / "data/02_intermediate/summary.json").write_text(json.dumps(summary))
    assert "unlabeled-cats" in sentence(project.command("champion", "--env=photos"))  # of the run that named a path


@pytest.mark.parametrize("option", ["--async", "--runner=ThreadRunner", "--runner=Nosuch"])
def test_stages_run_one_after_another(project, option):
    message = sentence(project.kedro(option))
    assert message == f"received {option}, expected SequentialRunner: stages use every core, and one MLflow run"
    assert not project.files()


def test_methods_run_one_at_a_time(project):
    message = sentence(project.kedro("--pipelines=pca,kmeans"))
    assert message == "received the methods kmeans, pca in one run, expected one, or --pipeline=compare"
    assert "received both, expected one of them" in sentence(project.kedro("--pipeline=pca", "--pipelines=kmeans"))


def test_files_of_the_user_are_no_leftovers(project):
    folder = project.path / "data/08_reporting"
    (folder / ".tmp_notes").mkdir(parents=True)
    for name in ("my.partial.csv", "images.npy.123.partial", ".metrics.123.partial.json", ".tmpAbC123"):
        (folder / name).write_text("")
    assert project.kedro("--tags=ingestion").exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [".tmp_notes", "my.partial.csv"]


def test_a_damaged_database(project):
    (project.path / "mlflow.db").write_bytes(b"no database")
    assert "MLflow could not be used" in sentence(project.kedro("--tags=ingestion"))


def test_crops_of_other_images_are_not_trained_on(project):
    assert project.kedro("--to-nodes=augmentation").exit_code == 0
    assert project.kedro("--tags=ingestion", params(ingestion__fraction=0.9)).exit_code == 0
    message = sentence(project.kedro("--tags=pretraining"))
    assert "the cached crops are of other data: run the stage augmentation again" in message


def test_a_corrupted_checkpoint(trained, project):
    assert project.kedro("--tags=ingestion").exit_code == 0 and project.kedro("--tags=augmentation").exit_code == 0
    checkpoint = project.path / "data/06_models/byol/resume.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"not a checkpoint")
    assert "resume.safetensors is damaged" in sentence(project.kedro("--tags=pretraining"))
    assert checkpoint.read_bytes() == b"not a checkpoint"
    checkpoint.unlink()
    assert project.kedro("--tags=pretraining").exit_code == 0


LIMITED = """
import resource, sys
from kedro.framework.cli.cli import main
stage, limit = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit),) * 2)  # a file that would grow beyond it fails as on a full disk
sys.argv = ["kedro", "run", "--pipeline=byol", f"--tags={stage}"]
main()
"""


def test_a_full_disk_leaves_the_old_files_and_no_partial_ones(project):
    assert project.kedro("--to-nodes=augmentation", params(augmentation__views=2)).exit_code == 0
    before = project.files()
    project.set(augmentation={"views": 512})
    result = project.shell(sys.executable, "-c", LIMITED, "augmentation", "4000000")
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert "Error: the disk is full" in result.stderr
    assert project.files() == before


@pytest.mark.parametrize("stage", ["pretraining", "registration"])
def test_a_disk_that_fills_up_while_checkpointing_or_registering(project, trained, stage):
    stages = ["ingestion", "augmentation", "pretraining", "evaluation", "registration"]
    done, left = stages[: stages.index(stage)], stages[stages.index(stage) :]
    assert project.kedro(f"--tags={','.join(done)}").exit_code == 0
    files = project.files()
    weights = trained.path / "data/06_models/byol/encoder.safetensors"
    result = project.shell(sys.executable, "-c", LIMITED, stage, str(weights.stat().st_size - 1000))
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert "Error: the disk is full" in result.stderr
    assert project.files() == files and not project.client().search_registered_models()
    assert project.kedro(f"--tags={','.join(left)}").exit_code == 0
    assert (project.path / "data/06_models/byol/encoder.safetensors").read_bytes() == weights.read_bytes()
    assert project.client().get_model_version_by_alias("unlabeled-digits", "champion").version == 1


def test_a_read_only_folder(project):
    folder = project.path / "data/02_intermediate"
    if os.geteuid() == 0:  # for whom only the kernel's own folders are read-only
        if not Path("/sys/kernel").is_dir():
            pytest.skip("no folder here is read-only for root")
        folder.symlink_to("/sys/kernel")
    else:
        folder.mkdir()
        folder.chmod(0o500)
    assert "cannot be opened" in sentence(project.kedro("--tags=ingestion"))


def test_no_git(project):
    (project.path / ".git").rename(project.path / "git-elsewhere")
    message = sentence(project.kedro("--pipeline=byol"))
    assert "cannot name the commit" in message and "registration.require_git=false" in message
    assert not project.files()
    assert project.kedro("--pipeline=byol", params(registration__require_git="false")).exit_code == 0


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_tracking_server_that_is_down(project):
    uri = f"http://127.0.0.1:{free_port()}"
    began = time.monotonic()
    result = project.shell(*RUN, MLFLOW_TRACKING_URI=uri)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert f"Error: the MLflow server at {uri} does not answer" in result.stderr
    assert time.monotonic() - began < 60 and not project.files()


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def mlflow_server(project, folder, port):
    """A tracking server, which is killed in the end."""
    command = ["mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    stores = [f"--backend-store-uri=sqlite:///{folder}/server.db", f"--artifacts-destination={folder}/artifacts"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    server = subprocess.Popen([*command, *stores], cwd=folder, env=project.environment(), **silent)
    try:
        wait_for(lambda: is_open(port), server)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_tracking_server_that_goes_away_costs_neither_the_training_nor_its_record(
    project, trained, tmp_path, database
):
    port, checkpoint = free_port(), project.path / "data/06_models/byol/resume.safetensors"
    shutil.copy(database, tmp_path / "server.db")
    tracked = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with mlflow_server(project, tmp_path, port):
        process = project.start(*RUN, **tracked)
        wait_for(checkpoint.exists, process)
    output, _ = process.communicate()
    assert process.returncode == 1 and "Traceback" not in output
    assert f"the MLflow server at http://127.0.0.1:{port} does not answer" in output
    with mlflow_server(project, tmp_path, port):
        again = project.shell(*RUN, **tracked)
        assert again.returncode == 0 and "resuming after step" in again.stdout, again.stderr
        client = mlflow.MlflowClient(tracked["MLFLOW_TRACKING_URI"])
        run, *_ = client.search_runs([client.get_experiment_by_name("unlabeled").experiment_id])
        history = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
        assert run.info.status == "FINISHED" and history == [1, 2]
        assert client.get_model_version_by_alias("unlabeled-digits", "champion").run_id == run.info.run_id
    name = "data/06_models/byol/encoder.safetensors"
    assert project.files()[name] == trained.files()[name]


def test_a_clock_that_jumps_back_changes_nothing(project, trained, monkeypatch):
    now = time.time
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now() - 60 * next(jumps))  # a minute each time that it is asked
    result = project.kedro("--pipeline=byol")
    assert result.exit_code == 0, result.output
    name = "data/06_models/byol/encoder.safetensors"
    assert project.files()[name] == trained.files()[name]
    assert project.json("data/08_reporting/byol/metrics.json")["seconds"] > 0
    monkeypatch.undo()
    assert "version 1" in project.command("champion").output


def test_a_champion_that_was_deleted_by_hand_leaves_its_place_to_the_next(project):
    assert project.kedro("--pipeline=pca").exit_code == 0
    project.client().delete_model_version("unlabeled-digits", "1")
    assert "there was no champion" in " ".join(project.kedro("--pipeline=pca").output.split())
    assert project.client().get_model_version_by_alias("unlabeled-digits", "champion").version == 2


def test_two_runs_at_once_do_not_meet(project):
    project.set(pretraining={"epochs": 30})
    first = project.start(*RUN)
    wait_for((project.path / "data/06_models/byol").exists, first)
    assert "another run is at work" in sentence(project.kedro("--pipeline=byol"))
    output, _ = first.communicate()
    assert first.returncode == 0, output


def test_a_killed_run_goes_on_to_the_same_weights(trained, project):
    checkpoint = project.path / "data/06_models/byol/resume.safetensors"
    process = project.start(*RUN)
    wait_for(checkpoint.exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (project.path / "data/06_models/byol/encoder.safetensors").exists()
    result = project.kedro("--pipeline=byol")
    assert result.exit_code == 0 and "resuming after step" in result.output
    name = "data/06_models/byol/encoder.safetensors"
    assert project.files()[name] == trained.files()[name] and not checkpoint.exists()
    assert [run.info.status for run in project.runs()] == ["FINISHED", "KILLED"]


def test_the_terminal_does_not_obey_the_names_of_files_and_classes(project, tmp_path):
    hostile = "\x1b]0;pwned\x07\x1b[2J\u202e\nError: forged"
    write_images(tmp_path / f"photos/{hostile}", 20)
    write_images(tmp_path / "photos/dogs", 20, start=20)
    (tmp_path / f"photos/dogs/={hostile}.png").write_text("no image")
    run = ("kedro", "run", "--nodes=ingestion")
    told = project.shell(*run, params(**folder_of_images(tmp_path / "photos")))
    stopped = project.shell(*run, params(**folder_of_images(tmp_path / "photos"), ingestion__max_quarantined=0))
    (quarantined,) = pd.read_csv(project.path / "data/02_intermediate/quarantine.csv").path
    shown = r"\x1b]0;pwned\x07\x1b[2J\u202e\nError: forged"
    assert quarantined == f"dogs/={shown}.png"
    assert shown in stopped.stderr and stopped.stderr.count("\n") == 1 and told.returncode == 0, told.stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(told.stdout + told.stderr + stopped.stdout + stopped.stderr)
