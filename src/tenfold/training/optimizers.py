"""Optimizers, learning-rate schedules, and the moving average of the weights.

build_optimizer   from the recipe to one of PyTorch's optimizers, or to Muon
lr_multiplier     the schedule, as a plain function of how far training has come
update_ema        the exponential moving average of the weights
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.config import OptimizerConfig, ScheduleConfig

# K. Jordan's coefficients: five terms of a polynomial that pulls every singular value towards 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 3  # as in airbench; the singular values end between about 0.7 and 1.2


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer of `model`; each group keeps its "initial_lr" for `set_lr`.

    Weight decay spares biases and normalisation: pulling a scale towards zero regularises
    nothing. RMSprop smooths by 0.9 with epsilon 1e-8, as Keras and both articles have it.
    """
    groups = _param_groups(model, config)
    lr, momentum = config.learning_rate, config.momentum
    match config.name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=True)
        case "muon":
            return Muon(groups, lr=lr, muon_momentum=momentum)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, alpha=0.9, eps=1e-8, momentum=momentum)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return every parameter that it changes, in the order of its state."""
    return [each for group in optimizer.param_groups for each in group["params"]]


def set_lr(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """Set the learning rate of every group to `multiplier` times its initial one."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * multiplier


def _param_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Return matrices with weight decay, vectors without and, for Muon, the filters last."""
    filters: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for weight in model.parameters():
        if config.name == "muon" and weight.ndim == 4 and weight.shape[1] > 1:
            filters.append(weight)
        else:
            (matrices if weight.ndim > 1 else vectors).append(weight)
    lr = config.learning_rate
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay, "initial_lr": lr},
        {"params": vectors, "weight_decay": 0.0, "initial_lr": lr},
    ]
    if filters:
        lr = config.muon_learning_rate
        groups.append({"params": filters, "weight_decay": 0.0, "initial_lr": lr})
    return groups


class Muon(torch.optim.AdamW):
    """AdamW for all but the filters of convolutions; those move by orthogonal matrices.

    A filter bank [out, in, k, k] is read as a matrix [out, in · k · k]; the direction of its step
    is the momentum's nearest orthogonal matrix, so that every combination of inputs learns at the
    same rate, the rare ones too. Its length is fixed, for batch normalisation divides it out
    anyway (K. Jordan et al., 'Muon: an optimizer for hidden layers in neural networks', 2024, in
    the form of his airbench, arXiv 2404.00498). The first convolution has one input channel,
    nothing to make orthogonal, and stays with AdamW. `torch.optim.Muon` takes matrices alone.

    Args:
        groups: the last one holds the filters.
        lr: of groups that have none of their own.
        muon_momentum: what is left of a filter's old momentum at each step.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, muon_momentum: float) -> None:
        super().__init__(groups, lr=lr, fused=True)
        self._momentum = muon_momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; gradients of the filters are used up."""
        *_, filters = self.param_groups
        gradients = [weight.grad for weight in filters["params"]]
        for weight in filters["params"]:
            weight.grad = None  # AdamW leaves weights without a gradient alone
        loss: float | None = super().step(closure)
        for weight, gradient in zip(filters["params"], gradients, strict=True):
            if gradient is not None:
                self._update_filter(weight, gradient, filters["lr"])
        return loss

    def _update_filter(self, weight: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # AdamW looks for one when a state is loaded
        momentum = state["momentum"].mul_(self._momentum).add_(gradient)
        nesterov = gradient.add(momentum, alpha=self._momentum)
        weight.mul_(len(weight) ** 0.5 / weight.norm())
        # channels_last memory is [out, k, k, in]: read that way, the matrix needs no copy.
        matrix = newton_schulz(nesterov.permute(0, 2, 3, 1).flatten(1))
        out, inputs, height, width = weight.shape
        weight.sub_(matrix.view(out, height, width, inputs).permute(0, 3, 1, 2), alpha=lr)


def newton_schulz(matrix: Tensor) -> Tensor:
    """Return roughly the nearest matrix with singular values of 1: float32 [rows, columns]."""
    a, b, c = NEWTON_SCHULZ
    is_wide = matrix.shape[0] <= matrix.shape[1]
    wide: Tensor = matrix if is_wide else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if is_wide else wide.T


@torch.no_grad()
def update_ema(ema_model: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the exponential moving average towards `model`: weights and batch statistics alike.

    The average generalises better than the last weights. Its first steps move faster, so that it
    does not remember the random start. `torch.optim.swa_utils.AveragedModel` copies the weights
    at its first step in place of averaging, so it is not used here.

    Args:
        ema_model: changed in place.
        model: as it is after this step.
        decay: what is left of the old average at each step, once warm.
        step: counted from 0.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    targets, sources = [], []
    for target, source in zip(_tensors(ema_model), _tensors(model), strict=True):
        if target.is_floating_point():
            targets.append(target)
            sources.append(source)
        else:
            target.copy_(source)  # the count of batches
    torch._foreach_lerp_(targets, sources, weight)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield weights and statistics; `state_dict` would take ten times as long, at every step."""
    return chain(model.parameters(), model.buffers())


def lr_multiplier(
    schedule: ScheduleConfig,
    *,
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    valid_accuracies: Sequence[float],
) -> float:
    """Return what the initial learning rates are multiplied by at `step`, counted from 0.

    Nothing is remembered between steps, so there is nothing to save for `--resume`: the plateau
    schedule reads the history that is saved anyway.

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
