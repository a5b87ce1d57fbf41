"""The learning rate, as a plain function of how far training has come.

Nothing is remembered between steps, so there is nothing to save for `--resume`: the plateau
schedule and early stopping read the history that is saved anyway.
"""

import math
from collections.abc import Sequence

from tenfold.config import ScheduleConfig


def lr_multiplier(
    schedule: ScheduleConfig,
    *,
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    valid_accuracies: Sequence[float],
) -> float:
    """Return what the initial learning rates are multiplied by at `step`, counted from 0.

    Args:
        schedule: of the recipe.
        step: how far training has come.
        total_steps: how many steps it takes.
        steps_per_epoch: how many of them are one epoch.
        valid_accuracies: validation accuracy of each finished epoch.
    """
    match schedule.name:
        case "one-cycle":
            return _one_cycle(schedule, step / total_steps)
        case "cosine":
            return _cosine(step / total_steps, schedule.min_lr_ratio)
        case "exponential":
            return float(schedule.gamma ** (step // steps_per_epoch))
        case "plateau":
            drops = plateau_drops(valid_accuracies, schedule.patience_epochs)
            return float(max(schedule.gamma**drops, schedule.min_lr_ratio))
        case "constant":
            return 1.0


def _one_cycle(schedule: ScheduleConfig, progress: float) -> float:
    """Climb from a twenty-fifth to the peak, then fall along a cosine (L. Smith, 1708.07120)."""
    if progress < schedule.warmup_fraction:
        return 0.04 + 0.96 * progress / schedule.warmup_fraction
    falling = (progress - schedule.warmup_fraction) / (1 - schedule.warmup_fraction)
    return _cosine(falling, schedule.min_lr_ratio)


def _cosine(progress: float, min_lr_ratio: float) -> float:
    return min_lr_ratio + (1 - min_lr_ratio) * (1 + math.cos(math.pi * progress)) / 2


def plateau_drops(valid_accuracies: Sequence[float], patience_epochs: int) -> int:
    """Count how often `patience_epochs` epochs in a row brought no better accuracy."""
    best, waited, drops = -math.inf, 0, 0
    for accuracy in valid_accuracies:
        if accuracy > best:
            best, waited = accuracy, 0
        else:
            waited += 1
        if waited == patience_epochs:
            drops, waited = drops + 1, 0
    return drops


def epochs_since_best(valid_accuracies: Sequence[float]) -> int:
    """Count the epochs since the first one that reached the best accuracy."""
    if not valid_accuracies:
        return 0
    return len(valid_accuracies) - 1 - list(valid_accuracies).index(max(valid_accuracies))
