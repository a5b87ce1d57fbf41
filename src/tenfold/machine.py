"""The machine that does the arithmetic: which device, in which precision, with what beside it."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from tenfold.errors import TenfoldError
from tenfold.wording import counted

Piece = TypeVar("Piece")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Machine:
    """Where tensors live and how they are multiplied; the same code runs on each.

    Attributes:
        device: the first CUDA GPU if there is one, else the CPU.
        precision: "bf16" multiplies in bfloat16 and keeps weights in float32; "fp32" is plain.
    """

    device: torch.device
    precision: Literal["bf16", "fp32"]

    @classmethod
    def detect(cls, precision: str = "auto") -> "Machine":
        """Find the device; "auto" takes bf16 where the hardware has units for it.

        Emulated bf16 is slower than fp32, so a CPU must name AMX or AVX512-BF16.

        Raises:
            TenfoldError: torchrun started more processes here than there are GPUs.
        """
        device = torch.device("cpu")
        if torch.cuda.is_available():  # torchrun gives each of its processes one
            started_by_torchrun = "WORLD_SIZE" in os.environ
            mine = int(os.environ.get("LOCAL_RANK", "0")) if started_by_torchrun else 0
            gpus = torch.cuda.device_count()
            if mine >= gpus:
                raise TenfoldError(
                    f"torchrun started process {mine + 1} here, and GPUs are {gpus}: expected "
                    f"--nproc-per-node {gpus}, or CUDA_VISIBLE_DEVICES= to compute without"
                )
            device = torch.device("cuda", mine)
        if precision == "auto":
            precision = "bf16" if _multiplies_bf16(device) else "fp32"
        return cls(device, "bf16" if precision == "bf16" else "fp32")

    def place(self, network: nn.Module) -> nn.Module:
        """Move `network` to the device, its filters laid out as the convolutions read them."""
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        """Run the forward pass inside this: convolutions and products in `precision`."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    @contextmanager
    def reproducible(self) -> Iterator[None]:
        """Within this, equal seeds give equal results, and the caller's generators stay as is.

        Dropout draws from the global generators; cuDNN would choose its kernels by the clock.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        # Every flag has to be said: one left out would not stay as it is.
        flags = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with torch.random.fork_rng(devices), flags:
            yield

    def tensor(self, array: Any) -> Tensor:
        """Put a numpy array on the device, without a copy where that is possible."""
        return torch.from_numpy(array).to(self.device)

    def side_by_side(
        self, work: Callable[[Piece], Result], pieces: Sequence[Piece]
    ) -> Iterator[Result]:
        """Yield `work` of each of `pieces`, in their order.

        On a CPU every thread takes a piece of its own, which spares it the waiting for others
        after each layer: of small networks 1.2 times as many images are answered on two cores.
        """
        threads = torch.get_num_threads()
        if self.device.type == "cuda" or min(threads, len(pieces)) < 2:
            yield from map(work, pieces)
            return
        try:
            with ThreadPoolExecutor(threads, "piece", torch.set_num_threads, (1,)) as pool:
                yield from pool.map(work, pieces)
        finally:
            torch.set_num_threads(threads)  # PyTorch's own count is that of the last who set one

    @property
    def workers(self) -> int | None:
        """How many processes may train side by side: one on a GPU; None is one for each core."""
        return 1 if self.device.type == "cuda" else None

    def __str__(self) -> str:
        if self.device.type == "cuda":
            return f"{torch.cuda.get_device_name(self.device)}, {self.precision}"
        return f"{cpu_name()}, {counted(torch.get_num_threads(), 'thread')}, {self.precision}"

    def to_json(self) -> dict[str, Any]:
        """Describe machine and versions, for `environment.json`."""
        return {
            "device": str(self.device),
            "device_name": str(self),
            "precision": self.precision,
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "versions": {name: metadata.version(name) for name in ("tenfold", "torch", "numpy")},
        }


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


@cache
def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
