"""DVC on the project's own dvc.yaml, with a folder as the remote."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

from pipelines.clients.dvc import add_stages
from scripts.dvc_yaml import stages_of
from unlabeled.catalogue import METHODS, PAIR_METHODS, TEXT_METHODS, VIDEO_METHODS

OTHERS = {"text": TEXT_METHODS, "pairs": PAIR_METHODS, "video": VIDEO_METHODS}


ANY = {"records.py", "runtime", "storage", "ingestion", "config.py", "errors.py", "__init__.py"}
ROOMS = {
    "ingestion": ANY,
    "augmentation": ANY | {"training"},
    "pretraining": ANY | {"nn", "encoders.py", "training", "evaluation", "method.py", "methods"},
    "evaluation": ANY | {"nn", "encoders.py", "training", "evaluation", "method.py", "methods"},
    "registration": ANY | {"nn", "encoders.py", "evaluation", "downstream"},
    "reporting": ANY | {"nn", "encoders.py", "training", "evaluation", "reports"},
}
"""Rooms of src/unlabeled that a stage may depend on, beside that of its kind of data."""
KINDS = {"text": {"text"}, "pairs": {"pairs", "images", "text"}, "video": {"video", "images", "pairs"}}
"""Rooms of kinds of data that the stages of another kind than images may depend on."""


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory, make_project):
    """A project of quick parameters that `dvc repro` has run through."""
    project = make_project(tmp_path_factory.mktemp("dvc") / "project")
    project.track_data()
    result = dvc(project, "repro")
    assert result.stdout.count("Running stage") == 6
    project.commit("reproduced")
    return project


@pytest.fixture(scope="module")
def stages():
    """The stages of every method."""
    return stages_of(METHODS)


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
        ("clip", {f"src/unlabeled/{name}.py" for name in ("pairs/towers", "images/encoder", "text/encoder")}),
        ("video_audio", {f"src/unlabeled/{name}.py" for name in ("pairs/towers", "images/encoder", "video/encoders")}),
    ],
)
def test_what_reads_an_encoder_depends_on_its_code(stages, method, files):
    for stage in ("pretraining", "evaluation", "registration"):
        assert files <= set(stages[f"{stage}-{method}"]["deps"])


@pytest.mark.parametrize("method", METHODS)
def test_a_stage_depends_on_no_room_that_it_has_no_use_for(stages, method):
    kind = next((kind for kind, methods in OTHERS.items() if method in methods), "images")
    own = [name for name in stages if name.endswith(f"-{method}")]
    assert len(own) >= 4
    for name in own if kind != "images" else [*own, "ingestion", "augmentation"]:
        rooms = {dep.split("/")[2] for dep in stages[name]["deps"] if dep.startswith("src/unlabeled/")}
        assert rooms <= ROOMS[name.split("-")[0]] | KINDS.get(kind, {"images"}), name


def test_a_method_in_use_has_stages_in_one_file_and_the_others_have_none(stages, request):
    listed = ["git", "ls-files", "*dvc.yaml"]
    files = subprocess.run(listed, cwd=request.config.rootpath, check=True, capture_output=True, text=True).stdout
    assert files.split() == ["dvc.yaml"]
    written = yaml.safe_load((request.config.rootpath / "dvc.yaml").read_text())["stages"]
    own = [f"{stage}-byol" for stage in ("pretraining", "evaluation", "registration", "reporting")]
    assert list(written) == ["ingestion", "augmentation", *own]
    assert written == {name: stages[name] for name in written}  # whatever else is in use


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
    assert "WARNING" not in dvc(clone, "pull").stderr
    assert all((clone.path / name).read_bytes() == (reproduced.path / name).read_bytes() for name in (weights, page))
    assert (clone.path / "data/01_raw/photos/a.bin").read_bytes() == bytes(range(256))


def test_the_commands_of_dvc_say_nothing_of_methods_that_have_not_run(reproduced):
    dvc(reproduced, "push")
    for command in ("pull", "push", "status", "metrics show", "metrics diff", "params diff", "dag --dot"):
        result = dvc(reproduced, *command.split())
        told = result.stdout + result.stderr
        assert not any(word in told for word in ("WARNING", "failed", "simclr")), (command, told)


def test_an_experiment_leaves_the_registry_as_it_is(reproduced):
    if stages_run(dvc(reproduced, "repro")):
        reproduced.commit("reproduced again")
    versions = reproduced.client().search_model_versions
    before = {str(each.version): each.aliases for each in versions("name='unlabeled-digits'")}
    result = dvc(reproduced, "exp", "run", "-S", "conf/base/parameters.yml:evaluation.knn_k=9")
    assert stages_run(result) == ["evaluation-byol", "registration-byol", "reporting-byol"]
    assert {str(each.version): each.aliases for each in versions("name='unlabeled-digits'")} == before
    assert reproduced.json("data/06_models/byol/version.json")["version"] == ""
    assert "It is not registered: DVC" in (reproduced.path / "data/08_reporting/byol/report.html").read_text()
    subprocess.run(["git", "checkout", "-q", "."], cwd=reproduced.path, check=True)
    dvc(reproduced, "checkout")
    assert reproduced.json("data/06_models/byol/version.json")["version"] in before


def test_another_method_has_stages_once_it_is_used(reproduced):
    dvc(reproduced, "repro")
    with reproduced.served():
        add_stages(reproduced.path, "pca")
    ran = stages_run(dvc(reproduced, "repro"))
    assert ran == ["pretraining-pca", "evaluation-pca", "registration-pca", "reporting-pca"]
    assert reproduced.json("data/06_models/pca/version.json")["name"] == "unlabeled-digits"
    assert stages_run(dvc(reproduced, "repro")) == []


def test_the_first_method_that_runs_is_the_only_one_with_stages(project):
    add_stages(project.path, "gpt")
    written = yaml.safe_load((project.path / "dvc.yaml").read_text())["stages"]
    assert len(written) == 6 and all(name.endswith("-gpt") for name in written)
    before = (project.path / "dvc.yaml").stat().st_mtime_ns
    add_stages(project.path, "gpt")
    assert (project.path / "dvc.yaml").stat().st_mtime_ns == before
