"""The training loop: one for every method, and it knows none of them by name."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from unlabeled.config import Pretraining
from unlabeled.errors import TrainingError
from unlabeled.method import Method
from unlabeled.runtime.counts import counted
from unlabeled.runtime.progress import bar
from unlabeled.storage import checkpoint
from unlabeled.training.batches import step_seed
from unlabeled.training.optimizers import build_optimizer, learning_rate, restore

logger = logging.getLogger(__name__)

CHECKPOINT_SHARE = 0.02
"""Of a training's time, what its checkpoints may take: gigabytes are saved less often than asked."""
REMEDY = "try a tenth of pretraining.learning_rate, a longer pretraining.warmup_epochs, or pretraining.clip_gradient=1"
"""Where numbers are not finite."""


class Supply(Protocol):
    """What the loop knows of its data."""

    unit: str
    """What the batches are counted in, in the plural."""
    device: torch.device
    steps_per_epoch: int
    batch_size: int

    def batch(self, step: int) -> tuple[object, ...]:
        """What the method eats at a step, on the device: a pure function of the step."""


Report = Callable[[dict[str, float], int], None]
Monitor = Callable[[Method], dict[str, float]]


def choose_device(name: str, key: str = "pretraining.device") -> torch.device:
    """The device of that name; `auto`: CUDA, else MPS, else the CPU. Where it is missing, TrainingError names `key`."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        raise TrainingError(f"{key}: received {name!r}, which this machine does not have; use auto or cpu")
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is fast there, not merely emulated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def pretrain(
    method: Method,
    supply: Supply,
    config: Pretraining,
    *,
    resume: Path | None = None,
    fingerprint: str = "",
    monitor: Monitor | None = None,
    report: Report | None = None,
    title: str = "pretraining",
) -> list[dict[str, float]]:
    """Trains `method` in place on batches of `supply`.

    Args:
        resume: Checkpoint to go on from and to leave; None: neither. That of a complete training stays, for whoever
            saves the result to remove.
        fingerprint: Of all that decides the weights; a checkpoint with another one is not resumed.
        monitor: Measures the method every `monitor_every` epochs and at the end; its `embedding_std` is watched,
            and each `…_embedding_std`: a run ends where one has collapsed at two looks in a row after the warm-up.
        report: Called with an epoch's metrics and its number, like `mlflow.log_metrics`; with those of a resumed
            training's earlier epochs first.
        title: Of the bar.

    Returns:
        A row of metrics for each epoch, counted from 1; `seconds` are since the beginning, all that a training does in
        them, and `…_per_second` is the epoch's steps alone.

    Raises:
        TrainingError: The loss is not finite, or the embedding has collapsed.
    """
    started = saved = time.perf_counter()
    device, per_epoch = supply.device, supply.steps_per_epoch
    steps = config.epochs * per_epoch
    warmup = min(round(config.warmup_epochs * per_epoch), steps // 2)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16(device))
    spacing = config.checkpoint_seconds
    look_every = 1 if device.type == "cpu" else 50  # looking at a loss waits for a GPU

    method.to(device, memory_format=torch.channels_last).train()  # ty: ignore[no-matching-overload]: torch's stubs lack it
    optimizer = build_optimizer(method, config)
    forward = torch.compile(method) if config.compile else method
    state = _resumed(resume, fingerprint, method, optimizer)
    untrained = state.get("untrained_spread")
    if monitor and untrained is None:
        untrained = {f"untrained_{name}": value for name, value in _spreads(monitor(method)).items()}
    step, history, losses, pending, timed = state["step"], state["history"], state["losses"], [], 0
    started -= max(state["seconds"], history[-1]["seconds"] if history else 0.0)  # an earlier release: of the epoch
    if report:
        for row in history:
            report(_measured(row), row["epoch"])
    note = summary_of(history[-1], supply.unit) if history else ""

    with (
        bar(title, steps, "steps", done=step) as progress,
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        began = time.perf_counter()
        while step < steps:
            rate = learning_rate(step, steps, warmup, config.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(step_seed(config.seed, 2, step))  # for a method that draws: masks, dropout
            batch = supply.batch(step)  # in float32
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = forward(*batch)
            loss.backward()
            if config.clip_gradient:
                torch.nn.utils.clip_grad_norm_(method.parameters(), config.clip_gradient)
            optimizer.step()
            optimizer.zero_grad()
            step, timed = step + 1, timed + 1
            method.after_step(step / steps)

            pending.append(loss.detach())
            if len(pending) == look_every or step % per_epoch == 0:
                losses += torch.stack(pending).tolist()
                _stop_if_not_finite(losses, step, rate)
                pending.clear()
            now = time.perf_counter()
            if step % per_epoch == 0:
                epoch = step // per_epoch
                row = {"epoch": epoch, "loss": sum(losses) / len(losses), "learning_rate": rate}
                row[f"{supply.unit}_per_second"] = timed * supply.batch_size / (now - began)
                row["seconds"] = now - started
                row |= method.gauges()
                note = summary_of(row, supply.unit)
                if monitor and (epoch % config.monitor_every == 0 or epoch == config.epochs):
                    row |= monitor(method) | (untrained or {})
                    looks = [earlier for earlier in history if earlier["epoch"] * per_epoch > warmup]
                    stop_if_collapsed(row, looks, step, rate, config)
                    row["seconds"] = time.perf_counter() - started
                history.append(row)
                if report:
                    report(_measured(row), epoch)
                losses, timed, began = [], 0, time.perf_counter()
            progress.advance(1, note)
            if resume and (step == steps or (not pending and now - saved >= spacing)):
                leaving = time.perf_counter()
                state = {"step": step, "history": history, "losses": losses, "seconds": leaving - started}
                state["untrained_spread"] = untrained
                _leave(resume, state, fingerprint, method, optimizer)
                saved = time.perf_counter()
                began += saved - leaving
                if spacing:
                    spacing = max(config.checkpoint_seconds, (saved - leaving) / CHECKPOINT_SHARE)
    return history


def tell(history: list[dict[str, float]], unit: str) -> None:
    """Says how a training went, by its history."""
    last = history[-1]
    epochs = counted(int(last["epoch"]), "epochs")
    logger.info("trained for %s in %.0f s%s", epochs, last["seconds"], summary_of(last, unit))


def _leave(path: Path, state: dict[str, Any], fingerprint: str, method: Method, optimizer: Optimizer) -> None:
    weights = {"method": method.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(path, {**state, **weights, "fingerprint": fingerprint, "threads": torch.get_num_threads()})


def _resumed(path: Path | None, fingerprint: str, method: Method, optimizer: Optimizer) -> dict[str, Any]:
    """Where to go on from, after putting it into `method` and `optimizer`; the beginning, where there is nothing."""
    beginning = {"step": 0, "history": [], "losses": [], "seconds": 0.0}
    if path is None or not path.exists():
        return beginning
    state = checkpoint.load(path)
    if state["fingerprint"] != fingerprint:
        logger.info("the checkpoint %s is of other data or parameters: training from the beginning", path)
        return beginning
    if _shapes(state["method"]) != _shapes(method.state_dict()):
        logger.info("the checkpoint %s is of a network of other code: training from the beginning", path)
        return beginning
    method.load_state_dict(state["method"])
    restore(optimizer, state["optimizer"])
    logger.info("resuming after step %d, from %s", state["step"], path)
    if state.get("threads", torch.get_num_threads()) != torch.get_num_threads():
        logger.warning(
            "%d threads began this training and %d go on with it: on a CPU its weights will differ in their last bits "
            "from those of a training by %d throughout (OMP_NUM_THREADS)",
            *(state["threads"], torch.get_num_threads(), state["threads"]),
        )
    return state


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _stop_if_not_finite(losses: list[float], step: int, rate: float) -> None:
    if math.isfinite(sum(losses)):
        return
    back = next(i for i, loss in enumerate(reversed(losses)) if not math.isfinite(loss))
    raise TrainingError(
        f"the loss is {losses[-1 - back]} at step {step - back}, at a learning rate of {rate:.2g}: {REMEDY}"
    )


def stop_if_collapsed(
    row: dict[str, float], earlier: list[dict[str, float]], step: int, rate: float, config: Pretraining
) -> None:
    """Raises TrainingError where a spread is that of a collapse, as it was at the look before: one may be a dip.

    Args:
        row: Of this look.
        earlier: Rows of the history that count, with a look or without; of a resumed run, too.
    """
    before = next((each for each in reversed(earlier) if _spreads(each)), {})
    for name, spread in _spreads(row).items():
        if not _is_collapsed(name, row, config):
            continue
        what = name.removesuffix("_std").replace("_", " ")
        said = (
            f"the {what} has collapsed at step {step}, at a learning rate of {rate:.2g}: its standard deviation is "
            f"{spread:.3f}, below pretraining.min_embedding_std={config.min_embedding_std:g}"
        )
        if not _is_collapsed(name, before, config):
            logger.warning("%s; at a second look in a row after the warm-up the run ends", said)
            continue
        raise TrainingError(
            f"{said}, as it was at the look before ({before[name]:.3f}); try a lower pretraining.learning_rate, a "
            f"larger pretraining.batch_size, or a weaker pretraining.weight_decay"
        )


def _is_collapsed(name: str, row: dict[str, float], config: Pretraining) -> bool:
    return name in row and config.is_collapsed(row[name], row.get(f"untrained_{name}"))


def _spreads(row: dict[str, float]) -> dict[str, float]:
    """Of the embedding; of several kinds of data, of each."""
    names = (name for name in row if name.endswith("embedding_std") and not name.startswith("untrained"))
    return {name: row[name] for name in names}


def _measured(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "epoch"}


def summary_of(row: dict[str, float], unit: str) -> str:
    """A row of the history in a few words, to follow others."""
    knn = f" · kNN {row['knn_accuracy']:.1%}" if "knn_accuracy" in row else ""
    return f" · loss {row['loss']:.3f} · {row[f'{unit}_per_second']:,.0f} {unit}/s{knn}"
