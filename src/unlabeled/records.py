"""The JSON files that stages leave for each other, as dictionaries with known keys.

Keys that every file has are required; those that only a kind of data has, or that an earlier release did not write, are
not.
"""

from typing import (
    Any,
    NotRequired,  # typing's own cannot be validated before Python 3.12
)

from typing_extensions import TypedDict

Numbers = dict[str, dict[str, Any]]


class LeftOut(TypedDict):
    """Files that ingestion did not read for one reason: how many, and the names of the first."""

    count: int
    names: list[str]


class Groups(TypedDict):
    """How many groups of rows there are, in all and by split, beside the rows; what makes them, and what a row is."""

    by: str
    unit: str
    count: int
    splits: dict[str, int]
    rows: dict[str, int]


class Summary(TypedDict):
    """What ingestion read (`summary.json`).

    Attributes:
        source: The data set's name in results and in the registry.
        data_digest: Digest of the contents, labels and splits of all rows.
        classes: Names of the classes; a target is an index of this list.
        labelled: Number of rows with a label.
        splits: Number of rows in each split.
        quarantined: Number of files that could not be used.
        duplicates: Number of rows whose stored content an earlier row has, too.
        counts: Number of rows by class and split; the class "" stands for no label.
        splits_from: What decided the splits, in words.
        left_out: Files that were not read, by reason.
        warnings: Sentences about what a user should look at.
        groups: Rows that splits keep together.
        checksums: Checksums of arrays, by data set.
        images, documents, passages, characters, clips, captions: How many of each were read.
        image_size: Pixels a side.
        mean, std: Of each channel of the pixels in [0, 1].
        pixel_range: The stored values that become black and white; None: those of the files' type.
        tokenizer, vocabulary: The kind of the tokenizer, and its number of tokens.
        frames, seconds, rate: Of a clip: stored frames, seconds of sound, and samples of sound a second.
        padding: Share of the packed tokens that are padding.
    """

    source: str
    data_digest: str
    classes: list[str]
    labelled: int
    splits: dict[str, int]
    quarantined: int
    duplicates: NotRequired[int]
    counts: NotRequired[dict[str, dict[str, int]]]
    splits_from: NotRequired[str]
    left_out: NotRequired[dict[str, LeftOut]]
    warnings: NotRequired[list[str]]
    groups: NotRequired[Groups]
    checksums: NotRequired[dict[str, int]]
    images: NotRequired[int]
    documents: NotRequired[int]
    passages: NotRequired[int]
    characters: NotRequired[int]
    clips: NotRequired[int]
    captions: NotRequired[int]
    channels: NotRequired[int]
    image_size: NotRequired[int]
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]
    pixel_range: NotRequired[Any]
    tokenizer: NotRequired[str]
    vocabulary: NotRequired[int]
    frames: NotRequired[int]
    seconds: NotRequired[float]
    rate: NotRequired[int]
    padding: NotRequired[float]


class Accuracies(TypedDict):
    """What features of one kind are worth, on the test split: in [0, 1], and None without labels.

    Attributes:
        few_label: By labels a class: `mean` and `std` of the linear probe's accuracy, and more.
        regularisation: Of the linear probe, as the validation split chose it.
        effective_tests, knn_effective_tests: How many independent images leave an accuracy as unsure as groups do.
    """

    linear_probe_accuracy: float | None
    knn_accuracy: float | None
    few_label: Numbers
    regularisation: NotRequired[float]
    effective_tests: NotRequired[float]
    knn_effective_tests: NotRequired[float]


class Measured(Accuracies):
    """What evaluation measures of an encoder.

    Attributes:
        baselines: By name: accuracies of other features of the same data.
        embedding_std: Spread of the normalised embedding; 0 is one point.
        rankme: Effective number of dimensions (arXiv:2210.02885).
        uniformity: As in arXiv:2005.10242.
        retrieval: Recall of what belongs together, by direction; captioned images and clips.
        language: What a text encoder was trained to do, on test documents.
        sound: Accuracies of a sound encoder.
    """

    baselines: dict[str, Accuracies]
    embedding_std: float
    rankme: float
    uniformity: NotRequired[float]
    retrieval: NotRequired[dict[str, Any]]
    zero_shot_accuracy: NotRequired[float | None]
    language: NotRequired[dict[str, Any]]
    sound: NotRequired[dict[str, Any]]
    correspondence_accuracy: NotRequired[float | None]


class Metrics(Measured):
    """What an encoder is worth, what of, and what its training measured (`metrics.json`).

    Attributes:
        seconds: Time of the training.
        data_digest, protocol, weights: Digests of the data, of the evaluation's parameters, and of the encoder.
    """

    data_digest: str
    protocol: str
    seconds: float
    seed: NotRequired[int]
    weights: NotRequired[str]
    checksums: NotRequired[dict[str, int]]
    alignment: NotRequired[float]
    untrained_embedding_std: NotRequired[float]
    validation_loss: NotRequired[float]
    images_per_second: NotRequired[float]
    sequences_per_second: NotRequired[float]
    pairs_per_second: NotRequired[float]
    clips_per_second: NotRequired[float]


class RunRecord(TypedDict):
    """The training that made an encoder (`run.json`).

    Attributes:
        run_id: MLflow's.
        fingerprint: Digest of all that decides the weights.
        trained_on: Digest of the contents of the train split.
        weights: Digest of all weights.
        parameters: The blocks of parameters as they were given, by name.
        code: The code that trained, as the registry's tag names it.
        hardware: What it was trained on.
    """

    run_id: str
    method: str
    seed: int
    fingerprint: NotRequired[str]
    trained_on: NotRequired[str]
    weights: NotRequired[str]
    parameters: NotRequired[dict[str, dict[str, Any]]]
    code: NotRequired[str | None]
    hardware: NotRequired[dict[str, Any]]


class Version(TypedDict):
    """What the registration made of an encoder (`version.json`).

    Attributes:
        name, version: Of the registered model.
        champion: Whether it became the champion.
        verdict: What it is worth by itself, in words.
        reason: What the gate decided, and why.
        selection: How often these test images have been used to choose; may be empty.
        drift: How the data differ from the champion's, as `drift.summarise` returns it.
    """

    name: str
    version: str
    champion: bool
    verdict: str
    reason: str
    selection: str
    drift: NotRequired[dict[str, Any]]


class Finetuned(TypedDict):
    """Accuracies of whole networks that learned from the same labels (`finetune.json`).

    Attributes:
        labels: By labels a class ("1", "all"): `finetuned` and `from_scratch`, each with `mean` and `std`.
    """

    method: str
    data_digest: str
    labels: dict[str, Numbers]
