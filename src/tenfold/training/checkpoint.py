"""The state of a training run between two steps, and its way to disk and back.

Randomness is a function of seed and step (see `batches.seed_of`) and the learning rate of step and
history, so weights, optimizer, step and history are all there is.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.errors import RecognizerError
from tenfold.tensors import load_tensors, save_tensors
from tenfold.training.progress import Epoch, Stretch

FORMAT = "tenfold-checkpoint-2"


@dataclass
class State:
    """All that changes while training runs.

    Attributes:
        network: the one that is trained.
        average: its moving average, or None.
        optimizer: with its moments.
        step: steps done.
        history: finished epochs.
        stretches: finished stretches of a few steps.
        sums: float64 [2, 3] of the running epoch and the running stretch: loss times images,
            correct answers, images.
        train_s: seconds of training in the running epoch.
    """

    network: nn.Module
    average: nn.Module | None
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: list[Epoch] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, 3, dtype=torch.float64))
    train_s: float = 0.0


def save(path: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Write `state` whole or not at all. `identity` says whose run it is.

    Raises:
        OutputError: the file cannot be written.
    """
    about = {
        "identity": dict(identity),
        "step": state.step,
        "train_s": state.train_s,
        "history": [asdict(epoch) for epoch in state.history],
        "stretches": [asdict(stretch) for stretch in state.stretches],
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(state).items()}
    save_tensors(path, tensors, FORMAT, about)


def restore(path: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Bring `state`, freshly built, to where the checkpoint at `path` left off.

    Raises:
        RecognizerError: the file is damaged, or belongs to another run than `identity`.
    """
    tensors, about = load_tensors(path, FORMAT)
    for key, value in identity.items():
        if about["identity"].get(key) != value:
            raise RecognizerError(
                f"{path}: belongs to a run that differs in {key}, expected the same to go on "
                "(only training.max_epochs may change)"
            )
    _restore_optimizer(state.optimizer, tensors)
    with torch.no_grad():
        for name, target in _tensors(state).items():
            if not name.startswith("optimizer."):
                target.copy_(tensors[name])
    state.step = about["step"]
    state.train_s = about["train_s"]
    state.history = [Epoch(**row) for row in about["history"]]
    state.stretches = [Stretch(**row) for row in about["stretches"]]


def _tensors(state: State) -> dict[str, Tensor]:
    """Name every tensor of the state; they share memory with it."""
    tensors = {"sums": state.sums}
    tensors |= {f"network.{name}": t for name, t in state.network.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{name}": t for name, t in state.average.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = value
    return tensors


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, kind = name.split(".")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                # Fused kernels walk weights and moments in memory order: the layouts must agree.
                tensor = torch.empty_like(parameter).copy_(tensor)  # noqa: PLW2901
            moments.setdefault(int(index), {})[kind] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
