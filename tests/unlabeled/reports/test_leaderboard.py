import numpy as np
import pandas as pd
import pytest

from unlabeled.evaluation.significance import wilson_interval
from unlabeled.reports.leaderboard import Entry, build_leaderboard

TESTED = 200


def numbers(linear, few):
    few = {"1": {"mean": few, "std": 0.02}, "5": {"mean": few + 0.1, "std": 0.01}}
    return {"linear_probe_accuracy": linear, "knn_accuracy": linear - 0.02, "few_label": few}


def entry(method, few=0.6, linear=0.8, digest="d1", protocol="p1", seed=0, **changes):
    """A run whose probe is right on the first of the test images; those of other seeds lie in another order."""
    order = np.random.default_rng(seed).permutation(TESTED)
    right = np.arange(TESTED) < round(linear * TESTED)
    predictions = pd.DataFrame(
        {
            "row": order,
            "sha256": [f"{i:03d}" for i in range(TESTED)],
            "target": 1,
            "predicted": right.astype(int),
            "confidence": 0.9,
        }
    ).iloc[order]
    metrics = numbers(linear, few) | {
        "baselines": {"raw_input": numbers(0.5, 0.3), "pca": numbers(0.55, 0.35)},
        "embedding_std": 0.9,
        "rankme": 30.0,
        "seconds": 12.0,
        "data_digest": digest,
        "protocol": protocol,
    }
    return Entry(method, metrics | changes, predictions, classes=2, labelled=400, link=f"{method}/report.html")


def without_labels(method, rankme=30.0):
    nothing = {"linear_probe_accuracy": None, "knn_accuracy": None, "few_label": {}, "baselines": {}}
    found = entry(method, **nothing, rankme=rankme)
    return Entry(method, found.metrics, found.predictions.iloc[:0], 0, 400, "")


def rows_of(page):
    """Of each table the first cells."""
    tables, cells = [], iter(page.all("td"))
    for tag, _ in page.tags:
        if tag == "tbody":
            tables.append([])
        elif tag == "tr" and tables:
            tables[-1].append(None)
        elif tag == "td":
            value = next(cells)["data-value"]
            tables[-1][-1] = value if tables[-1][-1] is None else tables[-1][-1]
    return [[value for value in table if value is not None] for table in tables]


@pytest.fixture
def board(read_page):
    def build(*entries, **sources):
        return read_page(build_leaderboard("nightly", sources or {"digits": list(entries)}))

    return build


def test_the_best_with_the_fewest_labels_is_first_and_the_baselines_last(board):
    page = board(entry("vae", few=0.4, linear=0.95), entry("byol", few=0.8), entry("simclr", few=0.7))
    assert rows_of(page)[0] == ["byol", "simclr", "vae", "raw pixels", "PCA"]


def test_the_verdict_names_the_best_beside_raw_pixels(board):
    page = board(entry("vae", few=0.4), entry("byol", few=0.8))
    said = "On digits the best of 2 methods, with one label a class, is byol: 80.0 ± 2.0 %, where raw pixels get 30.0 %"
    assert said in page.text and page.text.startswith("Leaderboard of the experiment nightly")


def test_the_table_holds_the_metrics(board):
    page = board(entry("byol", few=0.8, linear=0.9))
    values = [each["data-value"] for each in page.all("td")][:8]
    assert values[0] == "byol"
    assert [float(value) for value in values[1:]] == pytest.approx([0.8, 0.9, 0.9, 0.88, 0.9, 30, 12])
    assert "80.0\u00a0±\u00a02.0" in page.html and "90.0\u00a0±\u00a04.2" in page.html


def test_each_method_has_its_own_random_encoder_beside_it(board):
    baselines = {"raw_input": numbers(0.5, 0.3)}
    first, second = (
        entry(method, few=few, baselines=baselines | {"random_encoder": numbers(0.4, twin)})
        for method, few, twin in (("byol", 0.8, 0.108), ("mae", 0.7, 0.189))
    )
    page = board(first, second, entry("pca", few=0.5))
    assert rows_of(page)[0] == ["byol", "mae", "pca", "raw pixels"]
    values = [each["data-value"] for each in page.all("td")]
    width = len(values[: values.index("mae")])
    assert [values[row * width + 1] for row in range(4)] == ["0.108", "0.189", "", ""]
    assert "its random encoder, one label a class" in page.text and "a random encoder" not in page.text


def test_the_table_says_the_epochs(board):
    page = board(Entry(**{**vars(entry("byol", few=0.8)), "epochs": 1200}), entry("vae"))
    assert "epochs" in page.text and "1,200" in page.text and page.all("td", **{"data-value": "1200"})


def test_a_method_links_to_its_page_where_it_has_one(board):
    page = board(entry("byol"), entry("vae").__class__(**{**vars(entry("vae")), "link": ""}))
    assert page.all("a", href="byol/report.html") and not page.all("a", href="vae/report.html")


def test_a_difference_that_is_real_has_a_star(board):
    page = board(entry("byol", linear=0.95), entry("vae", linear=0.6))
    assert "+35.0 ★" in page.text and "No difference is significant" not in page.text
    assert "on the same 200 test images" in page.text and "for all 1 pairs together" in page.text


def test_a_tie_is_called_one(board):
    page = board(entry("byol", linear=0.8), entry("vae", linear=0.8), entry("simclr", linear=0.81))
    assert "No difference is significant: so many test images do not tell these methods apart." in page.text
    assert "+0.0" in page.text and "+1.0" in page.text and page.text.count("★") == 1  # in the caption


def test_answers_are_compared_image_by_image_whatever_their_order(board):
    page = board(entry("byol", linear=0.8, seed=1), entry("vae", linear=0.79, seed=2))
    entries = entry("byol", linear=0.8, seed=1), entry("vae", linear=0.79, seed=2)
    (first, _), (second, _) = (each.answers() for each in entries)
    assert (first != second).sum() == 2 and "+1.0" in page.text


def test_a_method_alone_is_compared_with_none(board):
    page = board(entry("byol"))
    assert len(page.all("table")) == 1 and "which differences are real" not in page.text


@pytest.mark.parametrize("change", [{"digest": "d2"}, {"protocol": "p2"}, {"digest": "d2", "protocol": "p2"}])
def test_other_data_and_other_protocols_have_their_own_tables(board, change):
    page = board(entry("byol", few=0.8), entry("vae", few=0.5, **change))
    assert [rows[0] for rows in rows_of(page)] == ["byol", "vae"]
    assert "which differences are real" not in page.text and page.text.count("the only method, with one") == 2


def test_groups_of_a_source_have_names_of_their_own(board):
    page = board(entry("byol"), entry("vae", protocol="p2"), entry("dino", digest="d2"))
    titles = [each["href"] for each in page.all("a") if each["href"].startswith("#")][1:]
    assert len(set(titles)) == len(titles) == 6


def test_sources_have_their_own_sections(board):
    page = board(digits=[entry("byol")], cifar10=[entry("byol", digest="d2"), entry("vae", digest="d2")])
    assert "digits: every method" in page.text and "cifar10: which differences are real" in page.text
    assert "3 runs" in page.text or "runs 3" in page.text


def test_without_labels_runs_are_ranked_by_how_many_dimensions_they_use(board):
    page = board(without_labels("vae", 5.0), without_labels("byol", 50.0))
    assert rows_of(page) == [["byol", "vae"]] and len(page.all("svg")) == 0
    assert "On digits there are no labels to rank 2 methods by." in page.text


def test_many_methods_are_told_apart_by_a_table_and_the_best_five_by_curves(board):
    page = board(*(entry(f"method {i}", few=0.3 + i / 50, linear=0.5 + i / 60) for i in range(12)))
    assert (
        "on the right method 11, method 10, method 9, method 8, method 7 and raw pixels." in page.text
        and "for all 66 pairs together" in page.text
    )


def test_names_with_markup_do_no_harm(board):
    evil = "<script>alert(1)</script>"
    page = board(**{evil: [entry(evil), entry("vae")]})
    assert "<script>alert" not in page.html and evil in page.text


def test_knn_has_the_interval_of_its_own_effective_count():
    page = build_leaderboard("unlabeled", {"digits": [entry("byol", effective_tests=50, knn_effective_tests=20)]})
    for accuracy, count in ((0.8, 50), (0.78, 20)):
        low, high = wilson_interval(accuracy, count)
        assert f"{100 * accuracy:.1f}\u00a0±\u00a0{50 * (high - low):.1f}" in page
