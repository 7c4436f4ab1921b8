import numpy as np
import pytest
import torch
from sklearn import decomposition

from unlabeled.methods.pca import PCA
from unlabeled.networks import build_encoder


def images(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 6, 6, generator=generator) * torch.linspace(3, 0.1, 6) + 0.5


def batches(data, size=50):
    return list(data.split(size))


def test_it_is_scikit_learns_pca_of_all_images_at_once():
    data, encoder = images(400), build_encoder("linear", 1, 6)
    lost = PCA(encoder).fit(batches(data))
    theirs = decomposition.PCA(36).fit(data.flatten(1).numpy())
    ours = encoder(data).detach().numpy()
    expected = theirs.transform(data.flatten(1).numpy())
    np.testing.assert_allclose(np.abs(ours), np.abs(expected), atol=1e-2)
    assert lost == pytest.approx(0, abs=1e-5)


def test_features_are_centred_and_uncorrelated():
    data, encoder = images(400), build_encoder("linear", 1, 6)
    PCA(encoder).fit(batches(data))
    covariance = np.cov(encoder(data).detach().numpy().T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-2
    assert encoder(data).mean(0).abs().max() < 1e-3


def test_the_order_of_a_few_more_images_than_batches_does_not_matter_much():
    data = images(410)
    one, other = build_encoder("linear", 1, 6), build_encoder("linear", 1, 6)
    PCA(one).fit(batches(data, 50)), PCA(other).fit(batches(data, 410))
    np.testing.assert_allclose(one(data).detach().abs(), other(data).detach().abs(), atol=1e-2)


def test_another_network_than_a_linear_one_is_refused():
    with pytest.raises(ValueError, match="pca solves for a linear network: set pretraining.encoder=linear"):
        PCA(build_encoder("small_resnet", 1, 8))


def test_fewer_images_than_components_are_refused():
    with pytest.raises(ValueError, match="pca needs 36 images at least, and there are 20"):
        PCA(build_encoder("linear", 1, 6)).fit(batches(images(20)))
