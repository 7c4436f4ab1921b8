import numpy as np
import pytest
import torch
from sklearn import decomposition

from unlabeled.methods.pca import PCA
from unlabeled.nn.small_networks import build_encoder


def images(n, seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, 6, 6, generator=generator) * torch.linspace(3, 0.1, 6) + 0.5


def batches(data, size=50):
    return list(data.split(size))


def inner_products(features):
    """What of features no rotation changes."""
    return features @ features.T


def fitted(data, size=50):
    encoder = build_encoder("linear", data.shape[1], 6)
    lost = PCA(encoder).fit(batches(data, size))
    return encoder(data).detach().numpy(), lost


def test_it_is_scikit_learns_pca_of_all_images_at_once_but_for_a_rotation():
    data = images(400, channels=4)  # 144 pixels, of which 128 components are kept
    ours, lost = fitted(data, 400)
    theirs = decomposition.PCA(128).fit(data.flatten(1).numpy())
    expected = inner_products(theirs.transform(data.flatten(1).numpy()))
    np.testing.assert_allclose(inner_products(ours), expected, atol=1e-2)
    assert lost == pytest.approx(1 - theirs.explained_variance_ratio_.sum(), abs=1e-5)
    assert 0 < lost < 0.1


def test_all_components_lose_nothing():
    data = images(400)
    ours, lost = fitted(data)
    pixels = data.flatten(1).numpy()
    np.testing.assert_allclose(inner_products(ours), inner_products(pixels - pixels.mean(0)), atol=1e-2)
    assert lost == pytest.approx(0, abs=1e-5)


def test_features_are_centred_and_of_about_the_same_variance():
    data = images(400)
    ours, _ = fitted(data)
    pixels, variances = data.flatten(1).numpy().var(0), ours.var(0)
    assert np.abs(ours.mean(0)).max() < 1e-3
    assert variances.max() / variances.min() < 20 < 500 < pixels.max() / pixels.min()


def test_batches_of_other_sizes_matter_little():
    data = images(410)
    (one, _), (other, _) = fitted(data, 50), fitted(data, 410)
    np.testing.assert_allclose(inner_products(one), inner_products(other), atol=1e-2)


def test_another_network_than_a_linear_one_is_refused():
    with pytest.raises(ValueError, match="pca solves for a linear network: set pretraining.encoder=linear"):
        PCA(build_encoder("small_resnet", 1, 8))


def test_fewer_images_than_components_are_refused():
    with pytest.raises(ValueError, match="pca needs 36 images at least, and there are 20"):
        PCA(build_encoder("linear", 1, 6)).fit(batches(images(20)))
