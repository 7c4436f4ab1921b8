import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import unlabeled.methods
from unlabeled.catalogue import IMAGE_METHODS, METHODS
from unlabeled.config import Pretraining
from unlabeled.errors import ConfigError
from unlabeled.images.pretrain import check
from unlabeled.method import ClosedForm, Method, load_method
from unlabeled.nn.small_networks import build_encoder

ENCODERS = {"mae": "small_vit", "pca": "linear", "kmeans": "patches"}


def test_the_names_are_known_without_torch():
    code = "import sys, unlabeled.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_file_is_a_method_and_is_named_like_it():
    files = {path.stem for path in Path(unlabeled.methods.__file__).parent.glob("[a-z]*.py")}
    assert files == METHODS.keys()
    assert all(place.startswith(f"unlabeled.methods.{name}:") for name, place in METHODS.items())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_one_short_file_that_names_its_paper(name):
    method = load_method(name)
    source, module = inspect.getsource(sys.modules[method.__module__]), sys.modules[method.__module__]
    assert issubclass(method, Method) and len(source.splitlines()) <= 140
    assert name == "supervised" or "arXiv:" in module.__doc__ or "19" in module.__doc__ or "20" in module.__doc__


@pytest.mark.parametrize("name", METHODS)
def test_a_constructor_takes_the_encoder_and_typed_constants_by_keyword(name):
    encoder, *constants = list(inspect.signature(load_method(name)).parameters.values())
    assert encoder.name == "encoder"
    assert all(c.kind is c.KEYWORD_ONLY and c.annotation is not c.empty for c in constants)


@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_the_defaults_of_a_method_pass_the_check_before_any_work(name):
    check(name, Pretraining(encoder=ENCODERS.get(name, "small_resnet"), batch_size=16))


@pytest.mark.parametrize("name", [name for name in IMAGE_METHODS if not issubclass(load_method(name), ClosedForm)])
@pytest.mark.parametrize(
    "architecture, size",
    [
        ("small_resnet", 32),
        ("resnet18", 32),
        ("small_vit", 32),
        ("test_resnet", 32),
        ("test_vit", 64),
        ("test_convnext", 96),
        ("swin_tiny_patch4_window7_224", 64),
    ],
)
def test_methods_and_encoders_go_together(name, architecture, size):
    if name == "mae" and architecture not in ("small_vit", "test_vit"):
        with pytest.raises(ConfigError, match="mae needs a ViT"):
            check(name, Pretraining(encoder=architecture), size)
    else:
        check(name, Pretraining(encoder=architecture, batch_size=16), size)


@pytest.mark.parametrize(
    "name, changed, message",
    [
        ("simclr", {"method": {"temperature": 0.0}}, "pretraining.method.temperature: received 0.0, expected a number"),
        (
            "simclr",
            {"method": {"temperature": "hot"}},
            "pretraining.method.temperature: received 'hot', expected a val",
        ),
        (
            "simclr",
            {"method": {"temprature": 1.0}},
            "temprature is not a constant of simclr: choose from hidden_dim, pro",
        ),
        (
            "jigsaw",
            {"encoder": "linear"},
            "pretraining.encoder: jigsaw does not fit 'linear'",
        ),
        (
            "byol",
            {"encoder": "resnet_18"},
            "pretraining.encoder: received 'resnet_18', expected .* the name of a model of timm: did you mean resnet18",
        ),
        (
            "mae",
            {"encoder": "test_vit"},
            "pretraining.encoder: test_vit needs patches of 16 pixels, which do not divide",
        ),
        ("colorization", {"encoder": "mobilenetv3_small_050"}, "colorization does not fit 'mobilenetv3_small_050'"),
        ("dino", {"encoder": "deit_tiny_distilled_patch16_224"}, "dino does not fit 'deit_tiny_distilled_patch16_224'"),
        ("rotation", {"method": {"turns": 3}}, "turns is not a constant of rotation: choose from none"),
        ("supervised", {"method": {"classes": 3}}, "pretraining.method.classes is not a constant of supervised"),
        ("mae", {"encoder": "small_vit", "method": {"mask_ratio": 1.0}}, "pretraining.method.mask_ratio: received 1.0"),
        ("mae", {"encoder": "small_vit"}, "pretraining.encoder: a ViT needs patches of 2 to 16 pixels"),
        ("moco", {"method": {"queue_size": 10}}, "pretraining.method.queue_size: received 10, expected the 64 keys"),
        ("jigsaw", {"method": {"grid": 4}}, "pretraining.method.grid: received 4, expected 2 to 3"),
        ("jigsaw", {"method": {"grid": 3}}, "pretraining.method.grid: received 3, which leaves tiles of"),
        ("dino", {"method": {"small_scale": [0.5, 0.2]}}, "pretraining.method.small_scale: received"),
        ("pca", {}, "pca solves for a linear network: set pretraining.encoder=linear"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(name, changed, message):
    size = 11 if "grid" in str(changed) else 97 if name == "mae" and "method" not in changed else None
    with pytest.raises(ConfigError, match=message):
        check(name, Pretraining(**{"batch_size": 32} | changed), size)


@pytest.mark.parametrize("name", [name for name in IMAGE_METHODS if not issubclass(load_method(name), ClosedForm)])
def test_a_loss_is_a_finite_scalar_in_bf16_too(name):
    encoder = build_encoder(ENCODERS.get(name, "small_resnet"), 3, 16)
    encoder.normalisation = unlabeled.images.encoder.Normalisation((0.5,) * 3, (0.25,) * 3)
    labels = {"classes": 4} if load_method(name).supervised else {}
    method = load_method(name)(encoder, **labels)
    batch = [torch.randn(method.views * 8, 3, 16, 16)] + ([torch.arange(8) % 4] if labels else [])
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(*batch)
    assert loss.shape == () and loss.dtype == torch.float32 and loss.isfinite()
