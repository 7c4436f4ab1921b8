"""Every arm of benchmarks/arms.py, for two steps on a few small images."""

import argparse
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks import arms
from unlabeled.config import Augmentation
from unlabeled.errors import TrainingError
from unlabeled.images.augment import CROP_DRAWS, crop_boxes

SETTINGS = "pretraining.encoder=small_resnet,pretraining.batch_size=8,pretraining.device=cpu"
"""What makes the arms small; a batch has to fit into the training split."""


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of Parquet files like CIFAR-10's: 60 images in train, 8 in test, of two classes, dark and bright."""
    folder, random = tmp_path_factory.mktemp("cifar10"), np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 8)):
        labels = np.arange(count) % 2
        pixels = (random.integers(0, 100, (count, 32, 32, 3)) + 150 * labels[:, None, None, None]).astype(np.uint8)
        pd.DataFrame({"image": [*map(png, pixels)], "label": labels}).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def options(images, tmp_path_factory):
    params = f"ingestion.path={images},{SETTINGS}"
    out = tmp_path_factory.mktemp("out") / "arms"
    return argparse.Namespace(params=params, env="cifar10", out=out, minutes=9, steps=2)


@pytest.fixture(scope="module")
def lines(options):
    arms.run(options)
    return [json.loads(line) for line in (options.out / "arms.jsonl").read_text().splitlines()]


def test_each_arm_appends_a_line_with_its_accuracies_and_seconds(lines):
    assert [line["arm"] for line in lines] == [*arms.ARMS]
    for line in lines:
        assert 0 <= line["knn_accuracy"] <= 1 and 0 <= line["linear_probe_accuracy"] <= 1
        assert line["steps"] == 2 and line["seconds"] > 0 and np.isfinite(line["loss"])
        assert line["validation_images"] + line["train_images"] == 60


def test_each_arm_trains_in_a_way_of_its_own(lines):
    losses = {line["arm"]: line["loss"] for line in lines if line["arm"] != "float32"}  # a CPU may have no bf16
    assert len(set(losses.values())) == len(losses)


def test_a_second_call_does_no_arm_twice(lines, options, capsys):
    arms.run(options)
    assert len((options.out / "arms.jsonl").read_text().splitlines()) == len(lines)
    assert capsys.readouterr().out.count("linear probe") == len(lines)


def test_a_call_that_was_cut_short_goes_on_with_the_arms_that_are_left(lines, options, tmp_path, monkeypatch):
    out, kept = tmp_path / "arms", lines[2:]
    out.mkdir()
    (out / "arms.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    arms.run(argparse.Namespace(**{**vars(options), "out": out}))
    again = [json.loads(line) for line in (out / "arms.jsonl").read_text().splitlines()]
    assert [line["arm"] for line in again[len(kept) :]] == [line["arm"] for line in lines[:2]]
    assert [line["loss"] for line in again[len(kept) :]] == [line["loss"] for line in lines[:2]]


def test_other_parameters_are_other_arms(lines, options):
    assert len({line["fingerprint"] for line in lines}) == len(lines)
    changed = argparse.Namespace(**{**vars(options), "params": options.params + ",pretraining.seed=1"})
    assert next(arms.measured(changed, {line["fingerprint"] for line in lines}))["seed"] == 1


def test_no_arm_begins_when_the_time_is_up(options, tmp_path, capsys):
    arms.run(argparse.Namespace(**{**vars(options), "out": tmp_path, "minutes": 0}))
    assert capsys.readouterr().out == "out of time before 'ours': call again to go on\n"
    assert not (tmp_path / "arms.jsonl").exists()


def test_an_arm_that_was_stopped_goes_on_where_it_stopped(options, tmp_path):
    params = f"{options.params},pretraining.epochs=3,pretraining.checkpoint_seconds=0"
    given = argparse.Namespace(**{**vars(options), "params": params, "out": tmp_path, "steps": None})
    blocks, line = arms.blocks_of(arms.ARMS["ours"], given), {"arm": "ours", "fingerprint": "f"}
    data = arms.ingest(blocks["ingestion"], tmp_path)
    straight = arms.outcome(line, blocks, data, given, deadline=float("inf"))
    with pytest.raises(arms.OutOfTimeError, match="after epoch 1 of 'ours'"):
        arms.outcome(line, blocks, data, given, deadline=0)
    assert (tmp_path / "resume.safetensors").exists()
    resumed = arms.outcome(line, blocks, data, given, deadline=float("inf"))
    assert resumed["loss"] == straight["loss"] and resumed["knn_accuracy"] == straight["knn_accuracy"]
    assert not (tmp_path / "resume.safetensors").exists()


def test_an_arm_that_diverges_is_a_line_too(options, tmp_path, monkeypatch, capsys):
    def diverging(*args, **given):
        raise TrainingError("the loss is not finite")

    monkeypatch.setattr(arms, "pretrain", diverging)
    arms.run(argparse.Namespace(**{**vars(options), "out": tmp_path}))
    assert capsys.readouterr().out.count("| the loss is not finite") == len(arms.ARMS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_forty_epochs_are_refused_in_a_sentence(options):
    with pytest.raises(SystemExit, match="arms.py needs a GPU, and torch finds none here: --steps=2 tries each arm"):
        arms.run(argparse.Namespace(**{**vars(options), "steps": None}))


def test_the_arms_change_what_they_say(options):
    built = {name: arms.blocks_of(arm, options) for name, arm in arms.ARMS.items()}
    assert built["ours"]["augmentation"].solarize == (0.0, 0.2)
    assert built["published transform"]["augmentation"].solarize == (0.0,)
    assert built["normalised projections"]["pretraining"].method["projection_norm"]
    assert built["float32"]["pretraining"].precision == "fp32"
    assert {blocks["pretraining"].epochs for blocks in built.values()} == {40}


def test_a_network_without_the_stems_relu_has_all_others():
    config = arms.blocks_of(arms.ARMS["ours"], argparse.Namespace(params=SETTINGS, env="cifar10"))["pretraining"]
    how = config, 3, 32, arms.Normalisation((0.5,) * 3, (0.25,) * 3), 2
    (_, ours), (_, without) = arms.build_method("byol", *how), arms.build_without_stem_relu("byol", *how)
    kinds = [[type(each) for each in method.modules()] for method in (ours, without)]
    relus = [kind.count(torch.nn.ReLU) for kind in kinds]
    assert relus[0] - relus[1] == 2  # the online network's and the target's


def test_narrowed_crops_cover_more_of_an_image_than_torchvisions():
    recipe, generator = Augmentation(crop_scale=(0.08, 1.0)), torch.Generator().manual_seed(0)

    def covered(boxes):
        return (boxes[:, 2] * boxes[:, 3] / 32**2).mean().item()

    narrowed = arms.narrowed_boxes(torch.rand(4, 100_000, generator=generator), 32, 32, recipe)
    today = crop_boxes(torch.rand(CROP_DRAWS, 100_000, generator=generator), 32, 32, recipe)
    assert covered(narrowed) == pytest.approx(0.534, abs=0.005) and covered(today) == pytest.approx(0.491, abs=0.005)
    assert (narrowed[:, :2] >= 0).all() and (narrowed[:, :2] + narrowed[:, 2:] <= 32 + 1e-4).all()
