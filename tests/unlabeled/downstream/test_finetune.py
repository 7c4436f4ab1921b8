import numpy as np
import pandas as pd
import pytest
import torch

from unlabeled.config import Augmentation, Finetuning
from unlabeled.downstream.finetune import finetune
from unlabeled.errors import TrainingError
from unlabeled.images.encoder import ImageEncoder, Normalisation

RECIPE = Augmentation(views="fresh", crop_scale=(0.9, 1.0), flip=0, jitter=0, gray=0, solarize=(0,))


@pytest.fixture
def data(digits):
    images, targets = (each[:300] for each in digits)
    split = np.where(np.arange(300) % 3 == 2, "test", "train")
    return images, pd.DataFrame({"target": targets, "split": split})


def encoder_of():
    torch.manual_seed(0)
    return ImageEncoder("small_resnet", 1, 8, Normalisation((0.3,), (0.37,)))


def test_more_labels_help_and_the_given_encoder_stays_as_it_was(data):
    encoder = encoder_of()
    before = {name: value.clone() for name, value in encoder.network.state_dict().items()}
    results = finetune(encoder, *data, Finetuning(labels=(1, "all"), draws=2, steps=20), RECIPE)
    assert results.keys() == {"1", "all"}
    for start in ("finetuned", "from_scratch"):
        assert results["all"][start]["mean"] > results["1"][start]["mean"] + 0.1
        assert results["1"][start]["std"] > 0
    assert all(torch.equal(value, before[name]) for name, value in encoder.network.state_dict().items())


def test_the_encoder_decides_where_it_starts(data):
    trained = encoder_of()
    for parameter in trained.network.parameters():
        parameter.data.zero_()  # nothing can be learned from here
    results = finetune(trained, *data, Finetuning(labels=("all",), draws=1, steps=20), RECIPE)
    assert results["all"]["finetuned"]["mean"] < 0.2 < results["all"]["from_scratch"]["mean"]


def test_the_same_seed_gives_the_same_numbers(data):
    config = Finetuning(labels=(2,), draws=2, steps=6)
    assert finetune(encoder_of(), *data, config, RECIPE) == finetune(encoder_of(), *data, config, RECIPE)


def test_without_labels_there_is_nothing_to_learn(data):
    images, manifest = data
    with pytest.raises(TrainingError, match="finetune needs labels"):
        finetune(encoder_of(), images, manifest.assign(target=-1), Finetuning(), RECIPE)


def test_images_of_other_channels_are_refused(data):
    images, manifest = data
    with pytest.raises(TrainingError, match="is of images with 1 channel, and today's have 3: run the pipeline byol"):
        finetune(encoder_of(), images.repeat(3, 1), manifest, Finetuning(), RECIPE)


def test_views_are_as_large_as_what_the_encoder_was_trained_on(data):
    config = Finetuning(labels=(1,), draws=1, steps=2)
    torch.manual_seed(0)
    encoder = ImageEncoder("linear", 1, 8, Normalisation((0.3,), (0.37,)))
    finetune(encoder, *data, config, RECIPE.model_copy(update={"crop_size": 6}))
