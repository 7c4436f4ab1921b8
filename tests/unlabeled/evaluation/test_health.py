import math

import numpy as np
import pytest
import torch

from unlabeled.evaluation.health import MAX_ROWS, alignment, embedding_std, rankme, uniformity
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.storage.arrays import spread


def noise(n, dims, seed=0):
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed))


def unit(rows):
    return rows / np.sqrt((rows**2).sum(1, keepdims=True))


def test_std_of_noise_is_one_whatever_the_dimension():
    for dims in (8, 64, 512):
        assert embedding_std(noise(2000, dims)) == pytest.approx(1, abs=0.02)


def test_std_of_one_point_is_zero_however_long_its_vectors():
    point = noise(1, 16)
    assert embedding_std(point.expand(50, -1)) == pytest.approx(0, abs=1e-6)
    assert embedding_std(point * torch.arange(1, 51)[:, None]) == pytest.approx(0, abs=1e-6)


def test_std_of_two_opposite_points_has_a_closed_form():
    rows = torch.tensor([[3.0, 0.0], [-1.0, 0.0]])
    assert embedding_std(rows) == pytest.approx(0.5 * math.sqrt(2))  # (1 + 0) / 2 · √D


def test_std_is_its_definition():
    features = noise(60, 7) + 1
    rows = unit(features.double().numpy())
    slow = sum(math.sqrt(((rows[:, j] - rows[:, j].mean()) ** 2).mean()) for j in range(7)) / 7 * math.sqrt(7)
    assert embedding_std(features) == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_rankme_of_orthonormal_features_is_their_rank(rank):
    features = torch.linalg.qr(noise(40, 12)).Q[:, :rank]
    turned = features @ torch.linalg.qr(noise(12, 12, seed=1)).Q[:rank]
    assert rankme(5 * turned) == pytest.approx(rank, rel=1e-3)


def test_rankme_is_its_definition():
    features = noise(50, 9) * torch.arange(1, 10)
    singular = np.linalg.svd(features.double().numpy(), compute_uv=False)
    shares = [s / sum(singular) + 1e-7 for s in singular]
    assert rankme(features) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-4)


def test_rankme_of_nothing_but_zeros_is_a_number():
    assert math.isfinite(rankme(torch.zeros(20, 4)))


def test_uniformity_is_its_definition():
    features = noise(30, 5) + 0.5
    rows = unit(features.double().numpy())
    potentials = [math.exp(-2 * ((rows[i] - rows[j]) ** 2).sum()) for i in range(30) for j in range(i)]
    assert uniformity(features) == pytest.approx(math.log(sum(potentials) / len(potentials)), rel=1e-4)


def test_uniformity_of_one_point_is_zero_and_of_opposite_points_minus_eight():
    assert uniformity(torch.ones(10, 3)) == pytest.approx(0, abs=1e-5)
    assert uniformity(torch.tensor([[2.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)


def test_alignment_is_its_definition():
    first, second = noise(20, 6), noise(20, 6, seed=1)
    distances = ((unit(first.double().numpy()) - unit(second.double().numpy())) ** 2).sum(1)
    assert alignment(first, second) == pytest.approx(sum(distances) / 20, rel=1e-5)


def test_alignment_of_the_same_is_zero_and_of_opposites_four():
    features = noise(20, 6)
    assert alignment(features, 3 * features) == pytest.approx(0, abs=1e-6)
    assert alignment(features, -features) == pytest.approx(4, rel=1e-5)


def test_many_rows_are_sampled_evenly():
    features = noise(3 * MAX_ROWS, 4)
    features[::3] = noise(1, 4)  # what an even third is made of
    assert embedding_std(features) == pytest.approx(0, abs=1e-6)
    assert embedding_std(features.roll(1, 0)) > 0.9
    assert [len(spread(features[: MAX_ROWS + more], MAX_ROWS)) for more in (-1, 0, 1, MAX_ROWS)] == [
        MAX_ROWS - 1,
        MAX_ROWS,
        MAX_ROWS,
        MAX_ROWS,
    ]


def test_the_order_of_classes_does_not_decide_how_uniform_they_are():
    features = noise(4096, 4)
    features[:2048, 0] += 10
    shuffled = features[torch.randperm(4096, generator=torch.Generator().manual_seed(0))]
    assert uniformity(features) == pytest.approx(uniformity(shuffled), abs=0.05)


def test_measures_take_what_is_half_precise():
    assert embedding_std(noise(100, 8).bfloat16()) == pytest.approx(embedding_std(noise(100, 8)), abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_the_default_threshold_lets_every_untrained_network_pass(digits, seed):
    images, _ = digits
    torch.manual_seed(seed)
    encoder = ImageEncoder("small_resnet", 1, 8, Normalisation((0.3,), (0.38,)))
    assert embedding_std(torch.from_numpy(encoder.embed(images[:256]))) > 0.1
