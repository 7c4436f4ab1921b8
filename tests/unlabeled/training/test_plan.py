import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from unlabeled.config import Augmentation, Pretraining
from unlabeled.errors import DataError
from unlabeled.images import crops
from unlabeled.images import plan as image_plan
from unlabeled.images.plan import plan_training
from unlabeled.images.pretrain import fingerprint, pretrain_encoder
from unlabeled.storage import checkpoint
from unlabeled.training.plan import Pace, Plan, faster, steps_left

RECIPE = Augmentation(views=2, crop_size=8)
CONFIG = Pretraining(epochs=2, batch_size=8, device="cpu", monitor_every=2, min_embedding_std=0)


@pytest.fixture
def data():
    images = np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), np.uint8)
    manifest = pd.DataFrame(
        {"split": ["train"] * 20 + ["test"] * 4, "target": 0, "sha256": [f"{number:064x}" for number in range(24)]}
    ).assign(checksum=range(24))
    return images, manifest, {"mean": [0.5], "std": [0.3], "data_digest": "x", "classes": ["a"]}


def plan(**given):
    usual = {"steps": 1000, "batch_size": 64, "unit": "images", "epochs": 100, "pace": Pace(1.0, 2 * 10**9)}
    return Plan(**{**usual, "available": 16 * 10**9, **given})


def test_what_is_over_within_a_minute_is_not_worth_a_word():
    assert list(plan(steps=59).lines()) == [] and list(plan(steps=61).lines())


def test_a_plan_tells_steps_time_disk_and_memory():
    (line,) = plan(steps=300, cutting=90.0, crops=17 * 10**8, free=5 * 10**9).lines()
    assert line == (
        "plan: 300 steps of 64 images, about 6 min on this machine, 2 min of it for the crops; 1.7 GB of crops on disk "
        "(5.0 GB free); 2.0 GB of memory at most, of 16.0 GB"
    )


def test_a_long_one_tells_what_would_make_it_shorter_and_by_how_much():
    _, line = plan(steps=7200, shorter={"augmentation.crop_size=64": 2.0, "pretraining.encoder=small": 1.1}).lines()
    assert line == "shorter: pretraining.epochs=10 (about 12 min), augmentation.crop_size=64 (about 1 h 0 min), a GPU"
    _, line = plan(steps=7200, gpu=True).lines()
    assert "a GPU" not in line


def test_memory_that_will_not_suffice_is_a_warning():
    assert plan().warning() is None
    assert "a step needs 15.0 GB of memory, and there are 16.0 GB" in plan(pace=Pace(1.0, 15 * 10**9)).warning()


def test_a_change_that_cannot_be_made_is_left_out():
    def misfit():
        raise ValueError("too small")

    assert faster(Pace(2.0, 0), {"a=1": lambda: Pace(1.0, 0), "b=1": misfit}) == {"a=1": 2.0}


def test_only_the_steps_that_a_checkpoint_has_not_done_are_left(tmp_path):
    file = tmp_path / "resume.safetensors"
    assert steps_left(10, file, "mine") == 10
    checkpoint.save(file, {"step": 7, "fingerprint": "mine"})
    assert steps_left(10, file, "mine") == 3 and steps_left(10, file, "another") == 10


def test_a_plan_leaves_the_training_as_it_would_have_been(data, tmp_path):
    images, manifest, summary = data
    views = crops.cache_views(images, crops.keys_of(manifest), RECIPE, tmp_path)
    trained = []
    for planned in (False, True):
        torch.manual_seed(1)
        if planned:
            plan_training("byol", *data, CONFIG, RECIPE, tmp_path)
        drawn = torch.rand(1)
        made = pretrain_encoder("byol", images, views, manifest, summary, CONFIG, RECIPE)
        trained.append([drawn, *made.encoder.network.state_dict().values()])
    assert all(torch.equal(first, second) for first, second in zip(*trained, strict=True))


@pytest.mark.parametrize("method", ["byol", "supervised", "rotation", "autoencoder"])
def test_a_plan_counts_the_steps_and_the_crops_that_are_not_there(data, tmp_path, method):
    found = plan_training(method, *data, CONFIG, RECIPE, tmp_path / "crops")
    assert (found.steps, found.crops) == (2 * (20 // 8), 24 * 2 * 64) and found.cutting > 0 and found.free > 0
    assert 0 < found.pace.memory < found.available
    crops.cache_views(data[0], crops.keys_of(data[1]), RECIPE, tmp_path / "crops")
    again = plan_training(method, *data, CONFIG, RECIPE, tmp_path / "crops")
    assert (again.cutting, again.crops) == (0, 0)


def test_there_is_no_plan_where_nothing_is_left_to_train(data, tmp_path):
    assert plan_training("pca", *data, CONFIG.model_copy(update={"encoder": "linear"}), RECIPE, tmp_path) is None
    done = tmp_path / "resume.safetensors"
    checkpoint.save(done, {"step": 4, "fingerprint": fingerprint("byol", *data[1:], CONFIG, RECIPE)})
    assert plan_training("byol", *data, CONFIG, RECIPE, tmp_path, resume=done) is None


def test_a_long_training_tries_what_would_make_it_shorter(data, tmp_path, monkeypatch):
    monkeypatch.setattr(image_plan, "MIN_LONG_SECONDS", 0)
    monkeypatch.setattr(image_plan, "MIN_COMPARED_STEPS", 0)
    assert plan_training("byol", *data, CONFIG, RECIPE, tmp_path).shorter == {}  # tiny crops, the quickest encoder
    monkeypatch.setattr(image_plan, "MIN_SUGGESTED_CROP", 5)
    found = plan_training("byol", *data, CONFIG.model_copy(update={"encoder": "resnet18"}), RECIPE, tmp_path)
    assert found.shorter.keys() == {"augmentation.crop_size=5", "pretraining.encoder=small_resnet"}


def test_crops_that_do_not_fit_on_the_disk_are_refused_before_any_is_cut(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DataError, match="the crops of 24 images take .* lower augmentation.views"):
        crops.cache_views(data[0], crops.keys_of(data[1]), RECIPE, tmp_path)
    assert not list(tmp_path.iterdir())
