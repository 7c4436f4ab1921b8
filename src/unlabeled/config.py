"""The blocks of `parameters.yml`, one a stage or command. Kedro builds them and refuses unknown keys, types and ranges.

They live together, and apart from the functions that use them, so that a command line starts without importing torch.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.errors import ConfigError

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(min_length=1)]
A_PATH = "a path"
Location = Annotated[str | None, A_PATH]
"""A file or a folder. A relative one is taken from the project's root, wherever a command is run (`Block.anchored`)."""
PerView = Annotated[tuple[Probability, ...], Field(min_length=1, strict=False)]
"""Probability for each view of a step; the last one holds for all further views."""
GEOMETRY = {"views", "crop_size", "crop_scale", "crop_ratio", "degrees", "translate", "zoom", "shear", "seed"}
"""Keys of `augmentation` that decide the cached crops."""
POINT = 1e-3
"""Spread of an embedding, as `health.embedding_std` measures it, that counts as one point. Equal images reach up to
1.5e-7, by rounding; copies of one image with noise of 3/255 reach .007 to .019 in untrained networks of every
architecture."""
RAW = "data/01_raw"
"""Default folder of the data to ingest."""
BUILT_IN = ("digits", "captioned_digits")
"""Sources of images without a path."""
SOURCE_SIZES = {"digits": 8, "cifar10": 32, "cifar100": 32, "fashion_mnist": 28, "stl10": 96, "svhn": 32, "eurosat": 64}
"""Pixels a side of a source's images, where known before one is read."""


def _as_list(value: Any) -> Any:
    """Turns the lists of `--params`, which cannot contain commas, into lists: `byol+simclr`, `1+10+all`."""
    if isinstance(value, str):
        return [int(part) if part.isdigit() else part for part in value.split("+")]
    return [value] if isinstance(value, int) else value


def _as_range(value: Any) -> Any:
    """Two numbers as `--params` writes them, `-1000+1000`."""
    try:
        return [float(part) for part in value.split("+")] if isinstance(value, str) else value
    except ValueError:
        return value


def _as_text(value: Any) -> Any:
    """Turns a value that YAML or `--params` parsed as a number back into text: `version=3`."""
    return str(value) if type(value) is int else value


NO_LABELS = "none"
LabelColumn = Annotated[Name | None, BeforeValidator(_as_text)]
"""The column of metadata.csv or Parquet that names the classes. None: the usual one, else the names of folders; where
neither is there, but columns that may name classes are, it has to be given. `none`: no labels."""


def _as_expression(value: str | None) -> str | None:
    try:
        re.compile(value or "")
    except re.error as error:
        raise PydanticCustomError("expression", "a regular expression ({reason})", {"reason": str(error)}) from error
    return value


Expression = Annotated[Name | None, AfterValidator(_as_expression)]
"""A regular expression."""
COLUMN = "column:"


def column_of(group: str | None) -> str | None:
    """The column that `ingestion.group` names; None if it names none."""
    return group.removeprefix(COLUMN) if group and group.startswith(COLUMN) else None


def _as_grouping(value: str | None) -> str | None:
    if column_of(value) == "":
        raise PydanticCustomError("column", "the name of a column after {prefix}", {"prefix": COLUMN})
    return value if column_of(value) else _as_expression(value)


Grouping = Annotated[Name | None, AfterValidator(_as_grouping)]
"""A regular expression on paths: the part of a path that matches (its first group in parentheses, else the whole match)
names the group. `column:patient` takes the group from the column `patient` of metadata.csv or Parquet. None: images
that are stored with equal pixels form a group."""


def _may_be_text(annotation: Any) -> bool:
    """Whether a type hint is `str`, or has it as a branch."""
    branches = get_args(annotation) if get_origin(annotation) in (Annotated, Union, UnionType) else ()
    return annotation is str or any(map(_may_be_text, branches))


def data_set_name(path: str | None, source: str) -> str:
    """The name of the folder or file of a data set, fit for a registry; the name of the source where it has none.

    Other than letters, digits, `_`, `-` and `.` become `-`: MLflow allows neither `/` nor `:` in the name of a model.
    """
    name = re.sub(r"\.(parquet|csv|tsv|jsonl|txt|md)$", "", Path(path or "").name, flags=re.IGNORECASE)
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or source


def check_fractions(validation_fraction: float, test_fraction: float, unit: str) -> None:
    """Raises ValueError where no data are left to train on; `unit`: name of the data in the plural, for the message."""
    if validation_fraction + test_fraction >= 1:
        raise ValueError(
            f"validation_fraction={validation_fraction:g} and test_fraction={test_fraction:g}, expected a sum below 1, "
            f"so that {unit} are left to train on"
        )


class Block(BaseModel):
    """A frozen block of parameters. `model_validate` raises a ConfigError with the key, the value received and the
    values expected."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    block: ClassVar[str]

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            expected: dict[str, list[str]] = {}
            for each in error.errors():  # several errors for one key come from the branches of a union
                received, wanted = cls._received_and_expected(each)
                expected.setdefault(received, []).append(wanted)
            raise ConfigError("; ".join(start + " or ".join(ends) for start, ends in expected.items())) from error

    def anchored(self, root: Path) -> "Block":
        """The block with its paths absolute: relative ones from `root`, and `~` is the user's home."""
        keys = [key for key, field in type(self).model_fields.items() if A_PATH in field.metadata]
        given = {key: Path(value).expanduser() for key in keys if (value := getattr(self, key))}
        return self.model_copy(update={key: str(root / path) for key, path in given.items()})

    @classmethod
    def takes_text(cls, key: str) -> bool:
        """Whether the key takes text as it is written, such as `007` and `1e3`."""
        return key in cls.model_fields and _may_be_text(cls.model_fields[key].annotation)

    @classmethod
    def _received_and_expected(cls, error: Any) -> tuple[str, str]:
        if error["type"] == "value_error":  # an error of several keys: the validator names what it received
            return f"{cls.block}: received ", str(error["ctx"]["error"])
        # `loc` also names branches of a union: only the keys that a user wrote are repeated.
        path = [str(part) for part in error["loc"] if str(part) in cls.model_fields or isinstance(part, int)]
        key = ".".join([cls.block, *(path or map(str, error["loc"]))])
        if error["type"] == "extra_forbidden":
            close = get_close_matches(str(error["loc"][-1]), cls.model_fields, n=1)
            hint = f"did you mean {cls.block}.{close[0]}?" if close else f"choose from {', '.join(cls.model_fields)}"
            return f"{key} is not a parameter: ", hint
        if error["type"] == "missing":
            return f"{key}: received {error['input']!r}, expected ", "one more value"
        expected = re.sub(r"^\w+ should (be|have) | after validation", "", error["msg"])
        return f"{key}: received {error['input']!r}, expected ", expected


class Ingestion(Block):
    """Where images come from, and how they are decoded and split."""

    block: ClassVar[str] = "ingestion"
    source: Literal["digits", "torchvision", "image_folder", "parquet"] = "digits"
    path: Location = None
    """A folder (`image_folder`), a Parquet file or a folder of them (`parquet`, and `torchvision` where there are
    some), or the folder to download to (`torchvision`; None: data/01_raw)."""
    dataset: Literal[
        "cifar10",
        "cifar100",
        "fashion_mnist",
        "stl10",
        "svhn",
        "imagenette",
        "oxford_iiit_pet",
        "flowers102",
        "food101",
        "eurosat",
    ] = "cifar10"
    """Name of the torchvision data set, where `source` is `torchvision`."""
    label: LabelColumn = None
    image: Name | None = None
    """The column of Parquet that holds the images. None: the only one, or the one called `image`."""
    group: Grouping = None
    """Rule for images that belong together, such as those of a patient or a burst: no split divides them, and an
    accuracy counts them as one observation."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Fraction of the images to keep, chosen by content; an official test split is kept whole."""
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    """Pixels a side of the stored square. None: the median of the shorter sides of a sample of the images, at most
    96."""
    resize: Literal["crop", "pad", "squash"] = "crop"
    """How an image that is not square becomes one. `crop`: the shorter side is resized to `image_size` and the centre
    kept; `pad`: the longer side is resized to it, and a border in the mean colour of the image's outermost pixels fills
    the square; `squash`: both sides are resized to it. The encoder keeps the choice."""
    channels: Literal[1, 3] | None = None
    """None: 1 where a sample of the images is all grey, else 3."""
    pixel_range: Annotated[tuple[float, float] | None, Field(strict=False), BeforeValidator(_as_range)] = None
    """Values that are black and white in images of more than 8 bits a pixel: 16-bit, signed or floating-point. Values
    outside are clipped. None: as their format states; where it states nothing, they are refused. On a command line,
    `-1000+1000`."""
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    """Fractions drawn by content for validation and test, each only where there is no official split of that name. They
    are drawn from images in no official split or in the official training split."""
    max_quarantined: Fraction = 0.05
    max_pixels: Count = 100_000_000
    """Largest number of pixels of an image; larger ones are quarantined as possible decompression bombs."""
    rare_labels: Literal["refuse", "drop"] = "refuse"
    """Handling of a class with one image: stop, or keep the image without its label."""

    @property
    def name(self) -> str:
        """Name of the data set in results and in the registry."""
        if self.source in BUILT_IN:
            return self.source
        return self.dataset if self.source == "torchvision" else data_set_name(self.path, self.source)

    @property
    def groups(self) -> str:
        """Rule that makes the groups, in words."""
        return f"ingestion.group={self.group!r}" if self.group else "equal pixels"

    @property
    def known_size(self) -> int | None:
        """Pixels a side of the stored images; None where it depends on the images."""
        return self.image_size or SOURCE_SIZES.get(self.dataset if self.source == "torchvision" else self.source)

    @property
    def place(self) -> str | None:
        """Location that is read: `path`; without one, torchvision's data lie in a folder of their name in
        data/01_raw."""
        return f"{RAW}/{self.dataset}" if self.source == "torchvision" and not self.path else self.path

    def anchored(self, root: Path) -> "Ingestion":
        return super(Ingestion, self.model_copy(update={"path": self.place})).anchored(root)

    @model_validator(mode="after")
    def _splits_leave_something(self) -> "Ingestion":
        check_fractions(self.validation_fraction, self.test_fraction, "images")
        if self.pixel_range and not self.pixel_range[0] < self.pixel_range[1]:
            low, high = self.pixel_range
            raise ValueError(f"pixel_range=[{low:g}, {high:g}], expected the number that is black first, a lower one")
        if self.source == "digits" and (self.label or NO_LABELS).lower() != NO_LABELS:
            raise ValueError(
                f"label={self.label!r}, expected null or {NO_LABELS} for the source digits: it has no columns"
            )
        if self.source in BUILT_IN and column_of(self.group):
            raise ValueError(f"group={self.group!r}, expected a regular expression: {self.source} has no columns")
        if self.source in ("digits", "image_folder") and self.image:
            raise ValueError(f"image={self.image!r}, expected null for the source {self.source}: it is of parquet")
        return self

    @model_validator(mode="after")
    def _path_is_known(self) -> "Ingestion":
        if self.source in ("image_folder", "parquet") and not self.path:
            raise ValueError(f"path={self.path!r}, expected ingestion.path to be set for the source {self.source}")
        return self


class EarlierIngestion(Ingestion):
    """Parameters of an earlier ingestion, for commands that ingest nothing: the path may be missing."""

    @model_validator(mode="after")
    def _path_is_known(self) -> "EarlierIngestion":
        return self


class Augmentation(Block):
    """The recipe of a view. Its geometry (crop and affine) is cached; everything else is drawn afresh at each use.

    The defaults of this class are for photographs (BYOL's, arXiv:2006.07733); those of conf/base are for digits.
    """

    block: ClassVar[str] = "augmentation"
    digits: ClassVar[Mapping[str, Any]] = {
        "views": 64,
        "crop_scale": (1.0, 1.0),
        "crop_ratio": (1.0, 1.0),
        "degrees": 10.0,
        "translate": 0.1,
        "zoom": (0.87, 1.15),
        "shear": 10.0,
        "flip": 0.0,
        "gray": 0.0,
        "solarize": (0.0,),
    }
    """Values of conf/base that suit digits, and no photographs."""
    views: Annotated[int, Field(ge=2, le=1024)] | Literal["fresh"] = 16
    """Crops cached for each image (K), or `fresh`: crop anew at each use. Two views a step need K ≥ 2."""
    crop_size: Annotated[int, Field(ge=4)] | None = None
    """Pixels a side of a view; None: the image's."""
    crop_scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.08, 1.0)
    """Fraction of the image's area that a crop covers."""
    crop_ratio: Annotated[tuple[Positive, Positive], Field(strict=False)] = (3 / 4, 4 / 3)
    """Width over height of a crop."""
    degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Rotation after the crop, uniform within ± this many degrees. This and the next three are cached with the crop."""
    translate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Shift after the crop, uniform within ± this fraction of a side, in either direction; uncovered pixels are
    black."""
    zoom: Annotated[tuple[Positive, Positive], Field(strict=False)] = (1.0, 1.0)
    """Magnification after the crop, log-uniform and drawn separately for height and width."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0
    """Horizontal shear after the crop, uniform within ± this many degrees."""
    flip: Probability = 0.5
    jitter: Probability = 0.8
    """Probability that brightness, contrast, saturation and hue are jittered at all."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.4
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.4
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Largest hue shift, in turns around the colour circle."""
    gray: Probability = 0.2
    blur: PerView = (0.0,)
    blur_sigma: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.1, 2.0)
    """Range of the standard deviation of the blur, in pixels."""
    solarize: PerView = (0.0, 0.2)
    seed: Seed = 0
    """Seed of the cached crops. (Everything drawn at each use follows from pretraining.seed.)"""

    def geometry(self) -> dict[str, Any]:
        """The keys that decide how crops are cut, as JSON values."""
        return self.model_dump(mode="json", include=GEOMETRY)

    def crops_of(self, data_digest: str, order: str) -> dict[str, Any]:
        """Everything that decides the cached crops, as JSON values; `order`: digest of which image is in which row."""
        return {"data_digest": data_digest, "order": order, **self.geometry()}

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "Augmentation":
        for name in ("crop_scale", "crop_ratio", "zoom", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}=[{low:g}, {high:g}], expected the lower value first")
        low, high = self.crop_scale
        if high > 1:
            raise ValueError(f"crop_scale=[{low:g}, {high:g}], expected no more than 1, the whole image")
        return self


class Pretraining(Block):
    """The training loop: network, method, duration and optimizer."""

    block: ClassVar[str] = "pretraining"
    encoder: Name = "small_resnet"
    """Architecture of the encoder: one of `catalogue.NETWORKS`, or the name of any model of timm."""
    starts_from_weights: ClassVar[bool] = True
    """Whether the encoder can start from given weights; only one of images can."""
    weights: Name | None = None
    """Weights that the encoder starts from. None: random; `pretrained`: the published ones of the encoder's name; a
    file (.safetensors, or a .pth of tensors alone), a folder (of an earlier run's encoder, or in Hugging Face's
    format), `hf-hub:…`, or `models:/name@alias`."""
    freeze: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Number of stages that keep their weights, counted from the input, the stem included."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of a layer as a fraction of that of the layer after it (arXiv:2106.08254); 1: the same for all."""
    method: dict[str, Any] = Field(default_factory=dict)
    """The paper's constants, passed to the method by name."""
    epochs: Count = 100
    batch_size: Annotated[int, Field(ge=2)] = 256
    optimizer: Literal["sgd", "adamw", "lars"] = "adamw"
    learning_rate: Positive = 2e-3
    """Peak learning rate for this batch size; it is not scaled automatically."""
    momentum: Fraction = 0.9
    """Momentum of SGD and LARS. (A method's own is in `method`.)"""
    lars_trust: Positive = 0.001
    """LARS: trust coefficient η. A layer's own rate is η times the norm of its weights over that of its gradient."""
    lars_clip: bool = False
    """LARS: whether a layer moves at the lower of its own rate and `learning_rate` (as in LARC), not at their
    product."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay; not applied to biases and normalisation, unless `decay_all` is set."""
    decay_all: bool = False
    warmup_epochs: Annotated[float, Field(ge=0)] = 5
    """Length of the warm-up in epochs; at most half of the training is warm-up, however short it is."""
    clip_gradient: Positive | None = None
    """Largest global norm of the gradient; None: not clipped."""
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 where the hardware has it."""
    compile: bool = False
    """Whether to use torch.compile, which costs tens of seconds and pays off on long GPU runs only."""
    monitor_every: Count = 10
    """Epochs between measurements of kNN accuracy and collapse."""
    min_embedding_std: Annotated[float, Field(ge=0)] = 0.05
    """Smallest spread of a healthy embedding (1: spread as evenly as noise; 0: every image has the same embedding). A
    run has collapsed where the spread is below this and below half of the untrained network's. A spread below POINT is
    a collapse in any case."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 20
    """Least seconds between two checkpoints. A large checkpoint that would take over a fiftieth of the time is written
    less often; 0: one after each step."""

    def anchored(self, root: Path) -> "Block":
        named = self.weights is None or self.weights == "pretrained" or self.weights.startswith(("hf-hub:", "models:/"))
        return self if named else self.model_copy(update={"weights": str(root / Path(self.weights or "").expanduser())})

    @model_validator(mode="after")
    def _start_is_possible(self) -> "Pretraining":
        if not self.starts_from_weights and (self.weights or self.freeze or self.layer_decay != 1):
            raise ValueError(
                f"weights={self.weights!r}, freeze={self.freeze!r} and layer_decay={self.layer_decay:g}, expected "
                f"null, 0 and 1: only methods of images start from weights"
            )
        if self.freeze == "all":
            raise ValueError("freeze='all', expected a number of stages: a head on a fixed encoder is not trained yet")
        if self.freeze and not self.weights:
            raise ValueError(f"freeze={self.freeze} without weights, expected pretraining.weights to be set as well")
        return self

    def is_collapsed(self, embedding_std: float, untrained: float | None) -> bool:
        """Whether this spread is a collapse; `untrained`: spread of the network before its training, if known.

        (Features after a ReLU, and a transformer's, may lie close together without any training.)
        """
        least = self.min_embedding_std
        return embedding_std < (least if untrained is None else min(least, max(untrained / 2, POINT)))


class Evaluation(Block):
    """The pinned protocol: tagged on every registered version, so that two numbers are known to be comparable."""

    block: ClassVar[str] = "evaluation"
    knn_k: Count = 20
    knn_temperature: Positive = 0.1
    shots: Annotated[tuple[Count, ...], Field(strict=False)] = (1, 5, 10)
    """Numbers of labels a class of the few-label probes."""
    fractions: Annotated[tuple[Probability, ...], Field(strict=False)] = (0.01, 0.1)
    """Fractions of the labelled training images that the few-label probes learn from."""
    draws: Count = 10
    regularisation: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Candidates for C of the logistic regression; the validation split chooses."""
    few_label_regularisation: Positive = 1.0
    max_iterations: Count = 200
    pca_dims: Count = 128
    seed: Seed = 0

    def digest(self) -> str:
        """Digest of the protocol. Two accuracies are comparable only where it is equal."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:16]


def in_words(setting: str) -> str:
    """A number of labels in words: "1", "5" or "10%"."""
    if "%" in setting:
        return f"{setting} of the labels"
    return "one label a class" if setting == "1" else f"{setting} labels a class"


class Finetuning(Block):
    """An encoder that is trained further with labels, beside the same network from scratch."""

    block: ClassVar[str] = "finetune"
    method: str = "byol"
    """Method of the encoder; a method of images."""
    labels: Annotated[
        tuple[Count | Literal["all"], ...], Field(strict=False, min_length=1), BeforeValidator(_as_list)
    ] = (1, 10, "all")
    """Numbers of labels a class to fine-tune with; on a command line, `1+10+all`."""
    draws: Count = 3
    """Number of repetitions, each with its own draw of labels and first weights."""
    steps: Count = 300
    """Gradient descent steps in total, rounded up to whole epochs."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    @model_validator(mode="after")
    def _is_a_method(self) -> "Finetuning":
        if self.method not in IMAGE_METHODS:
            raise ValueError(f"method={self.method!r}, expected one of {', '.join(IMAGE_METHODS)}")
        return self


class Compare(Block):
    """Methods to compare side by side."""

    block: ClassVar[str] = "compare"
    methods: Annotated[tuple[str, ...] | None, Field(strict=False, min_length=1), BeforeValidator(_as_list)] = None
    """Names of pipelines of images; None: all. On a command line, `byol+simclr`."""

    @model_validator(mode="after")
    def _are_methods(self) -> "Compare":
        chosen = self.methods or ()
        for name in chosen:
            if name not in IMAGE_METHODS:
                raise ValueError(
                    f"methods={list(chosen)}, expected names among {', '.join(IMAGE_METHODS)}: not {name!r}"
                )
        return self


class Registration(Block):
    """Registration of a version, and the gate to the champion."""

    block: ClassVar[str] = "registration"
    which: Literal["single", "best", "none"] = "single"
    """What is registered. `single`: the version of a run of one method; a comparison of methods registers nothing.
    `best`: also the method of a comparison with the best kNN accuracy on the validation split. `none`: nothing."""
    model_name: Name | None = None
    """Name of the model in the registry; None: `unlabeled-` and the name of the data set's folder or file."""
    must_beat_baselines: bool = True
    """Whether a champion has to be better than every baseline, beyond their intervals, with some number of labels."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Upper bound of the probability that one set of test images ever promotes a challenger that is no better, however
    many challengers it judges. A challenger's linear probe has to be right more often than the champion's, with a
    two-sided p-value of McNemar's exact test below the level; for the k-th challenger on these test images, below 2
    level / (k (k + 1))."""
    max_class_drop: Probability = 0.05
    """Largest loss of accuracy on any class; a larger one blocks the challenger where the loss is itself
    significant."""
    require_git: bool = True
    """Whether to refuse to run outside a git repository: a version without its commit cannot be reproduced."""


class Chosen(Block):
    """A version in the registry."""

    model_name: Name | None = None
    """Name of the model in the registry; None: the name in `registration`."""
    version: Annotated[Name, BeforeValidator(_as_text)] = "champion"
    """Number or alias of the version."""


class Embedding(Chosen):
    """Embeddings of a folder of images."""

    block: ClassVar[str] = "embed"
    path: Location = None
    """Folder of images, nested to any depth."""
    chunk: Count = 4096
    """Images between two points from which an interrupted run resumes."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class Search(Block):
    """Search for the images that are most similar to a given one."""

    block: ClassVar[str] = "search"
    image: Location = None
    """File to find similar images for."""
    top: Count = 10
    """Number of images to find."""


class Exporting(Chosen):
    """Export of a version as files that do not need this project."""

    block: ClassVar[str] = "export"
    image: Location = None
    """Image or folder of images to check the exported files on; None: the ingested ones."""
