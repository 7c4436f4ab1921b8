import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file

from unlabeled.encoders import load_encoder

STAGES = {
    "data/02_intermediate/images.npy",
    "data/02_intermediate/manifest.parquet",
    "data/02_intermediate/quarantine.csv",
    "data/02_intermediate/summary.json",
    "data/04_feature/byol.npy",
    "data/05_model_input/crops.json",
    "data/05_model_input/crops/views.npy",
    "data/05_model_input/crops/views.parquet",
    "data/06_models/byol/encoder.json",
    "data/06_models/byol/encoder.safetensors",
    "data/06_models/byol/probe.safetensors",
    "data/06_models/byol/run.json",
    "data/06_models/byol/version.json",
    "data/08_reporting/byol/examples.npz",
    "data/08_reporting/byol/history.csv",
    "data/08_reporting/byol/metrics.json",
    "data/08_reporting/byol/predictions.parquet",
    "data/08_reporting/byol/report.html",
}


def test_a_run_leaves_what_each_stage_promises_and_nothing_else(trained):
    outputs = trained.outputs()
    assert set(outputs) == STAGES and len(trained.files().keys() - outputs) == 3  # baselines


def test_metrics_have_the_keys_that_others_read(trained):
    metrics = trained.json("data/08_reporting/byol/metrics.json")
    measured = {"linear_probe_accuracy", "regularisation", "knn_accuracy", "few_label"}
    health = {"embedding_std", "untrained_embedding_std", "rankme", "uniformity", "alignment"}
    origin = {"images_per_second", "seconds", "data_digest", "protocol", "seed", "weights", "checksums"}
    assert metrics.keys() == measured | health | origin | {"baselines"}
    assert metrics["baselines"].keys() == {"raw_input", "random_encoder", "pca"}
    assert all(baseline.keys() == measured for baseline in metrics["baselines"].values())
    assert all(draws.keys() == {"mean", "std"} for draws in metrics["few_label"].values())
    assert metrics["few_label"].keys() == {"1", "5", "10%"} and metrics["data_digest"] and metrics["seed"] == 0


def test_mlflow_has_the_run_with_its_parameters_metrics_and_tags(trained):
    run = trained.runs()[-1]
    assert run.info.status == "FINISHED"
    assert run.data.params["pretraining.epochs"] == "2" and run.data.params["ingestion.source"] == "digits"
    assert run.data.params["pretraining.method.momentum"] and run.data.params["augmentation.crop_scale"]
    metrics = trained.json("data/08_reporting/byol/metrics.json")
    assert run.data.metrics["linear_probe_accuracy"] == metrics["linear_probe_accuracy"]
    assert run.data.metrics["few_label.10pct.mean"] == metrics["few_label"]["10%"]["mean"]
    assert run.data.tags["method"] == "byol" and run.data.tags["data_digest"] == metrics["data_digest"]
    assert len(run.data.tags["mlflow.source.git.commit"]) == 40 and run.data.tags["git_dirty"] == "false"


def test_mlflow_has_the_curve_epoch_by_epoch_and_the_files_people_open(trained):
    run = trained.runs()[-1].info.run_id
    history = pd.read_csv(trained.path / "data/08_reporting/byol/history.csv")
    losses = trained.client().get_metric_history(run, "loss")
    assert [(m.step, m.value) for m in losses] == list(zip(history.epoch, history.loss, strict=True))
    artifacts = {artifact.path for artifact in trained.client().list_artifacts(run)}
    opened = {"history.csv", "metrics.json", "predictions.parquet", "report.html", "summary.json", "quarantine.csv"}
    assert artifacts >= opened
    momenta = trained.client().get_metric_history(run, "momentum")
    assert [m.value for m in momenta] == history.momentum.tolist() and momenta[-1].value == 1


def test_predictions_are_of_the_test_images_and_their_share_of_right_ones_is_the_accuracy(trained):
    predictions = pd.read_parquet(trained.path / "data/08_reporting/byol/predictions.parquet")
    manifest = pd.read_parquet(trained.path / "data/02_intermediate/manifest.parquet")
    assert predictions.row.tolist() == np.flatnonzero(manifest.split == "test").tolist()
    accuracy = trained.json("data/08_reporting/byol/metrics.json")["linear_probe_accuracy"]
    assert (predictions.predicted == predictions.target).mean() == pytest.approx(accuracy)
    assert predictions.confidence.between(0.1, 1).all()  # of ten classes


def test_features_are_the_encoders_of_the_unaugmented_images(trained):
    images = np.load(trained.path / "data/02_intermediate/images.npy")
    features = np.load(trained.path / "data/04_feature/byol.npy")
    np.testing.assert_array_equal(load_encoder(trained.path / "data/06_models/byol").embed(images), features)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained, project):
    name = "data/06_models/byol/encoder.safetensors"
    assert project.kedro("--to-nodes=byol.pretraining").exit_code == 0  # without a name: BYOL
    assert project.files()[name] == trained.files()[name]
    assert project.kedro("--params=byol.pretraining.seed=1", "--to-nodes=byol.pretraining").exit_code == 0
    assert project.files()[name] != trained.files()[name]


def test_stages_can_be_run_one_by_one_and_end_up_in_the_run_of_their_training(project):
    for tag in ("ingestion", "augmentation", "pretraining", "evaluation", "registration", "reporting"):
        result = project.kedro("--pipeline=byol", f"--tags={tag}")
        assert result.exit_code == 0, result.output
    training, *earlier = project.runs()
    assert len(earlier) == 2
    assert {"loss", "linear_probe_accuracy"} <= training.data.metrics.keys()
    assert project.client().get_model_version_by_alias("unlabeled-digits", "champion").run_id == training.info.run_id


@pytest.mark.parametrize(
    "options", [["--from-nodes=byol.evaluation"], ["--nodes=byol.evaluation,byol.registration"], ["--tags=evaluation"]]
)
def test_a_part_of_the_chain_leaves_the_weights_alone(trained, options):
    before = trained.files()
    result = trained.kedro("--pipeline=byol", *options)
    assert result.exit_code == 0, result.output
    changed = {name for name, content in trained.files().items() if content != before[name]}
    assert changed <= {"data/06_models/byol/version.json", "data/08_reporting/byol/report.html"}
    assert trained.runs()[0].info.run_id == trained.json("data/06_models/byol/run.json")["run_id"]


def test_params_reach_into_a_methods_own_block_and_beat_it(project):
    params = "pretraining.epochs=3,pretraining.method.momentum=0.5,"
    params += "byol.pretraining.epochs=1,byol.pretraining.warmup_epochs=0"
    assert project.kedro("--pipeline=byol", "--to-nodes=byol.pretraining", f"--params={params}").exit_code == 0
    logged = project.runs()[0].data.params
    assert logged["pretraining.epochs"] == "1" and logged["pretraining.method.momentum"] == "0.5"
    assert logged["pretraining.method.hidden_dim"] == "512"  # what was not named stays


def test_an_environment_changes_single_keys(project):
    (project.path / "conf/small").mkdir()
    (project.path / "conf/small/parameters.yml").write_text(
        "pretraining: {encoder: resnet18, epochs: 1, warmup_epochs: 0}"
    )
    options = ["--env=small", "--params=ingestion.fraction=0.1", "--to-nodes=byol.pretraining"]
    assert project.kedro(*options).exit_code == 0
    weights = load_file(project.path / "data/06_models/byol/encoder.safetensors")
    assert "layer4.1.conv2.weight" in weights
    assert project.runs()[0].data.params["pretraining.batch_size"] == "32"


def test_without_labels_the_encoder_is_registered_all_the_same(project, tmp_path):
    (tmp_path / "photos").mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    params = f"ingestion.source=image_folder,ingestion.path={tmp_path / 'photos'},ingestion.fraction=1.0"
    result = project.kedro(f"--params={params}")
    assert result.exit_code == 0, result.output
    metrics = project.json("data/08_reporting/byol/metrics.json")
    assert metrics["linear_probe_accuracy"] is None and metrics["rankme"] > 1
    said = "there are no labels to test with, and its embedding is alive"
    assert f"After 2 epochs: {said}" in (project.path / "data/08_reporting/byol/report.html").read_text()
    assert f"byol on photos after 2 epochs, the champion: {said}" in " ".join(result.output.split())
    assert project.client().get_model_version_by_alias("unlabeled-photos", "champion").version == 1


def test_other_labels_in_metadata_train_no_method_again_that_does_not_learn_from_them(project):
    folder = project.path / "data/01_raw/photos"
    project.photos(0, 120)
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.png"))
    params = "ingestion.source=image_folder,ingestion.path=data/01_raw/photos,ingestion.fraction=1.0"
    params += ",pretraining.batch_size=8,pretraining.epochs=1,pretraining.warmup_epochs=0"

    def trained(method, relabelled):
        """Says of a run after another labelling whether it kept the training before, and its record."""
        labels = {name: "9" if i < relabelled else name[0] for i, name in enumerate(names)}
        lines = ["file_name,label", *(f"{name},{label}" for name, label in labels.items())]
        (folder / "metadata.csv").write_text("\n".join(lines))
        result = project.kedro(f"--pipeline={method}", f"--params={params}")
        assert result.exit_code == 0, result.output
        kept = f"only labels have changed since {method} was trained" in " ".join(result.output.split())
        return kept, project.json(f"data/06_models/{method}/run.json")

    (_, first), (kept, second), (again, third) = (trained("pca", count) for count in (0, 4, 4))
    assert kept and second == first | {key: second[key] for key in ("data_digest", "labels_before")}
    assert second["labels_before"] == first["data_digest"] != second["data_digest"]
    assert not again and third["run_id"] != first["run_id"] and "labels_before" not in third
    assert [trained("supervised", count)[0] for count in (4, 0)] == [False, False]
    versions = project.client().search_model_versions("name='unlabeled-photos'")
    decisions = {str(each.version): each.tags["decision"] for each in versions}
    assert "its encoder is that of version 1" in decisions["2"]
