"""Several processes that train one network together, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m tenfold train train.csv --out runs/together

Every process holds all images and takes its share of each batch; gradients are averaged, and batch
normalisation counts over the whole batch, so the result is that of one process with the same batch,
within rounding. The first process, the leader, validates, keeps and tells; the others are silent.
Alone, all of this does nothing.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tenfold.device import Device
from tenfold.errors import RecipeError
from tenfold.jobs.job import rank_and_world_size


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one network.

    Attributes:
        rank: which of them this is, counted from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def detect(cls) -> "ProcessGroup":
        """Read from the environment what torchrun says.

        Raises:
            TenfoldError: it makes no sense.
        """
        return cls(*rank_and_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process keeps and tells; alone it does."""
        return self.rank == 0

    @contextmanager
    def joined(self, device: Device) -> Iterator[None]:
        """Meet the others, and part at the end."""
        if self.count == 1:
            yield
            return
        # Loaded later, it would keep the group for ever as a default argument, and a group whose
        # threads live when Python ends aborts its process now and then: PyTorch issue 190489.
        import torch.distributed.nn.functional  # noqa: PLC0415 - alone it is not needed

        if device.torch_device.type == "cuda":
            torch.cuda.set_device(device.torch_device)
        dist.init_process_group("nccl" if device.torch_device.type == "cuda" else "gloo")
        try:
            yield
        finally:
            gc.collect()  # what was wrapped holds the group too, and itself in a circle
            dist.destroy_process_group()

    def check(self, batch_size: int, name: str) -> None:
        """Make sure that a batch can be shared equally.

        Raises:
            RecipeError: it cannot.
        """
        if batch_size % self.count:
            problem = (
                f"training.batch_size is {batch_size}, expected a multiple of the {self.count} "
                "processes that share each batch"
            )
            raise RecipeError(name, [problem])

    def share(self, batch: int) -> slice:
        """Return which images of a batch are this process's."""
        each = batch // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def convert_sync_batchnorm(self, network: nn.Module) -> nn.Module:
        """Let the batch normalisation of `network` count over all processes' images."""
        if self.count > 1:
            for layer in list(network.modules()):
                for name, child in list(layer.named_children()):
                    if type(child) is nn.BatchNorm2d:
                        setattr(layer, name, SyncBatchNorm2d.like(child))
        return network

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return what to call in training: gradients are averaged on the way back."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, broadcast_buffers=False)

    def sum(self, values: Tensor) -> Tensor:
        """Add up over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool, device: Device) -> bool:
        """Tell whether any process says so: all stop at the same step, or none."""
        if self.count == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=device.torch_device)).item())

    def leaders(self, content: bytes, device: Device) -> bytes:
        """Return the leader's `content` to every process."""
        if self.count == 1:
            return content
        length = torch.tensor(len(content), device=device.torch_device)
        dist.broadcast(length, 0)
        values = torch.frombuffer(bytearray(content or b"\0"), dtype=torch.uint8)
        if not self.leads:
            values = torch.empty(max(1, int(length)), dtype=torch.uint8)
        values = values.to(device.torch_device)
        dist.broadcast(values, 0)
        return bytes(values.cpu().numpy().tobytes())[: int(length)]


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose statistics are those of all processes' images together.

    PyTorch's own for this, `SyncBatchNorm`, runs on GPUs alone. In evaluation it is the plain one.
    """

    @classmethod
    def like(cls, layer: nn.BatchNorm2d) -> "SyncBatchNorm2d":
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
