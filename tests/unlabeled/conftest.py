import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's 1797 digits as uint8 (N, 1, 8, 8), and their classes."""
    data = load_digits()
    return (data.images[:, None] * (255 / 16)).round().astype(np.uint8), data.target.astype(np.int64)
