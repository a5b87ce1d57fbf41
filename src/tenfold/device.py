"""Where tensors live and how they are multiplied: device, precision, memory layout, threads."""

import os
import platform
import threading
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
from tenfold.formatting import pluralize
from tenfold.machine import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Device:
    """A CPU or GPU with a precision; the same code runs on each.

    Attributes:
        torch_device: the first CUDA GPU if there is one, else the CPU.
        precision: "bf16" multiplies in bfloat16 and keeps weights in float32; "fp32" is plain.
    """

    torch_device: torch.device
    precision: Literal["bf16", "fp32"]

    @classmethod
    def detect(cls, precision: str = "auto") -> "Device":
        """Find the device; "auto" takes bf16 where the hardware has units for it.

        Emulated bf16 is slower than fp32, so a CPU must name AMX or AVX512-BF16.

        Raises:
            TenfoldError: torchrun started more processes here than there are GPUs.
        """
        _respect_quota()
        device = torch.device("cpu")
        if torch.cuda.is_available():  # torchrun gives each of its processes one
            started_by_torchrun = "WORLD_SIZE" in os.environ
            local_rank = int(os.environ.get("LOCAL_RANK", "0")) if started_by_torchrun else 0
            gpus = torch.cuda.device_count()
            if local_rank >= gpus:
                raise TenfoldError(
                    f"torchrun started process {local_rank + 1} here, of {gpus} GPUs: expected "
                    f"--nproc-per-node {gpus}, or CUDA_VISIBLE_DEVICES= to compute without"
                )
            device = torch.device("cuda", local_rank)
        if precision == "auto":
            precision = "bf16" if _multiplies_bf16(device) else "fp32"
        return cls(device, "bf16" if precision == "bf16" else "fp32")

    def to_device(self, model: nn.Module) -> nn.Module:
        """Move `model` to the device, its filters laid out as the convolutions read them."""
        return model.to(self.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def autocast(self) -> AbstractContextManager[Any]:
        """Run the forward pass inside this: convolutions and products in `precision`."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.torch_device.type, torch.bfloat16, enabled=enabled)

    @contextmanager
    def deterministic(self) -> Iterator[None]:
        """Within this, equal seeds give equal results, and the caller's generators stay as is.

        Dropout draws from the global generators; cuDNN would choose its kernels by the clock.
        """
        devices = [self.torch_device] if self.torch_device.type == "cuda" else []
        # Every flag is given: an omitted one is reset to its default.
        flags = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with torch.random.fork_rng(devices), flags:
            yield

    def from_numpy(self, array: Any) -> Tensor:
        """Put a numpy array on the device, without a copy where that is possible."""
        return torch.from_numpy(array).to(self.torch_device)

    def parallel_map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        """Yield `function` of each of `items`, in their order.

        On a CPU each item is computed by one thread, which spares the waiting for other threads
        after each layer: small networks predict 1.2 times as many images on two cores.
        """
        threads = torch.get_num_threads()
        if self.torch_device.type == "cuda" or min(threads, len(items)) < 2:
            return map(function, items)
        return _single_threaded_workers(threads).map(function, items)

    @property
    def workers(self) -> int | None:
        """How many processes may train at once: one on a GPU; None is one for each core."""
        return 1 if self.torch_device.type == "cuda" else None

    def __str__(self) -> str:
        if self.torch_device.type == "cuda":
            return f"{torch.cuda.get_device_name(self.torch_device)}, {self.precision}"
        return f"{cpu_name()}, {pluralize(torch.get_num_threads(), 'thread')}, {self.precision}"

    def to_json(self) -> dict[str, Any]:
        """Describe machine and versions, for `environment.json`."""
        return {
            "device": str(self.torch_device),
            "device_name": str(self),
            "precision": self.precision,
            "cpu": cpu_name(),
            "cores": len(usable_cores()),
            "threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "versions": {name: metadata.version(name) for name in ("tenfold", "torch", "numpy")},
        }


def _respect_quota() -> None:
    """Let PyTorch start no more threads than a container's quota has time for: they would stall.

    It knows of cores, but not of quotas.
    """
    cores = len(usable_cores())
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


_workers: dict[tuple[int, int], ThreadPoolExecutor] = {}  # by process id and count
_workers_lock = threading.Lock()


def _single_threaded_workers(count: int) -> ThreadPoolExecutor:
    """Return `count` threads that compute with one thread each, kept for the life of the process.

    A forked process has none of its parent's threads, and starts its own.
    """
    with _workers_lock:
        key = os.getpid(), count
        if key not in _workers:
            _workers[key] = _start_workers(count)
        return _workers[key]


def _start_workers(count: int) -> ThreadPoolExecutor:
    """Start the threads; the thread counts of all others stay as they are.

    `torch.set_num_threads` speaks for the thread that calls it and for those that have not used
    PyTorch yet. So what it says to the latter is set again, by a thread of its own.
    """
    started = threading.Barrier(count + 1)

    def start() -> None:
        torch.get_num_threads()  # at its first use a thread takes the count of the process
        torch.set_num_threads(1)
        started.wait()

    with ThreadPoolExecutor(1) as fresh:
        count_of_process = fresh.submit(torch.get_num_threads).result()
    workers = ThreadPoolExecutor(count, "predict", start)
    try:
        for _ in range(count):
            workers.submit(int)  # a pool starts a thread for each of its first tasks
        started.wait()
    except BaseException:
        started.abort()
        workers.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        with ThreadPoolExecutor(1) as fresh:
            fresh.submit(torch.set_num_threads, count_of_process).result()
    return workers


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


@cache
def cpu_name() -> str:
    """Return the processor's name as the system reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
