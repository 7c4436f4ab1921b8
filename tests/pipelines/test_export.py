"""A registered version as files that are used without this project."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("onnxruntime")


def test_the_champion_is_exported_and_its_script_gives_its_answers(registered, photos):
    result = registered.kedro("--pipeline=export")
    assert result.exit_code == 0, result.output
    assert "unlabeled-digits version 1 exported to data/07_model_output/export: at most" in result.output
    about = registered.json("data/07_model_output/export.json")
    assert about["images"] > 1 and about["largest_difference"] <= about["tolerance"]
    script, files = registered.path / "data/07_model_output/export/use.py", [photos / "00.png", photos / "01.png"]
    answered = registered.shell(sys.executable, script, *files)
    assert answered.returncode == 0, answered.stderr
    used = [json.loads(line) for line in answered.stdout.splitlines()]
    assert registered.kedro("--pipeline=embed", f"--params=embed.path={photos}").exit_code == 0
    table = pd.read_parquet(registered.path / "data/07_model_output/embeddings.parquet")
    np.testing.assert_allclose([each["embedding"] for each in used], list(table.embedding[:2]), atol=1e-4)
    assert [each["class"] for each in used] == list(table.predicted[:2])


def test_it_needs_images_to_be_checked_on(registered, photos):
    (registered.path / "data/02_intermediate/images.npy").unlink()
    result = registered.kedro("--pipeline=export")
    assert result.exit_code == 1 and "there are no ingested images to check the files on" in result.output
    result = registered.kedro("--pipeline=export", f"--params=export.image={photos}")
    assert result.exit_code == 0, result.output
    assert registered.json("data/07_model_output/export.json")["images"] == 20


def test_a_version_that_there_is_not_is_named(registered):
    result = registered.kedro("--pipeline=export", "--params=export.version=9")
    assert result.exit_code == 1 and "has no unlabeled-digits version 9" in result.output
