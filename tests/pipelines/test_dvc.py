"""DVC on the project's own dvc.yaml, with a folder as the remote."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory, make_project):
    """A project of quick parameters that `dvc repro` has run through."""
    project = make_project(tmp_path_factory.mktemp("dvc") / "project")
    project.track_data()
    result = dvc(project, "repro")
    assert result.stdout.count("Running stage") == 6
    project.commit("reproduced")
    return project


def dvc(project, *arguments):
    result = project.shell("dvc", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def stages_run(result):
    return [line.split("'")[1] for line in result.stdout.splitlines() if line.startswith("Running stage")]


def test_dvc_yaml_is_what_the_registry_and_the_catalog_say(request):
    script = request.config.rootpath / "scripts/dvc_yaml.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "method, files",
    [
        ("gpt", {"src/unlabeled/text/encoder.py", "src/unlabeled/nn/transformer.py"}),
        ("clip", {"src/unlabeled/pairs/towers.py", "src/unlabeled/text/encoder.py"}),
        ("video_audio", {"src/unlabeled/pairs/towers.py", "src/unlabeled/video/encoders.py"}),
    ],
)
def test_what_reads_an_encoder_depends_on_its_code(request, method, files):
    stages = yaml.safe_load((request.config.rootpath / f"stages/{method}/dvc.yaml").read_text())["stages"]
    for stage in ("pretraining", "evaluation", "registration"):
        assert files <= set(stages[f"{stage}-{method}"]["deps"])


def test_a_dvc_yaml_that_is_out_of_date_is_noticed(project):
    path = project.path / "dvc.yaml"
    path.write_text(path.read_text().replace("--tags=ingestion", "--tags=digestion"))
    (project.path / "scripts").unlink()
    shutil.copytree(project.root / "scripts", project.path / "scripts")
    result = project.shell(sys.executable, "scripts/dvc_yaml.py", "--check")
    assert result.returncode == 1 and "run `make dvc.yaml`" in result.stderr


def test_a_second_repro_does_nothing(reproduced):
    assert stages_run(dvc(reproduced, "repro")) == []


def test_git_keeps_what_dvc_writes_of_a_run_and_none_of_its_files(reproduced):
    kept = subprocess.run(["git", "ls-files"], cwd=reproduced.path, check=True, capture_output=True, text=True).stdout
    assert "dvc.lock" in kept.split()
    assert [name for name in kept.split() if name.startswith(("data/0", "mlartifacts", "mlflow"))] == []


def test_metrics_plots_and_parameters_can_be_looked_at(reproduced):
    shown = json.loads(dvc(reproduced, "metrics", "show", "--json").stdout)
    metrics = reproduced.json("data/08_reporting/byol/metrics.json")
    assert next(iter(shown.values()))["data"]["data/08_reporting/byol/metrics.json"]["data"] == metrics
    dvc(reproduced, "plots", "show", "-o", "plots")
    assert "loss" in (reproduced.path / "plots/index.html").read_text()


def test_an_evaluation_parameter_reruns_evaluation_and_what_follows_it_only(reproduced):
    reproduced.set(evaluation={"knn_k": 7})
    difference = json.loads(dvc(reproduced, "params", "diff", "--json").stdout)
    assert difference == {"conf/base/parameters.yml": {"evaluation.knn_k": {"old": 20, "new": 7, "diff": -13}}}
    assert stages_run(dvc(reproduced, "repro")) == ["evaluation-byol", "registration-byol", "reporting-byol"]
    assert stages_run(dvc(reproduced, "repro")) == []


def test_raw_data_and_outputs_are_pushed_and_pulled(reproduced, tmp_path):
    raw = reproduced.path / "data/01_raw/photos"
    raw.mkdir()
    (raw / "a.bin").write_bytes(bytes(range(256)))
    dvc(reproduced, "add", "data/01_raw/photos")
    assert "data/01_raw/photos.dvc" in reproduced.commit("photos")
    dvc(reproduced, "push")
    subprocess.run(["git", "clone", "-q", reproduced.path, tmp_path / "clone"], check=True)
    weights, page = "data/06_models/byol/encoder.safetensors", "data/08_reporting/byol/report.html"
    assert not (tmp_path / "clone" / weights).exists() and not (tmp_path / "clone" / page).exists()
    clone = type(reproduced)(tmp_path / "clone")
    dvc(clone, "remote", "modify", "--local", "store", "url", str(reproduced.path / ".dvc_remote"))
    dvc(clone, "pull")
    assert all((clone.path / name).read_bytes() == (reproduced.path / name).read_bytes() for name in (weights, page))
    assert (clone.path / "data/01_raw/photos/a.bin").read_bytes() == bytes(range(256))


def test_another_method_has_stages_of_its_own(reproduced):
    dvc(reproduced, "repro")
    shutil.copytree(reproduced.root / "stages/pca", reproduced.path / "stages/pca")
    ran = stages_run(dvc(reproduced, "repro", "stages/pca/dvc.yaml"))
    own = ["pretraining-pca", "evaluation-pca", "registration-pca", "reporting-pca"]
    assert [name.rpartition(":")[2] for name in ran] == own
    assert reproduced.json("data/06_models/pca/version.json")["name"] == "unlabeled-digits"
    assert stages_run(dvc(reproduced, "repro", "stages/pca/dvc.yaml")) == []
    assert stages_run(dvc(reproduced, "repro")) == []
