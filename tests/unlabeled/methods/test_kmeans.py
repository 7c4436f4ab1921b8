import math

import numpy as np
import pytest
import torch

from unlabeled.methods import kmeans
from unlabeled.methods.kmeans import KMeans
from unlabeled.nn.small_networks import PatchNetwork, build_encoder


def images(n, seed=0):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def fitted(data, centroids=5):
    torch.manual_seed(0)
    encoder = PatchNetwork(1, 8, centroids)
    return encoder, KMeans(encoder).fit(list(data.split(16)))


def slow_features(encoder, image):
    """Coates et al. 2011, section 3: a loop over patches, centroids and quarters."""
    size, side = encoder.patch, 8 - encoder.patch + 1
    whitening, mean = encoder.whitening.double().numpy(), encoder.mean.double().numpy()
    near = np.zeros((len(encoder.centroids), side, side))
    for y in range(side):
        for x in range(side):
            patch = image[:, y : y + size, x : x + size].double().numpy().ravel()
            patch = (patch - patch.mean()) / math.sqrt(patch.var() + 0.01)
            white = (patch - mean) @ whitening
            distances = [np.linalg.norm(white - centroid) for centroid in encoder.centroids.double().numpy()]
            near[:, y, x] = [max(0.0, np.mean(distances) - d) for d in distances]
    starts, ends = (0, side // 2), (-(-side // 2), side)
    return [
        near[k, starts[v] : ends[v], starts[h] : ends[h]].mean()
        for k in range(len(near))
        for v in (0, 1)
        for h in (0, 1)
    ]


def test_features_are_the_slow_loop():
    encoder, _ = fitted(images(64))
    np.testing.assert_allclose(encoder(images(1, 9))[0], slow_features(encoder, images(1, 9)[0]), atol=1e-4)


def test_whitened_patches_have_no_correlation_left():
    data = images(128)
    encoder, _ = fitted(data)
    white = (encoder.patches(data) - encoder.mean).flatten(0, 1) @ encoder.whitening
    covariance = torch.cov(white.T)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 0.1


def test_every_centroid_is_near_some_patch_and_more_of_them_come_nearer():
    data = images(64)
    (few, far), (many, near) = fitted(data, 3), fitted(data, 50)
    assert near < far and all(torch.isfinite(each.centroids).all() for each in (few, many))


def test_the_same_seed_gives_the_same_centroids():
    one, other = fitted(images(64))[0], fitted(images(64))[0]
    assert torch.equal(one.centroids, other.centroids)


@pytest.mark.parametrize("most, expected", [(10_000, 320), (100, 64), (40, 32), (10, 12)])
def test_there_are_about_as_many_patches_as_asked_of_all_images_alike(monkeypatch, most, expected):
    monkeypatch.setattr(kmeans, "MAX_PATCHES", most)
    method = KMeans(PatchNetwork(1, 8))
    method.encoder.patches = lambda batch: batch.flatten(1)[:, :5, None]  # five patches an image
    assert len(method._sample(list(images(64).split(16)))) == expected


def test_another_network_than_one_of_patches_is_refused():
    with pytest.raises(ValueError, match="kmeans solves for a network of patches: set pretraining.encoder=patches"):
        KMeans(build_encoder("small_resnet", 1, 8))


def test_a_whitening_of_nothing_is_refused():
    with pytest.raises(ValueError, match="whitening: received 0, expected a number above 0"):
        KMeans(PatchNetwork(1, 8), whitening=0)
