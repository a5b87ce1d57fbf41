"""How much memory is free, on this machine or in the container that we are in."""

from contextlib import suppress
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")  # of version 2
RESERVE = 0.05  # of all memory: with less the system begins to swap, or to kill


def free_bytes() -> int:
    """Return how much memory can still be had: the machine's, or less where a container says so."""
    free = int(psutil.virtual_memory().available)
    try:
        most = _limit()
        taken = int((CGROUP / "memory.current").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        given_back = int(dict(line.split() for line in lines)["inactive_file"])  # cached files
    except (OSError, ValueError, KeyError):  # no container, or "max": no limit
        return free
    return min(free, max(0, most - taken + given_back))


def reserve_bytes() -> int:
    """Return what should stay free."""
    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # as above
        total = min(total, _limit())
    return int(RESERVE * total)


def _limit() -> int:
    """Return what the container allows; where there is none, or no limit, that is an error."""
    return int((CGROUP / "memory.max").read_text())


def used_by(pid: int) -> int:
    """Return the memory that a process holds; 0 if it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
