"""Defaults that adapt to small data and to photographs, and values that a user has chosen."""

import pytest
import yaml

from unlabeled.config import Augmentation, Pretraining
from unlabeled.pairs.config import PairAugmentation
from unlabeled.training.defaults import fit_batch, fit_recipe


@pytest.mark.parametrize("count, size", [(127, 32), (63, 16), (44, 16), (7, 2), (3, 2), (2, 2)])
def test_a_default_batch_leaves_two_steps_an_epoch(count, size):
    values, reason = fit_batch(Pretraining(batch_size=64, learning_rate=0.001), set(), count, "pairs")
    assert values["batch_size"] == size and reason == f"there are {count} pairs to train on"
    assert values["learning_rate"] == pytest.approx(0.001 * (size / 64) ** 0.5, rel=0.01)


def test_the_learning_rate_of_sgd_follows_linearly():
    config = Pretraining(batch_size=256, optimizer="sgd", learning_rate=0.12)
    assert fit_batch(config, set(), 40, "images").values == {"batch_size": 16, "learning_rate": 0.0075}


@pytest.mark.parametrize("count, chosen", [(128, set()), (44, {"batch_size"}), (1, set())])
def test_a_batch_that_fits_or_was_chosen_stays(count, chosen):
    assert not fit_batch(Pretraining(batch_size=64), chosen, count, "pairs").values


def test_a_learning_rate_that_was_chosen_stays():
    assert fit_batch(Pretraining(batch_size=64), {"learning_rate"}, 44, "pairs").values == {"batch_size": 16}


def of_base(request, file, *blocks):
    values = yaml.safe_load((request.config.rootpath / "conf/base" / file).read_text())
    for block in blocks:
        values = values[block]
    return values


@pytest.mark.parametrize(
    "kind, place",
    [
        (Augmentation, ("parameters.yml", "augmentation")),
        (PairAugmentation, ("parameters_clip.yml", "clip", "augmentation")),
    ],
)
def test_the_recipe_for_digits_is_replaced_on_photographs_but_for_what_was_chosen(request, kind, place):
    base = kind.model_validate(of_base(request, *place))
    assert {key: getattr(base, key) for key in kind.digits} == kind.digits
    fitted = base.model_copy(update=fit_recipe(base, set(), 96).values)
    assert all(getattr(fitted, key) == getattr(kind(), key) for key in kind.digits)
    assert not fit_recipe(fitted, set(), 96).values and not fit_recipe(base, set(), 28).values
    assert not fit_recipe(base, {"degrees", "translate", "shear", "zoom"}, 96).values
    assert "crop_scale" not in fit_recipe(base, {"crop_scale"}, 96).values
