"""What this process may use of the machine: cores, memory, and what a container leaves of them.

Containers are limited by control groups, of version 1 or 2 (the kernel's admin-guide/cgroup-v1 and
cgroup-v2.rst). A group's limit also binds the groups inside it, so each is looked at, from the
process's own to the outermost that can be seen.
"""

import errno
import math
import os
import platform
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
SPIN_COUNT = "1000"  # of GNU's 300,000; none at all costs an idle machine a sixth
RESERVE_FRACTION = 0.05  # of all memory: with less free the system begins to swap, or to kill


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use, at least one.

    Where a quota allows less time than that of all cores, as many are returned as it takes to use
    it: two for one and a half. Which ones depends on the name of the host, so that the containers
    of a machine do not all take the first.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count() or 1))
    count = math.ceil(min([len(cores), *_cpu_quotas()]))
    count = min(max(count, 1), len(cores))
    start = zlib.crc32(platform.node().encode()) % (len(cores) - count + 1)
    return cores[start : start + count]


def shorten_spinning() -> None:
    """Have OpenMP's threads sleep soon while they wait for each other, unless the user chose.

    GNU's library, which PyTorch brings on Linux, lets them spin for long: on a busy machine they
    burn the time of the very threads that they wait for (docs/performance.md). It reads the
    environment when it is loaded, so this comes before torch; processes that are started inherit
    it.
    """
    if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT


def _cpu_quotas() -> Iterator[float]:
    """Yield the processor time that each group allows, in seconds per second."""
    for group in _groups("cpu"):
        with suppress(OSError, ValueError, IndexError):  # "max", or -1: no limit
            quota, period = map(int, (group / "cpu.max").read_text().split())
            if quota > 0:
                yield quota / max(period, 1)
        with suppress(OSError, ValueError):
            quota = int((group / "cpu.cfs_quota_us").read_text())
            if quota > 0:
                yield quota / max(int((group / "cpu.cfs_period_us").read_text()), 1)


def free_bytes() -> int:
    """Return how much memory is available: the machine's, or less where a container limits it."""
    import psutil  # noqa: PLC0415 - predicting needs none of it

    free = int(psutil.virtual_memory().available)
    for group, limit in _memory_limits():
        with suppress(OSError, ValueError):
            used = _read_number(group, "memory.current", "memory.usage_in_bytes")
            free = min(free, max(0, limit - used + _cached_bytes(group)))
    return free


def reserve_bytes() -> int:
    """Return how much memory should stay free."""
    import psutil  # noqa: PLC0415 - as above

    total = int(psutil.virtual_memory().total)
    return int(RESERVE_FRACTION * min([total, *(limit for _, limit in _memory_limits())]))


def _memory_limits() -> Iterator[tuple[Path, int]]:
    """Yield the groups that limit memory; version 1 writes a number near 2**63 for no limit."""
    for group in _groups("memory"):
        with suppress(OSError, ValueError):  # no such group, or "max"
            yield group, _read_number(group, "memory.max", "memory.limit_in_bytes")


def _read_number(group: Path, *names: str) -> int:
    """Read the first of the files `names` that there is."""
    path = next((group / name for name in names if (group / name).exists()), group / names[0])
    return int(path.read_text())


def _cached_bytes(group: Path) -> int:
    """Return how much of a group's memory holds cached files, which make room when need be."""
    found = dict(
        line.split(" ", 1) for line in (group / "memory.stat").read_text().splitlines() if line
    )
    return int(found.get("total_inactive_file", found.get("inactive_file", 0)))


def _groups(controller: str) -> Iterator[Path]:
    """Yield the control groups of this process for "cpu" or "memory", the innermost first."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    places = {CGROUP: "/"}
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            places[CGROUP] = path  # version 2
        elif controller in controllers.split(","):
            places |= {CGROUP / controllers: path, CGROUP / controller: path}
    for root, path in places.items():
        inner = Path(path.lstrip("/"))
        if ".." in inner.parts:  # outside of what this container can see
            inner = Path()
        yield from (root / each for each in (inner, *inner.parents))


# How libraries say it: PyTorch on a CPU, on a GPU, NumPy, onnxruntime, C++, and the loader.
_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|out of memory|Unable to allocate|Failed to allocate memory|bad_alloc"
    r"|Cannot allocate memory|failed to map segment|can't start new thread",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"(?:allocate|tried to allocate) ([\d.]+ ?(?:bytes|[KMGTPE]i?B))", re.IGNORECASE
)


def memory_sentence(error: BaseException) -> str | None:
    """Return a sentence on the memory that was needed; None if the error is another."""
    is_memory = (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        # Python's own C code now and then fails without saying why, when it gets no memory.
        or (isinstance(error, SystemError) and "without exception set" in str(error))
    )
    if not is_memory:
        can_be = isinstance(error, RuntimeError | ImportError | OSError)
        if not can_be or not _OUT_OF_MEMORY.search(str(error)):
            return None
    amounts = _AMOUNT.findall(str(error))
    needed = f"{_readable(amounts[-1])} more were needed" if amounts else "more was needed"
    free = "an unknown amount is free"
    with suppress(Exception):  # memory may be short for this, too
        free = f"{free_bytes() / 2**30:.1f} GiB of the machine are free"
    return (
        f"the memory does not suffice ({needed}, {free}, and `ulimit -v` may allow less), expected "
        "more of it, fewer images, or a smaller network or batch"
    )


def _readable(amount: str) -> str:
    """Return "18.0 GiB" of "19327352832 bytes"; what has another unit stays."""
    number, _, unit = amount.partition(" ")
    return f"{int(number) / 2**30:.2f} GiB" if unit == "bytes" and number.isdigit() else amount
