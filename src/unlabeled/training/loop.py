"""The training loop, which serves every method and knows none of them by name."""

from pathlib import Path

import torch

from unlabeled.config import Pretraining
from unlabeled.method import Method
from unlabeled.runtime.progress import bar
from unlabeled.training.batches import Supply, step_seed
from unlabeled.training.devices import has_bf16
from unlabeled.training.history import History, Monitor, Report
from unlabeled.training.optimizers import build_optimizer, learning_rate
from unlabeled.training.resume import Checkpoints


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
        resume: Checkpoint to resume from and to write; None: neither. After a complete training it stays until the
            caller, having saved the result, removes it.
        fingerprint: Digest of everything that decides the weights; a checkpoint with another one is not resumed.
        monitor: Measures the method every `monitor_every` epochs and at the end. A run ends where its `embedding_std`,
            or a `…_embedding_std`, has collapsed at two measurements in a row after the warm-up.
        report: Called with an epoch's metrics and its number, like `mlflow.log_metrics`; in a resumed training, first
            with those of the earlier epochs.
        title: Title of the progress bar.

    Returns:
        One row of metrics for each epoch, counted from 1. `seconds` counts everything since the beginning;
        `…_per_second` counts only the steps of the epoch.

    Raises:
        TrainingError: The loss is not finite, or the embedding has collapsed.
    """
    history = History(supply, config, monitor, report)
    checkpoints = Checkpoints(resume, fingerprint, config.checkpoint_seconds)
    device, steps = supply.device, history.steps
    bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16(device))

    method.to(device=device, memory_format=torch.channels_last).train()  # ty: ignore[no-matching-overload]  # torch's stubs lack it
    optimizer = build_optimizer(method, config)
    forward = torch.compile(method) if config.compile else method
    history.begin(checkpoints.load(method, optimizer), method)

    with (
        bar(title, steps, "steps", done=history.step) as progress,
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        while not history.is_complete:
            step = history.step
            rate = learning_rate(step, steps, history.warmup, config.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
            torch.manual_seed(step_seed(config.seed, 2, step))  # for a method with random draws: masks, dropout
            batch = supply.batch(step)  # in float32
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = forward(*batch)
            loss.backward()
            if config.clip_gradient:
                torch.nn.utils.clip_grad_norm_(method.parameters(), config.clip_gradient)
            optimizer.step()
            optimizer.zero_grad()
            method.after_step((step + 1) / steps)

            history.add(loss.detach(), rate, method)
            progress.advance(1, history.note())
            if resume and (history.is_complete or (history.is_settled and checkpoints.is_due())):
                history.pause(checkpoints.save(history.state(), method, optimizer))
    return history.rows
