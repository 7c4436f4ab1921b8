import logging
import math
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import unlabeled.training.loop
from unlabeled.catalogue import METHODS
from unlabeled.config import Augmentation, Pretraining
from unlabeled.errors import TrainingError
from unlabeled.evaluation import health
from unlabeled.images.encoder import Normalisation
from unlabeled.images.views import Views
from unlabeled.method import Method
from unlabeled.storage import checkpoint
from unlabeled.training.devices import choose_device, has_bf16
from unlabeled.training.loop import pretrain
from unlabeled.training.optimizers import learning_rate


class Toy(Method):
    """A method from outside: views of an image attract each other, the embeddings of a batch keep their spread."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        convolution = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.encoder = nn.Sequential(convolution, nn.Flatten(), nn.Linear(216, 16))
        self.progress, self.dtypes = [], []

    def forward(self, batch):
        features = self.encoder(F.dropout(batch, 0.1))
        self.dtypes.append((batch.dtype, features.dtype))
        first, second = features.float().chunk(2)
        return (first - second).square().mean() + F.relu(1 - first.std(0)).mean()

    def after_step(self, progress):
        self.progress.append(progress)


class Failing(Toy):
    """Its loss is not a number at one step."""

    def __init__(self, step, value=math.nan):
        super().__init__()
        self.step, self.value = step, value

    def forward(self, batch):
        loss = super().forward(batch)
        return loss * self.value if len(self.dtypes) == self.step else loss


class Constant(Toy):
    """Every image is to have the same embedding."""

    def forward(self, batch):
        return (self.encoder(batch).float() - 1).square().mean()


class Steep(Toy):
    """Its gradient is enormous."""

    def forward(self, batch):
        return 1e4 * super().forward(batch)


class Interrupted(Toy):
    """Is switched off after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def after_step(self, progress):
        super().after_step(progress)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture
def train(digits):
    """Trains a method on 128 digits, 4 steps an epoch; gives its history."""

    def run(method, *, seed=0, resume=None, fingerprint="", monitor=None, report=None, **parameters):
        parameters = {"epochs": 2, "batch_size": 32, "warmup_epochs": 1, "seed": seed, **parameters}
        config = Pretraining(**parameters)
        normalisation, device = Normalisation((0.3,), (0.4,)), torch.device("cpu")
        size = {"count": method.views, "batch_size": config.batch_size, "seed": seed, "device": device}
        views = Views(digits[0][:128], np.arange(128), Augmentation(views="fresh"), normalisation, **size)
        return pretrain(method, views, config, resume=resume, fingerprint=fingerprint, monitor=monitor, report=report)

    return run


@pytest.fixture
def spread(digits):
    """A monitor: the spread of some digits' embeddings."""
    images = torch.from_numpy(digits[0][:128]) / 128 - 1

    def watch(method):
        with torch.no_grad():
            return {"embedding_std": health.embedding_std(method.encoder(images))}

    return watch


def same(a, b):
    """Whether two methods have the same weights and statistics to the last bit."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def timeless(history):
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")} for row in history
    ]


class Gauged(Toy):
    """Has a number that moves."""

    def gauges(self):
        return {"done": self.progress[-1]}


def test_a_methods_gauges_are_in_the_row_of_each_epoch_and_reported(train):
    told = []
    history = train(Gauged(), epochs=4, report=lambda metrics, step: told.append(metrics["done"]))
    assert [row["done"] for row in history] == told == [0.25, 0.5, 0.75, 1.0]


def test_the_cpu_is_chosen_where_there_is_nothing_better():
    assert choose_device("cpu").type == "cpu"
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert (choose_device("auto").type == "cpu") is not accelerated


@pytest.mark.parametrize("name, there", [("cuda", torch.cuda.is_available), ("mps", torch.backends.mps.is_available)])
def test_a_missing_device_is_told(name, there):
    if there():
        pytest.skip(f"this machine has {name}")
    with pytest.raises(TrainingError, match=f"pretraining.device: received '{name}', which this machine does not have"):
        choose_device(name)
    with pytest.raises(TrainingError, match=f"^embed.device: received '{name}'"):
        choose_device(name, "embed.device")


def test_a_method_from_outside_learns_in_the_loop(train):
    losses = [row["loss"] for row in train(Toy(), epochs=40, learning_rate=0.01)]
    assert np.mean(losses[-10:]) < 0.95 * np.mean(losses[:2])


def test_the_loop_knows_no_method_by_name():
    source = Path(unlabeled.training.loop.__file__).read_text().lower()
    assert METHODS and not set(re.findall(r"\w+", source)) & METHODS.keys()


def test_the_same_seed_gives_the_same_weights_bit_for_bit(train):
    first, second, other = Toy(), Toy(), Toy()
    histories = [train(first), train(second), train(other, seed=1)]
    assert same(first, second) and timeless(histories[0]) == timeless(histories[1])
    assert not same(first, other)


def test_weights_do_not_depend_on_what_was_drawn_before(train):
    first, second = Toy(), Toy()
    train(first)
    torch.rand(123), np.random.default_rng().random()
    train(second)
    assert same(first, second)


def test_training_leaves_the_global_state_as_it_was(train):
    method = Toy()
    state = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_autocast_enabled())
    torch_draws, numpy_draws = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(method)
    assert torch.equal(torch.get_rng_state(), torch_draws)
    assert np.array_equal(np.random.get_state()[1], numpy_draws)
    assert state == (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled(),
    )


def test_history_is_a_row_an_epoch(train):
    history = train(Toy(), epochs=3, learning_rate=0.02)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["learning_rate"] for row in history] == [learning_rate(step, 12, 4, 0.02) for step in (3, 7, 11)]
    assert all(row["images_per_second"] > 0 and math.isfinite(row["loss"]) for row in history)
    assert 0 < history[0]["seconds"] < history[1]["seconds"] < history[2]["seconds"]


def test_the_loss_of_a_row_is_the_mean_over_its_epoch(train):
    class Counting(Toy):
        def forward(self, batch):
            return super().forward(batch) * 0 + len(self.dtypes)

    assert [row["loss"] for row in train(Counting())] == [2.5, 6.5]


def test_report_has_the_signature_of_mlflows_log_metrics(train):
    told = []
    history = train(Toy(), report=lambda metrics, step: told.append((metrics, step)))
    assert told == [({k: v for k, v in row.items() if k != "epoch"}, row["epoch"]) for row in history]


@pytest.mark.parametrize("every, looks", [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (9, [5])])
def test_the_monitor_looks_every_few_epochs_and_at_the_end(train, every, looks):
    history = train(Toy(), epochs=5, monitor_every=every, monitor=lambda method: {"seen": 1.0})
    assert [row["epoch"] for row in history if "seen" in row] == looks


def test_after_step_hears_of_the_progress_after_each_step(train):
    method = Toy()
    train(method)
    assert method.progress == [step / 8 for step in range(1, 9)]


@pytest.mark.parametrize("precision, dtype", [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_precision_is_that_of_the_networks_outputs_and_of_nothing_else(train, precision, dtype):
    method = Toy()
    train(method, precision=precision)
    assert set(method.dtypes) == {(torch.float32, dtype)}
    assert {parameter.dtype for parameter in method.parameters()} == {torch.float32}


def test_automatic_precision_is_what_the_hardware_is_fast_at(train):
    method = Toy()
    train(method)
    expected = torch.bfloat16 if has_bf16(torch.device("cpu")) else torch.float32
    assert {dtype for _, dtype in method.dtypes} == {expected}


def test_weights_lie_in_channels_last_order(train):
    method = Toy()
    train(method)
    assert method.training
    assert method.encoder[0][1].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("limit", [0.5, None])
def test_a_clipped_gradient_moves_the_weights_no_further_than_asked(train, limit):
    method, once = Steep(), {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 1e-3}
    before = torch.cat([p.detach().flatten() for p in method.parameters()])
    train(method, epochs=1, batch_size=128, warmup_epochs=0, clip_gradient=limit, **once)
    moved = (torch.cat([p.detach().flatten() for p in method.parameters()]) - before).norm().item()
    assert moved == pytest.approx(0.5e-3, rel=1e-2) if limit else moved > 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_loss_that_is_no_number_stops_the_run_and_names_its_step(train, step, value):
    rate = learning_rate(step - 1, 8, 4, 0.01)
    advice = "try a tenth of pretraining.learning_rate, a longer pretraining.warmup_epochs, or"
    with pytest.raises(
        TrainingError, match=rf"the loss is {value} at step {step}, at a learning rate of {rate:.2g}"
    ) as e:
        train(Failing(step, value), learning_rate=0.01)
    assert advice in str(e.value)


def test_a_real_divergence_stops_the_run(train):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+, at a learning rate of"):
        train(Toy(), epochs=20, optimizer="sgd", learning_rate=1e12, precision="fp32")


def test_epochs_before_a_failure_were_reported(train):
    told = []
    with pytest.raises(TrainingError, match="at step 6"):
        train(Failing(6), report=lambda metrics, step: told.append(step))
    assert told == [1]


def test_a_collapse_stops_the_run_and_says_what_to_try(train, spread):
    with pytest.raises(
        TrainingError, match=r"embedding has collapsed at step \d+, at a learning rate of .*: its stand"
    ) as e:
        train(Constant(), epochs=30, monitor_every=5, learning_rate=0.1, monitor=spread)
    assert "below pretraining.min_embedding_std=0.05, as it was at the look before" in str(e.value)
    assert "try a lower pretraining.learning_rate" in str(e.value)


def test_a_healthy_run_is_not_taken_for_collapsed(train, spread):
    history = train(Toy(), epochs=10, monitor_every=1, learning_rate=0.01, monitor=spread)
    assert min(row["embedding_std"] for row in history) > 0.3


def test_a_collapse_of_one_of_two_kinds_of_data_is_told_from_that_of_both(train):
    spreads = iter([0.5, 0.4, 0.01, 0.02])  # the first is the untrained network's
    with pytest.raises(TrainingError, match="^the caption embedding has collapsed at step 12, .* is 0.020, below"):
        train(
            Toy(),
            epochs=3,
            monitor_every=1,
            monitor=lambda method: {"embedding_std": 0.5, "caption_embedding_std": next(spreads)},
        )


def looks(*spreads):
    """A monitor that sees these spreads, after that of the untrained network."""
    told = iter([0.5, *spreads])
    return lambda method: {"embedding_std": next(told)}


@pytest.mark.parametrize(
    "spreads, warmup",
    [((0.4, 0.01, 0.4, 0.4), 1), ((0.4, 0.01, 0.4, 0.01), 1), ((0.01, 0.01, 0.4, 0.4), 2), ((0.4, 0.4, 0.4, 0.01), 1)],
    ids=["a dip", "two dips", "low while it warms up", "low at the end"],
)
def test_a_run_that_may_recover_goes_on_with_a_warning(train, caplog, spreads, warmup):
    assert len(train(Toy(), epochs=4, warmup_epochs=warmup, monitor_every=1, monitor=looks(*spreads))) == 4
    assert "at a second look in a row after the warm-up the run ends" in caplog.text


def test_a_collapse_at_two_looks_in_a_row_ends_the_run_there(train):
    with pytest.raises(TrainingError, match=r"collapsed at step 12, .* is 0.020, .* at the look before \(0.010\); try"):
        train(Toy(), epochs=6, monitor_every=1, monitor=looks(0.4, 0.01, 0.02, 0.4, 0.4, 0.4))


@pytest.mark.parametrize("steps", [8, 9, 11])
def test_a_resumed_run_remembers_the_look_before(train, tmp_path, steps):
    path, parameters = tmp_path / "checkpoint.safetensors", {"epochs": 6, "monitor_every": 1, "checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(steps), resume=path, monitor=looks(0.4, 0.01), **parameters)
    told = iter([0.01] * (steps == 8) + [0.02])  # the step that was interrupted is done again
    with pytest.raises(TrainingError, match="collapsed at step 12, .* is 0.020"):
        train(Toy(), resume=path, monitor=lambda method: {"embedding_std": next(told)}, **parameters)


def test_a_collapse_may_be_let_pass(train):
    assert len(train(Toy(), min_embedding_std=0.0, monitor=lambda method: {"embedding_std": 0.0})) == 2


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
@pytest.mark.parametrize("steps", [1, 4, 5, 11])
def test_a_resumed_run_ends_in_the_same_weights_and_history(train, tmp_path, optimizer, steps):
    parameters = {"epochs": 3, "checkpoint_seconds": 0, "optimizer": optimizer, "learning_rate": 0.01}
    whole, interrupted, resumed = Toy(), Interrupted(steps), Toy()
    expected, path = train(whole, **parameters), tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, resume=path, **parameters)
    history = train(resumed, resume=path, **parameters)
    assert same(whole, resumed) and timeless(history) == timeless(expected)
    assert len(resumed.progress) == 12 - steps + 1


def test_a_run_interrupted_again_and_again_ends_in_the_same_weights(train, tmp_path):
    whole, path, parameters = Toy(), tmp_path / "checkpoint.safetensors", {"checkpoint_seconds": 0}
    train(whole, **parameters)
    for _ in range(7):
        with pytest.raises(KeyboardInterrupt):
            train(Interrupted(2), resume=path, **parameters)
    resumed = Toy()
    train(resumed, resume=path, **parameters)
    assert same(whole, resumed) and len(resumed.progress) == 1


@pytest.fixture
def left(train, tmp_path):
    """The checkpoint of a run that was interrupted in its second epoch."""
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(7), resume=tmp_path / "checkpoint.safetensors", fingerprint="mine", checkpoint_seconds=0)
    return tmp_path / "checkpoint.safetensors"


def test_a_checkpoint_of_a_network_of_other_code_is_not_resumed(train, left, caplog):
    class Wider(Toy):
        def __init__(self):
            super().__init__()
            self.encoder.append(nn.Linear(16, 16))

    whole, resumed = Wider(), Wider()
    train(whole)
    with caplog.at_level("INFO"):
        train(resumed, resume=left, fingerprint="mine")
    assert "is of a network of other code: training from the beginning" in caplog.text and same(whole, resumed)


def test_a_resumed_run_reports_its_earlier_epochs_first(train, left, caplog):
    told = []
    with caplog.at_level(logging.INFO):
        history = train(
            Toy(), resume=left, fingerprint="mine", report=lambda metrics, step: told.append((step, metrics))
        )
    assert [step for step, _ in told] == [1, 2]
    assert told[0][1]["loss"] == history[0]["loss"] and "epoch" not in told[0][1]
    assert "resuming after step 6" in caplog.text


def test_going_on_with_other_threads_is_told(train, left, caplog, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 3)
    train(Toy(), resume=left, fingerprint="mine")
    assert f"{threads} threads began this training and {threads + 3} go on with it" in caplog.text


def test_a_checkpoint_with_another_fingerprint_is_not_resumed(train, left, caplog):
    direct, method = Toy(), Toy()
    train(direct)
    with caplog.at_level(logging.INFO):
        train(method, resume=left, fingerprint="another")
    assert same(direct, method) and "is of other data or parameters: training from the beginning" in caplog.text


def test_a_damaged_checkpoint_is_told_and_kept(train, left):
    left.write_bytes(left.read_bytes()[:-9])
    with pytest.raises(TrainingError, match="damaged .*: delete it to train from the beginning"):
        train(Toy(), resume=left, fingerprint="mine")
    assert left.exists()


def test_a_complete_training_is_not_repeated_from_its_checkpoint(train, left):
    first, again = Toy(), Toy()
    history = train(first, resume=left, fingerprint="mine")
    assert train(again, resume=left, fingerprint="mine") == history
    assert same(first, again) and not again.progress


def test_checkpoints_come_no_more_often_than_asked(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(7), resume=tmp_path / "checkpoint.safetensors", checkpoint_seconds=1000)
    assert not list(tmp_path.iterdir())


def test_checkpoints_that_take_long_come_less_often(train, tmp_path, monkeypatch):
    saved, save = [], checkpoint.save

    def slow(path, state):
        saved.append(state["step"])
        time.sleep(0.2)
        save(path, state)

    monkeypatch.setattr(checkpoint, "save", slow)
    train(Toy(), resume=tmp_path / "checkpoint.safetensors", checkpoint_seconds=1e-6)
    assert saved == [1, 8]


def test_the_seconds_of_a_resumed_run_go_on_from_those_before(train, left):
    history = train(Toy(), resume=left, fingerprint="mine")
    assert history[1]["seconds"] > history[0]["seconds"] > 0


def test_a_monitor_that_takes_long_is_in_the_seconds_and_not_in_the_speed_of_a_resumed_run_either(train, tmp_path):
    def slow(method):
        time.sleep(0.5)
        return {}

    alone = train(Toy())
    options = {"resume": tmp_path / "checkpoint.safetensors", "monitor": slow, "monitor_every": 1}
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(5), checkpoint_seconds=0, **options)
    history = train(Toy(), **options)
    assert history[0]["seconds"] > 1.0 and history[1]["seconds"] > 1.5  # two looks by then, and three
    assert all(row["images_per_second"] > alone[1]["images_per_second"] / 10 for row in history)
