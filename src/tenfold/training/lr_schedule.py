"""The learning rate, as a plain function of how far training has come.

Nothing is remembered between steps, so there is nothing to save for `--resume`: the plateau
schedule and early stopping read the history that is saved anyway.
"""

import math
from collections.abc import Sequence

from tenfold.config import OptimizerConfig, ScheduleConfig


def learning_rate(
    schedule: ScheduleConfig,
    optimizer: OptimizerConfig,
    *,
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    accuracies: Sequence[float],
) -> float:
    """Return the learning rate of step `step`, counted from 0.

    Args:
        schedule: the recipe's choices.
        optimizer: holds the peak.
        step: how far training has come.
        total_steps: how many it will take.
        steps_per_epoch: its portions.
        accuracies: validation accuracy of each finished epoch.
    """
    return optimizer.learning_rate * _factor(
        schedule, step, total_steps, steps_per_epoch, accuracies
    )


def _factor(
    schedule: ScheduleConfig,
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    accuracies: Sequence[float],
) -> float:
    match schedule.name:
        case "one-cycle":
            return _one_cycle(schedule, step / total_steps)
        case "cosine":
            return _cosine(step / total_steps, schedule.min_lr_ratio)
        case "exponential":
            return float(schedule.gamma ** (step // steps_per_epoch))
        case "plateau":
            drops = plateau_drops(accuracies, schedule.patience_epochs)
            return float(max(schedule.gamma**drops, schedule.min_lr_ratio))
        case "constant":
            return 1.0


def _one_cycle(schedule: ScheduleConfig, progress: float) -> float:
    """Climb from a twenty-fifth to the peak, then fall along a cosine (L. Smith, 1708.07120)."""
    if progress < schedule.warmup_fraction:
        return 0.04 + 0.96 * progress / schedule.warmup_fraction
    return _cosine(
        (progress - schedule.warmup_fraction) / (1 - schedule.warmup_fraction),
        schedule.min_lr_ratio,
    )


def _cosine(progress: float, floor: float) -> float:
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


def plateau_drops(accuracies: Sequence[float], patience_epochs: int) -> int:
    """Count how often `patience_epochs` epochs in a row brought no better accuracy."""
    best, waited, drops = -math.inf, 0, 0
    for accuracy in accuracies:
        if accuracy > best:
            best, waited = accuracy, 0
        else:
            waited += 1
        if waited == patience_epochs:
            drops, waited = drops + 1, 0
    return drops


def epochs_since_best(accuracies: Sequence[float]) -> int:
    """Count the epochs since the first one that reached the best accuracy."""
    if not accuracies:
        return 0
    return len(accuracies) - 1 - list(accuracies).index(max(accuracies))
