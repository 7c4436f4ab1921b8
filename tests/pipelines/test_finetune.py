"""A trained encoder with a classifier on top."""

QUICK = "finetune.labels=1+all,finetune.draws=2,finetune.steps=8"


def test_an_encoder_is_trained_on_beside_one_from_scratch(trained, project):
    for command in ("--tags=ingestion", "--tags=augmentation", "--tags=pretraining"):
        assert project.kedro("--pipeline=byol", command).exit_code == 0
    result = project.kedro("--pipeline=finetune", f"--params={QUICK}")
    assert result.exit_code == 0, result.output
    metrics = project.json("data/08_reporting/finetune.json")
    assert metrics["method"] == "byol" and metrics["labels"].keys() == {"1", "all"}
    assert metrics["data_digest"] == project.json("data/02_intermediate/summary.json")["data_digest"]
    for starts in metrics["labels"].values():
        assert starts.keys() == {"finetuned", "from_scratch"}
        assert all(0 <= each["mean"] <= 1 and each["std"] >= 0 for each in starts.values())
    assert "all labels a class: " in result.output and "from scratch" in result.output
    run = project.runs()[0]
    assert run.data.metrics["finetuned.1"] == metrics["labels"]["1"]["finetuned"]["mean"]
    assert (
        project.files()["data/06_models/byol/encoder.safetensors"]
        == (trained.files()["data/06_models/byol/encoder.safetensors"])
    )


def test_a_method_of_other_data_is_refused(project):
    result = project.kedro("--pipeline=finetune", "--params=finetune.method=gpt")
    said = " ".join(result.output.split())
    assert result.exit_code == 1 and "finetune: received method='gpt', expected one of byol, simclr" in said


def test_a_method_without_an_encoder_is_named(project):
    assert project.kedro("--pipeline=byol", "--tags=ingestion").exit_code == 0
    result = project.kedro("--pipeline=finetune", "--params=finetune.method=vicreg")
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert (
        "finetune.method: received 'vicreg', which has no encoder yet: run kedro run --pipeline=vicreg" in result.output
    )


def test_an_encoder_without_the_record_of_its_training_will_do(project):
    assert project.kedro("--pipeline=pca", "--to-nodes=pca.pretraining").exit_code == 0
    (project.path / "data/06_models/pca/run.json").unlink()
    result = project.kedro("--pipeline=finetune", f"--params=finetune.method=pca,{QUICK}")
    assert result.exit_code == 0, result.output
