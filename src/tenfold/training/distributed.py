"""Several processes that train one network together, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m tenfold train train.csv --out runs/distributed

Every process holds all images and takes its shard of each batch; gradients are averaged, and batch
normalisation counts over the whole batch, so the result is that of one process with the same batch,
within rounding. The main process, rank 0, validates, saves and prints; the others are silent.
With one process, all of this does nothing.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tenfold.device import Device
from tenfold.errors import RecipeError
from tenfold.jobs.job import rank_and_world_size

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one network; `init_process_group` makes it.

    Attributes:
        rank: of this process, from 0.
        world_size: how many processes there are.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process validates, saves and prints."""
        return self.rank == 0

    @property
    def seed_suffix(self) -> tuple[int, ...]:
        """What tells this process's dropout from that of the others; nothing for a single one."""
        return (self.rank,) if self.world_size > 1 else ()

    def check_batch_size(self, batch_size: int, recipe: str) -> None:
        """Make sure that a batch can be divided equally.

        Raises:
            RecipeError: it cannot; `recipe` names it.
        """
        if batch_size % self.world_size:
            problem = (
                f"training.batch_size is {batch_size}, expected a multiple of the "
                f"{self.world_size} processes that share each batch"
            )
            raise RecipeError(recipe, [problem])

    def shard(self, batch_size: int) -> slice:
        """Return which images of a batch belong to this process."""
        size = batch_size // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def convert_sync_batchnorm(self, model: nn.Module) -> nn.Module:
        """Let the batch normalisation of `model` count over all processes' images."""
        if self.world_size > 1:
            for layer in list(model.modules()):
                for name, child in list(layer.named_children()):
                    if type(child) is nn.BatchNorm2d:
                        setattr(layer, name, SyncBatchNorm2d.convert(child))
        return model

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """Return what to call in training: gradients are averaged in the backward pass."""
        if self.world_size == 1:
            return model
        return DistributedDataParallel(model, broadcast_buffers=False)

    def all_reduce(self, values: Tensor) -> Tensor:
        """Add up over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def any_rank(self, flag: bool, device: Device) -> bool:
        """Whether `flag` is set in any process: all stop at the same step, or none."""
        if self.world_size == 1:
            return flag
        return bool(self.all_reduce(torch.tensor(float(flag), device=device.torch_device)).item())

    def broadcast(self, value: T) -> T:
        """Return the main process's `value` in every process."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


@contextmanager
def init_process_group(device: Device) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, and leave them at the end.

    Raises:
        TenfoldError: what torchrun says in the environment makes no sense.
    """
    group = ProcessGroup(*rank_and_world_size())
    if group.world_size == 1:
        yield group
        return
    # Loaded later, it would keep the group for ever as a default argument, and a group whose
    # threads live when Python ends aborts its process occasionally: PyTorch issue 190489.
    import torch.distributed.nn.functional  # noqa: PLC0415 - a single process does not need it

    if device.torch_device.type == "cuda":
        torch.cuda.set_device(device.torch_device)
    dist.init_process_group("nccl" if device.torch_device.type == "cuda" else "gloo")
    try:
        yield group
    finally:
        gc.collect()  # the wrapped model holds the group too, and itself in a circle
        dist.destroy_process_group()


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with the statistics of all processes' images together.

    PyTorch's own for this, `SyncBatchNorm`, runs on GPUs alone. In evaluation it is the plain one.
    """

    @classmethod
    def convert(cls, layer: nn.BatchNorm2d) -> "SyncBatchNorm2d":
        """Return one with the very parameters and statistics of `layer`."""
        made = cls(layer.num_features, layer.eps, layer.momentum)
        made.weight, made.bias = layer.weight, layer.bias
        made.running_mean, made.running_var = layer.running_mean, layer.running_var
        made.num_batches_tracked = layer.num_batches_tracked
        return made.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise float [N, C, H, W] by the mean and variance of each channel."""
        if not self.training:
            return super().forward(input)
        from torch.distributed.nn.functional import all_reduce  # noqa: PLC0415 - starts dist

        values = input.float()
        over = (0, 2, 3)
        count = values.numel() // values.shape[1] * dist.get_world_size()
        sums = torch.stack([values.sum(over), values.square().sum(over)])
        mean, square = all_reduce(sums) / count  # type: ignore[no-untyped-call]
        variance = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        normal: Tensor = values * scale[:, None, None] + shift[:, None, None]
        return normal.to(input.dtype)
