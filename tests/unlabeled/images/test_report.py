import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from unlabeled.config import Augmentation, Evaluation, Ingestion, Pretraining, Registration
from unlabeled.evaluation.protocol import predict
from unlabeled.images.crops import cache_views, open_views
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.evaluate import evaluate
from unlabeled.images.evidence import ImageEvidence
from unlabeled.images.report import SECTIONS, _of_different_classes, build_report

CONFIG = Evaluation(shots=(1, 5), fractions=(), draws=2, regularisation=(0.1, 1.0), max_iterations=40)
VERSION = {
    "name": "unlabeled-digits",
    "version": "1",
    "champion": False,
    "verdict": "",
    "reason": "for a reason",
    "selection": "",
}
TITLES = [
    "How many labels it saves",
    "Where it fails",
    "What it makes of images",
    "Nearest neighbours",
    "A map of the embedding",
    "Where it looks",
    "What to look out for",
    "What the network sees",
    "How it trained",
    "The data",
    "How to repeat it",
]
OF_LABELS = {"How many labels it saves", "Where it fails"}


def manifest_of(targets):
    """Half to train on, a fifth to validate, the rest to test on, and one left out."""
    n = len(targets)
    split = np.select([np.arange(n) < 0.5 * n, np.arange(n) < 0.7 * n], ["train", "validation"], "test").astype(object)
    split[0] = "excluded"
    return pd.DataFrame({"target": targets, "split": split, "sha256": [f"{i:04x}" for i in range(n)]})


def evidence_of(images, targets, classes, folder, recipe=None):
    """Of a network that has learned nothing, all that a page is made of."""
    torch.manual_seed(0)
    channels, size, recipe = images.shape[1], images.shape[-1], recipe or Augmentation(views=4, crop_scale=(0.5, 1.0))
    cache_views(images, [f"{i:064x}" for i in range(len(images))], recipe, folder)
    normalisation = Normalisation((0.3,) * channels, (0.4,) * channels)
    encoder, manifest = ImageEncoder("small_resnet", channels, size, normalisation), manifest_of(targets)
    metrics, features, probe = evaluate(encoder, images, manifest, CONFIG)
    epochs = np.arange(1, 7)
    return ImageEvidence(
        run={"run_id": "0", "method": "byol", "seed": 0},
        version=VERSION,
        images=images,
        manifest=manifest,
        summary={
            "source": "digits",
            "images": len(images),
            "splits": manifest.split.value_counts().to_dict(),
            "classes": classes,
            "mean": [0.3] * channels,
            "data_digest": "0123456789abcdef",
        },
        quarantine=pd.DataFrame({"path": [], "reason": []}),
        views=open_views(folder),
        encoder=encoder,
        features=features,
        probe=probe,
        metrics=metrics | {"seconds": 61.0, "images_per_second": 1234.0, "protocol": CONFIG.digest()},
        predictions=predict(probe, features, manifest),
        history=pd.DataFrame({"epoch": epochs, "loss": 3.0 / epochs, "knn_accuracy": 0.5 + epochs / 20}),
        examples={"image": images[:3], "rebuilt": images[3:6]},
        ingestion=Ingestion(),
        augmentation=recipe,
        pretraining=Pretraining(method={"momentum": 0.97}),
        registration=Registration(),
        evaluation=CONFIG,
        provenance={"git commit": "c0ffee", "command": "kedro run --pipeline=byol"},
    )


@pytest.fixture(scope="module")
def digits3(digits):
    """Forty digits each of 0, 1 and 2, in turns."""
    rows = np.stack([np.flatnonzero(digits[1] == c)[:40] for c in range(3)]).T.ravel()
    return digits[0][rows], digits[1][rows]


@pytest.fixture(scope="module")
def evidence(digits3, tmp_path_factory):
    return evidence_of(*digits3, ["zero", "one", "two"], tmp_path_factory.mktemp("views"))


@pytest.fixture(scope="module")
def unlabelled(digits3, tmp_path_factory):
    images, targets = digits3
    return evidence_of(images, np.full_like(targets, -1), [], tmp_path_factory.mktemp("unlabelled"))


@pytest.fixture(scope="module")
def page(evidence, read_page):
    return read_page(build_report(evidence))


@pytest.fixture(scope="module")
def page_without_labels(unlabelled, read_page):
    return read_page(build_report(unlabelled))


@pytest.fixture
def section(read_page):
    """The text of one section of a page that is built of it alone."""

    def text_of(evidence, title):
        (found,) = re.findall(rf"<h2>{title}</h2>.*?</section>", build_report(evidence), re.DOTALL)
        return " ".join(re.sub("<[^>]+>", " ", found).split())

    return text_of


def titles_of(page):
    return re.findall("<h2>(.*?)</h2>", page.html)


def test_a_page_has_every_section_and_is_small(page):
    assert titles_of(page) == TITLES and len(page.html) < 5e6
    start = "byol on digits Skip to the content byol on digits After 6 epochs: not clearly better than the baselines"
    assert page.text.startswith(start)


def test_the_facts_are_the_metrics(page, evidence):
    metrics = evidence.metrics
    few = metrics["few_label"]["1"]
    assert f"one label a class {100 * few['mean']:.1f} ± {100 * few['std']:.1f} %" in page.text
    assert f"linear probe {100 * metrics['linear_probe_accuracy']:.1f} %" in page.text
    assert f"kNN {100 * metrics['knn_accuracy']:.1f} %" in page.text
    assert "images a second 1,234 of training 61 s" in page.text


def test_the_table_of_labels_holds_the_metrics_of_every_kind_of_features(page, evidence):
    values = [each["data-value"] for each in page.all("td")]
    names = {"encoder": "encoder", "raw pixels": "raw_input", "a random encoder": "random_encoder", "PCA": "pca"}
    for shown, name in names.items():
        numbers = evidence.metrics if name == "encoder" else evidence.metrics["baselines"][name]
        few = [numbers["few_label"][setting]["mean"] for setting in ("1", "5")]
        start = values.index(shown)
        expected = [*few, numbers["linear_probe_accuracy"], numbers["knn_accuracy"]]
        assert [float(value) for value in values[start + 1 : start + 5]] == pytest.approx(expected)


def test_the_confusions_are_those_of_the_predictions(page, evidence):
    answers = evidence.predictions
    wrong = int((answers.target != answers.predicted).sum())
    assert f"Confusion matrix of 3 classes: {wrong} of {len(answers)} test images are told wrong." in page.html


def test_wrong_answers_are_shown_the_surest_first(evidence, section):
    answers = evidence.predictions.assign(predicted=evidence.predictions.target, confidence=0.5)
    place = np.flatnonzero(answers.target == 2)[:3]
    answers.loc[place, "predicted"] = 1
    answers.loc[place, "confidence"] = [0.6, 0.9, 0.8]
    said = section(replace(evidence, predictions=answers), "Where it fails")
    assert "two taken for one, 3 times 90% sure 80% sure 60% sure" in said and "one taken for" not in said


def test_a_perfect_probe_fails_nowhere(evidence, read_page):
    answers = evidence.predictions.assign(predicted=evidence.predictions.target)
    page = read_page(build_report(replace(evidence, predictions=answers)))
    assert "0 of 36 test images" in page.html and "taken for" not in page.text


def test_every_picture_says_which_image_it_is(page, evidence):
    tiles = [each["alt"] for each in page.all("img") if each["alt"].startswith("image ")]
    assert len(tiles) > 25
    for alt in tiles:
        row, split, name = re.fullmatch(r"image (\d+), (\w+), (\w+)", alt).groups()
        assert (split, name) == (evidence.manifest.split[int(row)], evidence.name_of(int(row)))


def test_neighbours_are_training_images_and_queries_are_test_images(page):
    html = page.html.split("<h2>Nearest neighbours</h2>")[1].split("</section>")[0]
    for row in html.split('<div class="row">')[1:]:
        splits = re.findall(r'alt="image \d+, (\w+)', row)
        assert splits == ["test", *["train"] * 4]


def test_the_map_has_a_dot_for_each_test_image(page, evidence):
    dots = [each for each in page.all("circle") if "data-words" in each]
    assert len(dots) == 36 and {each["data-group"] for each in dots} == {"0", "1", "2"}
    targets = evidence.manifest.target[evidence.test]
    assert [each["data-words"].split(",")[0] for each in dots] == [["zero", "one", "two"][t] for t in targets]


def test_the_map_says_what_it_was_laid_out_with(page):
    assert "36 test images, laid out by t-SNE (perplexity 12)" in page.text


def test_a_page_tells_how_to_repeat_the_run(page):
    values = [each["data-value"] for each in page.all("td")]
    assert "kedro run --pipeline=byol" in page.text
    for name, value in {
        "git commit": "c0ffee",
        "pretraining.epochs": "100",
        "augmentation.crop_scale": "0.5, 1",
        "pretraining.method.momentum": "0.97",
        "ingestion.path": "–",
    }.items():
        assert values[values.index(name) + 1] == value


def test_parameters_at_their_defaults_are_folded_away(page):
    changed, folded = page.html.split("How to repeat it</h2>")[1].split("<details>")
    assert re.findall(r'<td data-value="(?:pretraining|augmentation|ingestion)[^"]*">', changed) == [
        '<td data-value="augmentation.views">',
        '<td data-value="augmentation.crop_scale">',
        '<td data-value="pretraining.method.momentum">',
    ]
    assert "pretraining.epochs" in folded and "augmentation.crop_scale" in folded


def test_the_page_is_the_same_again_but_for_its_date(page, evidence):
    first, again = (re.sub(r"Made by Unlabeled on .*? UTC", "", html) for html in (page.html, build_report(evidence)))
    assert first == again


def test_building_a_page_leaves_the_random_state_as_it_was(evidence):
    torchs, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    build_report(evidence)
    assert torch.equal(torch.get_rng_state(), torchs) and np.array_equal(np.random.get_state()[1], numpys)


def test_findings_and_rules_that_found_nothing_are_told(page):
    fine = page.text.split("Looked for, and not found: ")[1].split(".")[0].split(", ")
    assert {"collapse", "leakage"} <= set(fine)


def test_a_planted_twin_is_found_and_shown(evidence, section):
    images, features = evidence.images.copy(), evidence.features.copy()
    images[100], features[100] = images[10], features[10]
    said = section(replace(evidence, images=images, features=features), "What to look out for")
    assert "2.8 % of the test images (1 of 36 that were looked at)" in said and "twin in train" in said


def test_fine_tuned_networks_are_on_the_curve_and_in_the_table(evidence, section):
    started = {"finetuned": {"mean": 0.987, "std": 0.01}, "from_scratch": {"mean": 0.654, "std": 0.02}}
    said = section(replace(evidence, finetuned={"1": started, "all": started}), "How many labels it saves")
    assert "encoder, fine-tuned 98.7 ± 1.0 98.7 ± 1.0" in said
    assert "supervised from scratch 65.4 ± 2.0 65.4 ± 2.0" in said


def test_fine_tuned_and_probed_are_at_the_same_number_of_labels(evidence):
    started = {"finetuned": {"mean": 0.987, "std": 0.01}}
    summary = evidence.summary | {"classes": [*evidence.summary["classes"], "a class of test images alone"]}
    html = build_report(replace(evidence, summary=summary, finetuned={"all": started}))
    ticks = re.findall(r">([\d.]+)</text>", html.split("<h2>How many labels it saves</h2>")[1].split("</svg>")[0])
    assert ticks[:3] == ["1", "5", "20"]  # 59 labels of three classes


def test_quarantined_files_are_listed_with_the_reason(evidence, section):
    bad = pd.DataFrame({"path": [f"bad/{i}.png" for i in range(30)], "reason": ["truncated <file>"] * 30})
    said = section(replace(evidence, quarantine=bad), "The data")
    assert "30 files in quarantine, and why; the first 20." in said and "bad/0.png truncated &lt;file&gt;" in said
    assert "bad/19.png" in said and "bad/20.png" not in said


def test_without_quarantine_the_page_says_so(page):
    assert "No file is in quarantine." in page.text


def test_without_labels_there_are_clusters_and_no_accuracies(page_without_labels):
    page = page_without_labels
    assert set(TITLES) - set(titles_of(page)) == OF_LABELS
    assert "What it takes to be alike" in titles_of(page)
    assert "After 6 epochs: there are no labels to test with, and its embedding is alive" in page.text
    assert "linear probe" not in page.text.split("How many")[0].split("What to look out for")[0]
    assert "k-means with 10 clusters of 59 training images" in page.text
    assert "of its class" not in page.text


def test_without_labels_no_rule_that_needs_them_is_called_passed(page_without_labels):
    fine = page_without_labels.text.split("Looked for, and not found: ")[1].split(".")[0]
    assert "collapse" in fine and "leakage" in fine
    assert not any(rule in fine for rule in ("no gain", "label noise", "overfit probe"))
    untold = page_without_labels.text.split("Cannot be told of this run: ")[1]
    for rule in ("no gain", "overfit probe"):
        assert f"{rule}: there are no labels to test with." in untold


def test_rows_of_pictures_begin_with_one_of_each_class(evidence):
    drawn = _of_different_classes(evidence, evidence.test, 5)
    targets = evidence.manifest.target.to_numpy()[drawn]
    assert set(targets[:3]) == {0, 1, 2} and len(set(targets[3:])) == 2
    assert len(set(drawn)) == 5 and np.isin(drawn, evidence.test).all()


def test_without_labels_dots_are_images_without_a_label(page_without_labels):
    dots = [each for each in page_without_labels.all("circle") if "data-words" in each]
    assert len(dots) == 36 and dots[0]["data-words"].startswith("image ")
    assert "without a label" in page_without_labels.text


def test_views_may_be_fresh(evidence, section):
    fresh = replace(evidence, augmentation=Augmentation(views="fresh"), views=np.empty((120, 0, 1, 8, 8), np.uint8))
    said = section(fresh, "What the network sees")
    assert "An image, 5 views as the network gets them" in said and "cached" not in said


def test_few_cached_crops_give_as_few_views(digits3, section, tmp_path):
    evidence = evidence_of(*digits3, ["zero", "one", "two"], tmp_path, Augmentation(views=2))
    html = build_report(evidence).split("<h2>What the network sees</h2>")[1].split("</section>")[0]
    first = html.split('<div class="row">')[1]
    assert first.count("a cached crop") == first.count("a finished view") == 2 and "2 views as" in html


def test_colour_images_have_a_page_too(read_page, tmp_path):
    random, targets = np.random.default_rng(0), np.arange(90) % 2
    images = random.integers(0, 128, (90, 3, 32, 32)) + 100 * targets[:, None, None, None]
    page = read_page(build_report(evidence_of(images.astype(np.uint8), targets, ["dark", "light"], tmp_path)))
    assert titles_of(page) == TITLES and len(page.html) < 5e6
    assert any(each["src"].startswith("data:image/webp") for each in page.all("img"))


def test_a_class_named_like_a_script_does_no_harm(evidence, read_page):
    evil = '<script>alert(1)</script>" onclick="alert(2)'
    page = read_page(build_report(replace(evidence, summary=evidence.summary | {"classes": ["zero", evil, "$two$"]})))
    assert "<script>alert" not in page.html and "<script>alert(1)</script>" in page.text
    assert any(evil in each.get("data-words", "") for each in page.all("circle"))


def test_a_collapsed_encoder_has_a_page_that_says_so(evidence, read_page):
    features = np.ones_like(evidence.features)
    metrics = evidence.metrics | {"embedding_std": 0.0, "rankme": 1.0}
    page = read_page(build_report(replace(evidence, features=features, metrics=metrics)))
    assert "The embedding has collapsed: its standard deviation is 0.000" in page.text and "nan" not in page.html


def test_a_collapsed_encoder_without_labels_has_a_page_that_says_so(unlabelled, read_page):
    features = np.ones_like(unlabelled.features)
    metrics = unlabelled.metrics | {"embedding_std": 0.0, "rankme": 1.0}
    page = read_page(build_report(replace(unlabelled, features=features, metrics=metrics)))
    assert "After 6 epochs: its embedding has collapsed" in page.text and "nan" not in page.html


def test_the_page_begins_with_what_the_encoder_is_worth_and_what_the_gate_made_of_it(evidence, read_page):
    page = read_page(build_report(evidence))
    start = page.text.index("After 6 epochs: not clearly better than the baselines with any number of labels")
    rest = page.text[start : page.text.index("How many labels it saves", start)]
    assert "With one label a class the encoder gets" in rest and "It is a challenger: for a reason." in rest


def test_a_page_of_one_class_says_so(evidence, read_page):
    manifest = evidence.manifest.assign(target=0, label="pets")
    page = read_page(build_report(replace(evidence, manifest=manifest, probe=None)))
    assert ": all labelled images are of one class, 'pets': there is nothing to tell apart" in page.text
    assert "no labels" not in page.text


def test_a_method_without_a_history_or_examples_leaves_them_out(evidence, read_page):
    page = read_page(build_report(replace(evidence, history=evidence.history.iloc[:1], examples={})))
    assert set(TITLES) - set(titles_of(page)) == {"How it trained", "What it makes of images"}


def test_images_without_a_test_split_have_a_page_that_says_so(unlabelled, read_page):
    html = build_report(replace(unlabelled, manifest=unlabelled.manifest.assign(split="train")))
    page = read_page(html)
    assert "A map of the embedding" in titles_of(page) and not re.search("[Tt]est images|validation split", page.text)
    neighbours = html.split("<h2>Nearest neighbours</h2>")[1].split("</section>")[0]
    shown = [int(row) for row in re.findall(r'alt="image (\d+), train', neighbours)]
    asked = np.random.default_rng(0).permutation(len(unlabelled.manifest))[:3]
    assert [shown.count(row) for row in asked] == [1] * 3  # none is its own neighbour


def test_every_part_of_a_page_is_a_function_of_the_evidence():
    assert len(set(SECTIONS)) == len(TITLES) + 1  # clusters, where there are no labels
