"""Types of the JSON files that stages leave for each other: dictionaries with known keys.

Required keys are in every file; keys that only some kinds of data have, or that earlier releases did not write, are not
required.
"""

from typing import (
    Any,
    NotRequired,  # typing's own cannot be validated before Python 3.12
)

from typing_extensions import TypedDict

Numbers = dict[str, dict[str, Any]]


class LeftOut(TypedDict):
    """Files that ingestion left out for one reason: their number, and the names of the first."""

    count: int
    names: list[str]


class Groups(TypedDict):
    """Numbers of groups, in all and by split, beside the numbers of rows; the rule that makes them, and the name of a
    row."""

    by: str
    unit: str
    count: int
    splits: dict[str, int]
    rows: dict[str, int]


class Summary(TypedDict):
    """The summary of ingestion (`summary.json`).

    Attributes:
        source: Name of the data set in results and in the registry.
        data_digest: Digest of the contents, labels and splits of all rows.
        classes: Names of the classes; a target is an index of this list.
        labelled: Number of rows with a label.
        splits: Number of rows in each split.
        quarantined: Number of files that could not be used.
        duplicates: Number of rows whose stored content equals an earlier row's.
        counts: Number of rows by class and split; the class "" stands for no label.
        splits_from: Origin of the splits, in words.
        left_out: Files that were not read, by reason.
        warnings: Sentences for the user.
        groups: Rows that splits keep together.
        checksums: Checksums of arrays, by data set.
        images, documents, passages, characters, clips, captions: Number of each that were read.
        image_size: Pixels a side.
        mean, std: Mean and standard deviation of each channel, for pixels in [0, 1].
        pixel_range: The stored values that become black and white; None: those of the files' type.
        resize: How images that are not square became squares: crop, pad or squash.
        tokenizer, vocabulary: Kind of the tokenizer, and its number of tokens.
        frames, seconds, rate: Stored frames of a clip, seconds of its sound, and samples of sound a second.
        padding: Fraction of the packed tokens that are padding.
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
    resize: NotRequired[str]
    tokenizer: NotRequired[str]
    vocabulary: NotRequired[int]
    frames: NotRequired[int]
    seconds: NotRequired[float]
    rate: NotRequired[int]
    padding: NotRequired[float]


class Accuracies(TypedDict):
    """Accuracies of one kind of features on the test split, in [0, 1]; None without labels.

    Attributes:
        few_label: By labels a class: `mean` and `std` of the linear probe's accuracy, and more.
        regularisation: C of the linear probe, chosen on the validation split.
        effective_tests, knn_effective_tests: `effective_count` of the test images, where these are in groups.
    """

    linear_probe_accuracy: float | None
    knn_accuracy: float | None
    few_label: Numbers
    regularisation: NotRequired[float]
    effective_tests: NotRequired[float]
    knn_effective_tests: NotRequired[float]


class Measured(Accuracies):
    """The measurements of an encoder by evaluation.

    Attributes:
        baselines: Accuracies of other features of the same data, by name.
        embedding_std: Spread of the normalised embedding; 0 where all embeddings are equal.
        rankme: Effective number of dimensions (arXiv:2210.02885).
        uniformity: Uniformity of the embedding (arXiv:2005.10242).
        retrieval: Recall of the matching text, image, video or sound, by direction; for captioned images and clips.
        language: Measurements of a text encoder's training task on test documents.
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
    """Metrics of an encoder, with the digests of their origin and the measurements of the training (`metrics.json`).

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
        run_id: Id of the run in MLflow.
        fingerprint: Digest of everything that decides the weights.
        trained_on: Digest of the contents of the train split.
        lesson: Digest of everything that the training learned from.
        data_digest: Digest of the data that the encoder belongs to, as in the summary.
        labels_before: Digest of the data of the training, where only labels have changed since.
        weights: Digest of all weights.
        start: Digest of the weights that the training started from, where they were not random.
        parameters: The blocks of parameters as they were given, by name.
        code: The code of the training, as in the registry's tag.
        hardware: The hardware of the training.
    """

    run_id: str
    method: str
    seed: int
    fingerprint: NotRequired[str]
    trained_on: NotRequired[str]
    lesson: NotRequired[str]
    data_digest: NotRequired[str]
    labels_before: NotRequired[str]
    weights: NotRequired[str]
    start: NotRequired[str]
    parameters: NotRequired[dict[str, dict[str, Any]]]
    code: NotRequired[str | None]
    hardware: NotRequired[dict[str, Any]]


class Version(TypedDict):
    """The result of the registration of an encoder (`version.json`).

    Attributes:
        name, version: Name and version of the registered model; empty where it was not registered.
        champion: Whether it became the champion.
        verdict: Verdict on the encoder by itself, in words.
        reason: The gate's decision, with its reason.
        selection: Sentence on how often these test images have judged challengers; may be empty.
        drift: Difference of the data from the champion's, as `drift.summarise` returns it.
    """

    name: str
    version: str
    champion: bool
    verdict: str
    reason: str
    selection: str
    drift: NotRequired[dict[str, Any]]


class Finetuned(TypedDict):
    """Accuracies of whole networks that were fine-tuned on the same labels (`finetune.json`).

    Attributes:
        labels: `finetuned` and `from_scratch` by labels a class ("1", "all"), each with `mean` and `std`.
    """

    method: str
    data_digest: str
    labels: dict[str, Numbers]
