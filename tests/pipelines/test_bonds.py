"""Weights, answers and names belong together: what a run starts from is what its record says."""

import shutil

import numpy as np
import pytest

from pipelines.datasets.crops import CropsDataset
from pipelines.datasets.encoder import EncoderDataset
from pipelines.datasets.files import ArrayDataset
from pipelines.stages.freshness import RECORDERS, check_intact, with_checksums
from unlabeled.errors import DataError

ENCODER, IMAGES = "data/06_models/byol/encoder.safetensors", "data/02_intermediate/images.npy"
VIEWS, FEATURES = "data/05_model_input/crops/views.npy", "data/04_feature/byol.npy"


def spoil(file):
    """Changes 50 bytes in the middle of a file."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(byte ^ 0x5A for byte in content[middle : middle + 50])
    file.write_bytes(content)


def sentence(result):
    """The one sentence that a command ends in, without its line breaks."""
    assert result.exit_code == 1 and "Traceback" not in result.output, result.output
    return " ".join(result.output.split("Error: ")[-1].split())


@pytest.mark.parametrize(
    "file, stage, starts",
    [
        (ENCODER, "pretraining", ("evaluation", "registration", "reporting")),
        (IMAGES, "ingestion", ("pretraining", "evaluation")),
        (VIEWS, "augmentation", ("pretraining",)),
        (FEATURES, "evaluation", ("reporting",)),
    ],
)
def test_a_damaged_file_stops_every_stage_that_starts_from_it(registered, file, stage, starts):
    before = registered.files()
    spoil(registered.path / file)
    for start in starts:
        message = sentence(registered.kedro("--pipeline=byol", f"--nodes=byol.{start}"))
        assert file.removesuffix("/views.npy") in message and ("damaged" in message or "digest" in message)
        assert f"run the stage {stage} again" in message or "train it again" in message
    spoil(registered.path / file)  # which mends it
    assert registered.files() == before
    assert len(registered.client().search_model_versions("name='unlabeled-digits'")) == 1


def test_an_encoder_of_another_training_is_neither_evaluated_nor_finetuned_nor_registered(registered, tmp_path):
    folder = registered.path / "data/06_models/byol"
    shutil.copytree(folder, tmp_path / "first")
    seed = "--params=pretraining.seed=5"
    assert registered.kedro("--pipeline=byol", "--nodes=byol.pretraining", seed).exit_code == 0
    message = sentence(registered.kedro("--pipeline=byol", "--nodes=byol.registration", seed))
    assert message == "the metrics are of another encoder than is here: run the stage evaluation again"
    for name in ("encoder.safetensors", "encoder.json"):
        shutil.copy(tmp_path / "first" / name, folder / name)
    for arguments in (["--pipeline=byol", "--nodes=byol.evaluation"], ["--pipeline=finetune"]):
        message = sentence(registered.kedro(*arguments))
        assert ENCODER in message and "of another training" in message and "run the stage pretraining" in message


def test_damaged_files_of_a_champion_are_used_by_nobody(registered, photos, tmp_path):
    client, name = registered.client(), "unlabeled-digits"
    uri = client.get_model_version_download_uri(name, "1")
    files, ours = tmp_path / "files", registered.path / "artifacts"
    shutil.copytree(uri.removeprefix("file://"), ours)
    version = client.get_model_version(name, "1")
    client.create_registered_model("exchanged")
    client.create_model_version("exchanged", str(ours), tags=version.tags)
    client.set_registered_model_alias("exchanged", "champion", "1")
    weights = ours / "artifacts/model/encoder.safetensors"
    shutil.copytree(ours, files)
    embed = ["--pipeline=embed", f"--params=embed.path={photos},embed.model_name=exchanged"]
    export = ["--pipeline=export", "--params=export.model_name=exchanged"]
    for file in (weights, weights.with_suffix(".json"), weights.with_name("classes.json")):
        spoil(file)
        for command in (embed, export):
            message = sentence(registered.kedro(*command))
            assert file.name in message and "damaged" in message and "restore the artifact" in message
        shutil.copy(files / file.relative_to(ours), file)
    spoil(ours / "artifacts/record/predictions.parquet")
    again = "--params=registration.model_name=exchanged,pretraining.seed=3"
    result = registered.kedro("--pipeline=byol", "--from-nodes=byol.pretraining", again)
    assert result.exit_code == 0 and "version 1 stays, for it could not be measured" in " ".join(result.output.split())
    assert "predictions.parquet is damaged" in client.get_model_version("exchanged", "2").tags["decision"]


@pytest.mark.parametrize("name", sorted(RECORDERS.keys() - {"encoder", "images", "frames", "views"}))
def test_an_array_of_any_kind_of_data_is_compared_with_its_record(name, tmp_path):
    array = np.arange(12, dtype=np.int64)
    records = {f"gpt.{RECORDERS[name].record}": with_checksums({}, **{name: array})}
    dataset = ArrayDataset(str(tmp_path / "array.npy"))
    check_intact(f"gpt.{name}", array, dataset, records.get)
    stage = RECORDERS[name].stage
    with pytest.raises(DataError, match=rf"array.npy is damaged or of another run: run the stage {stage}"):
        check_intact(f"gpt.{name}", array[::-1], dataset, records.get)


def test_every_array_and_encoder_that_a_stage_starts_from_has_a_record():
    from kedro.framework.startup import bootstrap_project

    from tests.pipelines.conftest import ROOT

    bootstrap_project(ROOT)
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    with KedroSession.create(ROOT) as session:
        catalog = session.load_context().catalog
        loaded = {name for pipeline in pipelines.values() for node in pipeline.nodes for name in node.inputs}
        kinds = {
            name.rpartition(".")[2]
            for name in loaded
            if not name.startswith("params:")
            and isinstance(catalog.get(name), ArrayDataset | CropsDataset | EncoderDataset)
        }
    assert kinds == RECORDERS.keys()
