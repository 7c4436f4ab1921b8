import numpy as np
import pandas as pd
import pytest

from unlabeled.reports.figures import draw_leaderboard


@pytest.fixture
def board():
    return pd.DataFrame(
        {
            "method": ["byol", "vae", "colorization"],
            "status": ["trained", "kept", "failed"],
            "linear_probe_accuracy": [0.98, 0.9, np.nan],
            "knn_accuracy": [0.97, 0.8, np.nan],
            "few_label_1": [0.88, 0.4, np.nan],
            "few_label_1_std": [0.02, 0.05, np.nan],
        }
    )


def test_the_first_row_is_on_top_and_what_has_no_numbers_is_left_out(board):
    (axes,) = draw_leaderboard(board).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["vae", "byol"]
    assert axes.get_xlabel() == "accuracy on the test split, %"


def test_the_marks_are_where_the_numbers_are(board):
    figure = draw_leaderboard(board)
    drawn = {container.get_label(): container.lines[0].get_xdata().tolist() for container in figure.axes[0].containers}
    assert drawn == {
        "one label a class": pytest.approx([40, 88]),
        "kNN": pytest.approx([80, 97]),
        "linear probe": pytest.approx([90, 98]),
    }


def test_there_may_be_no_few_labels(board):
    draw_leaderboard(board.drop(columns=["few_label_1", "few_label_1_std"]))
