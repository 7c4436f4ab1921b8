import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from unlabeled.evaluation.verdict import Accuracy
from unlabeled.reports import charts

SVG = "{http://www.w3.org/2000/svg}"


def points_of(*means):
    return [
        Accuracy(labels, f"{labels:g} labels a class", mean, mean - 0.05, mean + 0.05)
        for labels, mean in zip((1.0, 5.0, 10.0, 80.0), means, strict=False)
    ]


def history_of(epochs):
    at = np.arange(1, epochs + 1)
    watched = np.where(at % 5 == 0, 1.0, np.nan)
    return pd.DataFrame(
        {
            "epoch": at,
            "seconds": 2.0 * at,
            "loss": 5.0 / at,
            "learning_rate": 1e-3 / at,
            "knn_accuracy": watched * (0.3 + at / 100),
            "embedding_std": watched * 0.8,
            "untrained_embedding_std": watched * 0.6,
            "my_gauge": 1.0 * at,
        }
    )


def a_few():
    """A chart of every kind."""
    names, counts = ["cat", "dog", "owl"], np.array([[8, 1, 1], [2, 6, 0], [0, 0, 5]])
    return [
        charts.label_efficiency({"encoder": points_of(0.4, 0.6, 0.8), "raw pixels": points_of(0.3, 0.5, 0.7)}),
        *charts.training_curves(history_of(30)),
        charts.per_class(names, np.array([0.8, 0.75, 1.0]), counts.sum(1)),
        charts.confusion_matrix(names, counts),
        charts.accuracy_and_seconds([("byol", 12.0, 0.8, 0.7, 0.9), ("vae", 300.0, 0.5, 0.4, 0.6)]),
    ]


def texts(chart):
    return ["".join(each.itertext()) for each in ElementTree.fromstring(chart.svg).iter(f"{SVG}text")]


def line(chart, colour):
    """The points of the longest path that is drawn in a colour."""
    paths = [each for each in ElementTree.fromstring(chart.svg).iter(f"{SVG}path") if "clip-path" in each.attrib]
    drawn = [each.get("d") for each in paths if f"stroke: {colour}" in each.get("style", "")]
    return np.array(re.findall(r"[ML] (\S+) (\S+)", max(drawn, key=len)), float)


def levels(chart):
    """Heights of the horizontal lines of the grid, from below."""
    lines = re.findall(r'd="M (\S+) (\S+) \nL (\S+) (\S+) \n" clip-path[^>]+stroke: var\(--line\)', chart.svg)
    return sorted((float(y) for x, y, to, level in lines if y == level), reverse=True)


def is_linear(drawn, given):
    slope, start = np.polyfit(given, drawn, 1)
    return np.allclose(drawn, slope * np.asarray(given) + start, atol=1e-3)


@pytest.fixture(scope="module")
def every():
    return a_few()


def test_a_chart_is_svg_in_the_ink_of_its_page(every):
    for chart in every:
        assert ElementTree.fromstring(chart.svg).tag == f"{SVG}svg"
        assert "currentColor" in chart.svg and "var(--line)" in chart.svg
        assert not re.search(r"#000000|#010203|#040506|(fill|stroke): ?black|#fff\b", chart.svg)
        assert "#ffffff" not in chart.svg or "Confusion" in chart.alt  # on the tint of its cells


def test_the_ids_of_charts_are_never_the_same_and_lead_somewhere(every):
    everything = [re.findall(r'\bid="([^"]+)"', chart.svg) for chart in every]
    ids = [each for some in everything for each in some]
    assert len(ids) == len(set(ids)) > len(every)
    for chart, own in zip(every, everything, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', chart.svg)) <= set(own)


def test_a_chart_needs_no_network_and_tells_no_time(every):
    for chart, again in zip(every, a_few(), strict=True):
        assert all(each.startswith("http://www.w3.org/") for each in re.findall(r"https?://[^\"'\s]+", chart.svg))
        assert chart.svg == again.svg


def test_every_chart_says_in_words_what_it_shows(every):
    alts = [chart.alt for chart in every]
    assert len(set(alts)) == len(alts) and all(re.search(r"\d", alt) and alt.endswith(".") for alt in alts)


def test_label_efficiency_tells_both_ends_of_the_encoder(every):
    assert every[0].alt == (
        "Accuracy over labels a class. encoder: 40\u00a0±\u00a05\u00a0% with 1 labels a class, "
        "80\u00a0±\u00a05\u00a0% with 10 labels a class."
    )
    assert {"encoder", "raw pixels"} <= set(texts(every[0]))


def test_label_efficiency_draws_the_numbers_given(every):
    drawn = line(every[0], charts.SERIES[0][0])
    assert len(drawn) == 3 and is_linear(drawn[:, 0], np.log([1, 5, 10]))
    assert np.interp(-drawn[:, 1], -np.array(levels(every[0])), range(0, 101, 20)) == pytest.approx([40, 60, 80])


def test_each_curve_has_its_own_colour_and_dashes():
    chart = charts.label_efficiency({f"kind {i}": points_of(0.1 * i, 0.1 + 0.1 * i) for i in range(6)})
    assert all(colour in chart.svg for colour, *_ in charts.SERIES) and chart.svg.count("stroke-dasharray") >= 5
    assert len({(colour, mark, str(dashes)) for colour, mark, dashes in charts.SERIES}) == 6


def test_there_may_be_more_curves_than_colours_and_only_one_point():
    assert charts.label_efficiency({f"kind {i}": points_of(0.1 * i) for i in range(9)}).svg


def test_settings_that_would_lie_on_each_other_share_a_tick():
    near = [Accuracy(labels, "", 0.5, 0.4, 0.6) for labels in (10.0, 10.4, 1234.5)]
    said = texts(charts.label_efficiency({"encoder": near}))
    assert said.count("10") == 1 and "1,234" in said


def test_a_training_has_a_chart_for_each_column_in_the_known_order(every):
    titles = [chart.alt.split(", from")[0] for chart in charts.training_curves(history_of(30))]
    known = ["loss", "kNN accuracy on validation, %", "standard deviation of the embedding", "learning rate"]
    assert titles == [*known, "my gauge"]


def test_a_training_curve_says_where_it_begins_and_ends():
    loss, knn, *_ = charts.training_curves(history_of(30))
    assert loss.alt == "loss, from 5 after epoch 1 to 0.167 at the end."
    assert knn.alt == "kNN accuracy on validation, %, from 35 after epoch 5 to 60 at the end."


def test_a_training_curve_draws_the_numbers_given():
    drawn = line(charts.training_curves(history_of(20))[0], charts.SERIES[0][0])
    assert is_linear(drawn[:, 0], np.arange(1, 21)) and is_linear(drawn[:, 1], 5.0 / np.arange(1, 21))


def test_the_spread_of_the_untrained_network_is_drawn_beside_it():
    with_it, without = history_of(30), history_of(30).drop(columns="untrained_embedding_std")
    assert ["untrained" in texts(charts.training_curves(each)[2]) for each in (with_it, without)] == [True, False]


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_history_of_one_row_has_no_curves(epochs):
    assert charts.training_curves(history_of(epochs)) == []


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("column", ["knn_accuracy", "loss", "momentum"])
def test_a_curve_may_be_flat(accuracy, column):
    (chart,) = charts.training_curves(pd.DataFrame({"epoch": [1, 2, 3], column: [accuracy] * 3}))
    assert "after epoch 1" in chart.alt


def test_per_class_has_the_worst_on_top_with_its_images(every):
    chart = every[-3]
    assert chart.alt == "Accuracy of each class; the worst is dog with 75 %."
    assert [each for each in texts(chart) if "(" in each] == ["owl (5)", "cat (10)", "dog (8)"]


def test_per_class_draws_the_numbers_given(every):
    root = ElementTree.fromstring(every[-3].svg)
    paths = [each.get("d") for each in root.iter(f"{SVG}path") if "stroke-width: 2" in each.get("style", "")]
    lengths = [np.ptp([float(x) for x in re.findall(r"[ML] (\S+)", path)]) for path in paths]
    assert np.array(lengths) / max(lengths) == pytest.approx([1.0, 0.8, 0.75], abs=1e-3)


def test_of_many_classes_the_twenty_worst_are_shown():
    accuracies = np.linspace(1, 0.5, 40)
    chart = charts.per_class([f"class {i}" for i in range(40)], accuracies, np.full(40, 7))
    shown = [each for each in texts(chart) if "(7)" in each]
    assert len(shown) == 20 and shown[-1] == "class 39 (7)" and shown[0] == "class 20 (7)"
    assert chart.caption.endswith("The 20 worst classes.") and "class 39 with 50 %" in chart.alt


def test_a_confusion_matrix_holds_its_counts(every):
    chart = every[-2]
    assert chart.alt == "Confusion matrix of 3 classes: 4 of 23 test images are told wrong."
    numbers = [each for each in texts(chart) if each.isdecimal()]
    assert numbers == ["8", "1", "1", "2", "6", "5"]


def test_of_many_classes_those_with_the_most_errors_are_confused():
    counts = np.diag(np.full(40, 9))
    counts[35, 36] = 4
    chart = charts.confusion_matrix([f"class {i}" for i in range(40)], counts)
    assert {"class 35", "class 36"} <= set(texts(chart)) and "class 39" not in texts(chart)
    assert "4 of 184" in chart.alt and chart.caption.endswith("The 20 classes with the most errors.")


@pytest.mark.parametrize("name", ["Felis_silvestris_catus_longhaired_{}", "a class with the number {} of very many"])
def test_long_names_are_told_apart(name):
    names = [name.format(kind) for kind in "AB"]
    for chart in (
        charts.per_class(names, np.array([0.5, 0.6]), np.array([2, 3])),
        charts.confusion_matrix(names, np.array([[1, 1], [0, 3]])),
    ):
        assert len({each for each in texts(chart) if "…" in each}) == 2


@pytest.mark.parametrize("mean", [0.1, 0.5, 0.99])
def test_a_legend_stands_above_the_axes(mean):
    chart = charts.label_efficiency({"encoder": points_of(mean, mean, mean), "raw pixels": points_of(mean, mean, mean)})
    (legend,), (top,) = (re.findall(rf'y="([\d.]+)"[^>]*>{text}</text>', chart.svg) for text in ("encoder", "100"))
    assert float(legend) < float(top) - 9


def test_the_word_untrained_stands_beside_the_axes():
    chart = charts.training_curves(history_of(30))[2]
    drawn = line(chart, charts.SERIES[0][0])
    (beside,) = re.findall(r'x="([\d.]+)"[^>]*>untrained</text>', chart.svg)
    assert float(beside) > drawn[:, 0].max()


def test_one_class_is_enough():
    chart = charts.confusion_matrix(["cat"], np.array([[3]]))
    assert "0 of 3 test images" in chart.alt
    assert "cat with 100 %" in charts.per_class(["cat"], np.array([1.0]), np.array([3])).alt


def test_a_class_without_test_images_is_an_empty_row():
    chart = charts.confusion_matrix(["cat", "dog"], np.array([[0, 0], [1, 2]]))
    assert "1 of 3 test images" in chart.alt


def test_accuracy_and_seconds_names_every_method_and_the_best(every):
    chart = every[-1]
    assert {"byol", "vae"} <= set(texts(chart))
    assert chart.alt == "Accuracy and seconds of training; the best is byol with 80 %."


@pytest.mark.parametrize("seconds", [(0.0,), (3.0, 4.0), (12.0, 4000.0)])
def test_seconds_are_labelled_in_plain_numbers(seconds):
    chart = charts.accuracy_and_seconds([(f"method {i}", each, 0.5, 0.4, 0.6) for i, each in enumerate(seconds)])
    assert not any("$" in each or "mathdefault" in each for each in texts(chart))


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        'a "quoted" & id="x"',
        "$5 or $6",
        r"$\nonsense{$",
        "猫と犬",
        "a long name " * 12,
        "_hidden",
        "",
    ],
)
def test_a_class_may_have_any_name(name):
    names = [name, "owl"]
    for chart in (
        charts.per_class(names, np.array([0.5, 0.6]), np.array([2, 3])),
        charts.confusion_matrix(names, np.array([[1, 1], [0, 3]])),
    ):
        assert name.strip()[:8] in " ".join(texts(chart)) and "<script" not in chart.svg


def test_the_name_of_a_method_lies_beside_the_chart_in_a_row_of_its_own():
    points = [(f"method-{i}", 60.0 + i, 0.8, 0.7, 0.9) for i in range(9)] + [("alone", 1.0, 0.9, 0.7, 0.95)]
    svg = charts.accuracy_and_seconds(points, [0.3, None] * 5).svg
    found = re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>', svg)
    places = {name: (float(x), float(y)) for x, y, name in found}
    names = ["alone", *(f"method-{i}" for i in range(9))]
    assert min(np.diff([places[name][1] for name in names])) > 8
    ends = re.findall(r'text-anchor: end[^>]* x="([\d.]+)"[^>]*>(?:method-\d|alone)<', svg)
    assert len(ends) == 10 and max(map(float, ends)) < places["0"][0]  # left of where the axis begins


def test_an_untrained_twin_has_a_mark_of_its_own():
    points = [("byol", 60.0, 0.8, 0.7, 0.9), ("vae", 6.0, 0.5, 0.4, 0.6)]
    assert "untrained" in texts(charts.accuracy_and_seconds(points, [0.2, None]))
    assert "untrained" not in texts(charts.accuracy_and_seconds(points, [None, None]))


def test_a_class_with_a_line_in_its_name_has_one_line():
    names = ["a\n# forged", "\x1b[2J"]
    drawn = charts.per_class(names, np.ones(2), np.ones(2, int)), charts.confusion_matrix(names, np.eye(2, dtype=int))
    for chart in drawn:
        assert r"a\n# forged" in chart.svg and r"\x1b[2J" in chart.svg and "\x1b" not in chart.svg
