import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from unlabeled.catalogue import METHODS
from unlabeled.config import Augmentation, Pretraining
from unlabeled.encoders import read_encoder
from unlabeled.errors import ConfigError, TrainingError
from unlabeled.evaluation.monitor import embedding_monitor
from unlabeled.images.crops import cache_views
from unlabeled.images.pretrain import fingerprint, pretrain_encoder
from unlabeled.method import Method
from unlabeled.methods.byol import BYOL
from unlabeled.storage.arrays import spread

N = 128
"""Images: 64 to train on, 32 each to validate and to test on."""
SMALL = {"hidden_dim": 32, "projection_dim": 16, "momentum": 0.9}
NO_VIEWS = np.zeros((N, 0, 1, 8, 8), np.uint8)


class Pull(Method):
    """Only pulls the views of an image together: what a collapse is made of."""

    def __init__(self, encoder, *, strength: float = 1.0):
        super().__init__()
        self.encoder, self.strength = encoder, strength

    def forward(self, batch):
        first, second = self.encoder(batch).float().chunk(2)
        return self.strength * (1 - nn.functional.cosine_similarity(first, second).mean())


class HeadlessBYOL(BYOL):
    """BYOL without what keeps it from collapsing: no predictor, no slow target, no projector to hide behind."""

    def __init__(self, encoder):
        super().__init__(encoder, hidden_dim=8, projection_dim=8, momentum=0.0)
        self.projector, self.predictor, self.target[1] = nn.Identity(), nn.Identity(), nn.Identity()


class Interrupted(Pull):
    """Is switched off after its third step."""

    def after_step(self, progress):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 3:
            raise KeyboardInterrupt


@pytest.fixture
def data(digits):
    """Images, their manifest and their summary."""
    images, targets = (each[:N] for each in digits)
    split = ["train", "validation", "train", "test"] * (N // 4)
    manifest = pd.DataFrame({"sha256": [f"{i:064x}" for i in range(N)], "target": targets, "split": split})
    return images, manifest, {"mean": [images.mean() / 255], "std": [images.std() / 255], "data_digest": "abc"}


@pytest.fixture
def train(data, monkeypatch):
    """Trains on the data, by default for 2 epochs of 2 steps on fresh views."""
    for name in ("Pull", "HeadlessBYOL", "Interrupted"):
        monkeypatch.setitem(METHODS, name.lower(), f"{__name__}:{name}")

    def run(name="pull", /, *, images=None, manifest=None, summary=None, views=NO_VIEWS, recipe=None, **options):
        resume, report = options.pop("resume", None), options.pop("report", None)
        config = Pretraining(**{"epochs": 2, "batch_size": 32, "warmup_epochs": 1, "min_embedding_std": 0.0} | options)
        return pretrain_encoder(
            name,
            data[0] if images is None else images,
            views,
            data[1] if manifest is None else manifest,
            data[2] | (summary or {}),
            config,
            Augmentation(**{"views": "fresh"} | (recipe or {})),
            resume=resume,
            report=report,
        )

    return run


@pytest.fixture
def pretrained(train):
    """Trains in the same way; gives the encoder and the history."""
    return lambda *arguments, **options: train(*arguments, **options)[:2]


def same(a, b):
    """Whether two encoders have the same weights and statistics to the last bit."""
    a, b = a.network.state_dict(), b.network.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def timeless(history):
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")} for row in history
    ]


def test_byol_trains_an_encoder_and_says_how_it_went(pretrained, data):
    encoder, history = pretrained("byol", method=SMALL)
    assert encoder.embed(data[0]).shape == (N, encoder.feature_dim) and np.isfinite(encoder.embed(data[0])).all()
    assert encoder.normalisation.mean == tuple(data[2]["mean"]) and encoder.image_size == 8
    measured = {"embedding_std", "rankme", "knn_accuracy", "alignment"}
    assert measured <= history[-1].keys() and not measured & history[0].keys()
    assert history[0]["momentum"] < history[-1]["momentum"] == 1
    assert all(np.isfinite(value) for value in history[-1].values())


def test_a_training_is_one_line_in_the_log(pretrained, caplog):
    with caplog.at_level("INFO"):
        pretrained(epochs=4, monitor_every=1)
    (line,) = caplog.messages
    assert line.startswith("trained for 4 epochs in ") and "loss" in line and "kNN" in line


def test_what_a_method_makes_of_unseen_images_is_left_as_pictures(train, data):
    pictures = train("autoencoder", method={"latent_dim": 8, "width": 4}).examples
    assert list(pictures) == ["image", "reconstruction"]
    assert all(row.dtype == np.uint8 and row.shape == (12, 1, 8, 8) for row in pictures.values())
    unseen = spread(data[0][data[1].split == "validation"], 12)
    assert np.abs(pictures["image"].astype(int) - unseen).max() <= 1


def test_without_a_validation_split_the_pictures_are_of_training_images(train, data):
    data[1]["split"] = "train"
    pictures = train("autoencoder", method={"latent_dim": 8, "width": 4}, batch_size=64).examples
    assert np.abs(pictures["image"].astype(int) - spread(data[0], 12)).max() <= 1


def test_pictures_are_of_the_size_that_was_trained_on(train):
    pictures = train("autoencoder", method={"latent_dim": 8, "width": 4}, recipe={"crop_size": 6}).examples
    assert {row.shape for row in pictures.values()} == {(12, 1, 6, 6)}


@pytest.mark.parametrize("name, options", [("byol", {"method": SMALL}), ("pca", {"encoder": "linear"})])
def test_a_method_that_has_nothing_to_show_leaves_no_pictures(train, name, options):
    assert train(name, **options).examples == {}


def test_the_same_seed_gives_the_same_pictures(train):
    first, second = (train("vae", method={"latent_dim": 8, "width": 4}).examples for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first | second)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(pretrained):
    (first, one), (second, two), (other, _) = (pretrained("byol", method=SMALL, seed=seed) for seed in (3, 3, 4))
    assert same(first, second) and timeless(one) == timeless(two)
    assert not same(first, other)


def test_the_seed_decides_the_first_weights_too(pretrained):
    first, other = (pretrained(seed=seed, epochs=1, warmup_epochs=0, learning_rate=1e-30)[0] for seed in (3, 4))
    assert not torch.equal(first.network[0].weight, other.network[0].weight)


@pytest.mark.parametrize("spoil", ["shuffle", "remove"])
def test_labels_never_enter_pretraining(pretrained, data, spoil):
    targets = np.random.default_rng(0).permutation(data[1].target) if spoil == "shuffle" else np.full(N, -1)
    (encoder, _), (without, history) = (
        pretrained("byol", method=SMALL, manifest=manifest) for manifest in (data[1], data[1].assign(target=targets))
    )
    assert same(encoder, without)
    assert ("knn_accuracy" in history[-1]) is (spoil == "shuffle")


def test_only_the_train_split_is_learned_from(pretrained, data):
    held_out = (data[1].split != "train").to_numpy()
    others = np.where(held_out[:, None, None, None], 255 - data[0], data[0])
    assert same(pretrained(images=data[0])[0], pretrained(images=others)[0])
    assert not same(pretrained(images=data[0])[0], pretrained(images=255 - data[0])[0])


def test_pretraining_leaves_the_random_state_as_it_was(pretrained):
    torch.manual_seed(5)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    pretrained()
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002


def test_cached_views_are_trained_on_from_a_memory_map(pretrained, data, tmp_path):
    recipe = {"views": 3, "crop_size": 6}
    views = cache_views(data[0], data[1].sha256.tolist(), Augmentation(**recipe), tmp_path)
    np.save(tmp_path / "images.npy", data[0])
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    encoder, history = pretrained("byol", method=SMALL, images=images, views=views, recipe=recipe)
    assert encoder.image_size == 6 and np.isfinite(history[-1]["loss"])


@pytest.mark.parametrize(
    "shape", [(N, 4, 1, 8, 8), (N, 0, 1, 8, 8), (N - 1, 3, 1, 8, 8), (N, 3, 3, 8, 8), (N, 3, 1, 6, 6)]
)
def test_cached_views_of_another_shape_are_refused(pretrained, shape):
    with pytest.raises(
        TrainingError, match=r"the parameters ask for \(128, 3, 1, 8, 8\): run the stage augmentation again"
    ):
        pretrained(views=np.zeros(shape, np.uint8), recipe={"views": 3})


def test_a_batch_larger_than_the_data_is_refused(pretrained):
    with pytest.raises(TrainingError, match="pretraining.batch_size: received 65, but there are 64 images to train on"):
        pretrained(batch_size=65)


def test_one_batch_of_all_images_will_do(pretrained):
    assert len(pretrained(batch_size=64)[1]) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is to be missing")
def test_a_missing_device_is_told(pretrained):
    with pytest.raises(TrainingError, match="pretraining.device: received 'cuda', which this machine does not have"):
        pretrained(device="cuda")


@pytest.mark.parametrize("constant", ["temperature", "encoder"])
def test_a_constant_that_the_method_does_not_have_is_refused(pretrained, constant):
    allowed = "choose from hidden_dim, projection_dim, momentum"
    with pytest.raises(ConfigError, match=f"pretraining.method.{constant} is not a constant of byol: {allowed}"):
        pretrained("byol", method={constant: 0.1})


@pytest.mark.parametrize(
    "constants", [{"momentum": 2}, {"hidden_dim": "many"}, {"projection_dim": -1}, {"predictor": "cubic"}]
)
def test_a_constant_of_the_wrong_range_or_type_is_refused(pretrained, constants):
    with pytest.raises(ConfigError, match=r"pretraining\.method\.\w+: received "):
        pretrained("byol", method=constants)


def test_a_real_collapse_is_caught_by_default(pretrained):
    default = Pretraining().min_embedding_std
    with pytest.raises(
        TrainingError,
        match=r"the embedding has collapsed at step \d+, .*=0.05, as it was at the look before .*; try",
    ):
        pretrained("headlessbyol", epochs=30, monitor_every=10, learning_rate=5e-3, min_embedding_std=default)


def test_a_healthy_run_is_not_taken_for_collapsed(pretrained):
    default = Pretraining().min_embedding_std
    _, history = pretrained("byol", method=SMALL, epochs=5, monitor_every=1, min_embedding_std=default)
    assert min(row["embedding_std"] for row in history) > 2 * default


@pytest.mark.parametrize("rate", [1e15])
def test_a_real_divergence_stops_the_run(pretrained, rate):
    with pytest.raises(TrainingError, match=r"the loss is nan at step \d, at a learning rate of .*: try a tenth"):
        pretrained("byol", method=SMALL, optimizer="sgd", learning_rate=rate, epochs=4)


@pytest.fixture
def left(pretrained, tmp_path):
    """The checkpoint of a run of `pull` that was interrupted in its second epoch."""
    METHODS["pull"], path = METHODS["interrupted"], tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        pretrained(resume=path, checkpoint_seconds=0)
    METHODS["pull"] = f"{__name__}:Pull"
    return path


def test_an_interrupted_run_is_resumed_and_reports_its_earlier_epochs(pretrained, left, caplog):
    told = []
    with caplog.at_level("INFO"):
        resumed, _ = pretrained(resume=left, report=lambda metrics, step: told.append(step))
    assert "resuming after step 2" in caplog.text and told == [1, 2]
    assert same(resumed, pretrained()[0])


@pytest.mark.parametrize("harmless", [{"monitor_every": 1}, {"checkpoint_seconds": 99}, {"min_embedding_std": 1e-9}])
def test_what_does_not_change_the_weights_does_not_keep_from_resuming(pretrained, left, caplog, harmless):
    with caplog.at_level("INFO"):
        pretrained(resume=left, **harmless)
    assert "resuming after step 2" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"summary": {"data_digest": "another"}},
        {"learning_rate": 1e-3},
        {"seed": 1},
        {"epochs": 3},
        {"method": {"strength": 0.5}},
        {"recipe": {"flip": 0.0}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_of_other_data_or_parameters_is_not_resumed(pretrained, left, caplog, change):
    with caplog.at_level("INFO"):
        encoder, _ = pretrained(resume=left, **change)
    assert "is of other data or parameters: training from the beginning" in caplog.text
    assert same(encoder, pretrained(**change)[0])


def test_a_checkpoint_of_images_in_another_order_is_not_resumed(pretrained, left, data, caplog):
    with caplog.at_level("INFO"):
        pretrained(resume=left, images=data[0][::-1].copy(), manifest=data[1][::-1].reset_index(drop=True))
    assert "is of other data or parameters" in caplog.text


@pytest.mark.parametrize("encoder, same", [("small_resnet", False), ("resnet18", True)])
def test_another_network_by_the_same_name_has_another_fingerprint(data, monkeypatch, encoder, same):
    """Or `compare` would keep it beside networks of today."""
    given = "byol", *data[1:], Pretraining(encoder=encoder), Augmentation()
    before = fingerprint(*given)
    monkeypatch.setattr("unlabeled.images.pretrain.WIDTHS", ((8, 16, 32), (48, 96, 192)))
    assert (fingerprint(*given) == before) is same


@pytest.mark.parametrize("targets, votes", [([0, 0, 1, 1], True), ([0, 0, 0, 0], False), ([-1, 0, -1, -1], False)])
def test_neighbours_vote_where_there_are_two_classes(targets, votes):
    class Same:
        def embed(self, rows):
            return np.eye(len(rows), 4, dtype=np.float32) + 1

    manifest = pd.DataFrame({"split": ["train", "validation"] * 2, "target": targets})
    assert ("knn_accuracy" in embedding_monitor(Same(), lambda rows: rows, manifest, 8)()) is votes


def test_an_embedding_that_is_no_number_is_told_with_what_to_try():
    class Ruined:
        def embed(self, rows):
            return np.full((len(rows), 4), np.nan, np.float32)

    manifest = pd.DataFrame({"split": ["train", "validation"] * 4, "target": 0})
    with pytest.raises(TrainingError, match="the embedding is not finite: try a tenth of pretraining.learning_rate"):
        embedding_monitor(Ruined(), lambda rows: rows, manifest, 8)()


def test_a_corrupted_checkpoint_is_told(pretrained, left):
    content = bytearray(left.read_bytes())
    content[len(content) // 2] ^= 1
    left.write_bytes(content)
    with pytest.raises(
        TrainingError, match="checkpoint.safetensors is damaged .* delete it to train from the beginning"
    ):
        pretrained(resume=left)


KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np, pandas as pd, torch
from unlabeled.config import Augmentation, Pretraining
from unlabeled.images.pretrain import pretrain_encoder

folder, images = Path(sys.argv[1]), np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
rows = {"sha256": [str(i) for i in range(40)], "target": np.arange(40) % 4, "split": 4 * (8 * ["train"] + 2 * ["test"])}
constants = {"hidden_dim": 32, "projection_dim": 16, "momentum": 0.9}

def train(optimizer, name, resume):
    config = Pretraining(method=constants, optimizer=optimizer, epochs=3, batch_size=8, warmup_epochs=1,
                         monitor_every=2, min_embedding_std=0, checkpoint_seconds=0)
    encoder, history, _ = pretrain_encoder(
        "byol", images, np.zeros((40, 0, 1, 8, 8), np.uint8), pd.DataFrame(rows),
        {"mean": [0.5], "std": [0.3], "data_digest": "a"}, config, Augmentation(views="fresh"), resume=resume)
    encoder.save(folder / f"{name}.safetensors")
    (folder / f"{name}.history.json").write_text(json.dumps(history))

def start(*arguments):
    # A copy of this process that has torch already: starting one anew takes seconds.
    child = os.fork()
    if not child:
        try:
            train(*arguments)
            os._exit(0)
        finally:
            os._exit(1)
    return child

ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT

def stamp(path):
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None

torch.set_num_threads(1)  # a pool of threads does not survive a fork
train("adamw", "warmed_up", None)
random.seed(0)
killed = {}
for optimizer in ("adamw", "sgd", "lars"):
    began = time.perf_counter()
    assert os.waitpid(start(optimizer, f"{optimizer}.whole", None), 0)[1] == 0
    took, killed[optimizer] = time.perf_counter() - began, 0
    checkpoint = folder / f"{optimizer}.checkpoint.safetensors"
    for steps in (0, 1, 2, 3, 1):  # and a part of one: the clock alone may kill late, when there is nothing left to do
        child = start(optimizer, f"{optimizer}.killed", checkpoint)
        for _ in range(steps):
            before = stamp(checkpoint)
            while stamp(checkpoint) == before and not os.waitid(os.P_PID, child, ENDED):
                time.sleep(1e-4)
        time.sleep(random.uniform(0, took / 16))
        os.kill(child, signal.SIGKILL)
        killed[optimizer] += os.WIFSIGNALED(os.waitpid(child, 0)[1]) and checkpoint.exists()
    assert os.waitpid(start(optimizer, f"{optimizer}.killed", checkpoint), 0)[1] == 0
print(json.dumps(killed))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder with what whole runs left and what runs left that were killed, and how often each optimizer's was."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, "-c", KILLED, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
def test_a_run_killed_at_any_moment_ends_in_the_same_weights_and_history(killed, optimizer):
    folder, times = killed
    assert times[optimizer] >= 2
    whole, other = (folder / f"{optimizer}.{name}.safetensors" for name in ("whole", "killed"))
    assert same(read_encoder(whole), read_encoder(other)) and whole.read_bytes() == other.read_bytes()
    whole, other = (
        json.loads((folder / f"{optimizer}.{name}.history.json").read_text()) for name in ("whole", "killed")
    )
    assert timeless(whole) == timeless(other)
