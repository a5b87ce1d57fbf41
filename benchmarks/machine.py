"""The machine of a measurement: its processor, cores and memory, and the versions.

`python benchmarks/machine.py` prints it; every other script here prints it beside its numbers.
"""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

LIBRARIES = ("tenfold", "torch", "numpy", "safetensors")
BF16_FLAGS = ("avx512_bf16", "avx_ne_convert", "amx_bf16", "bf16")  # the last one is Arm's
GIB = 2**30


def describe() -> dict:
    """Return the machine as plain values for JSON, with the date and the load at the moment."""
    model, flags = _processor()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "bf16": [flag for flag in BF16_FLAGS if flag in flags],
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | _versions(),
    }


def print_machine(machine: dict) -> None:
    """Print one line of hardware and one of versions."""
    bf16 = ", ".join(machine["bf16"]) or "none"
    print(
        f"{machine['date']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, bf16 instructions: {bf16}, "
        f"{machine['system']}, load before {machine['load_1min']}"
    )
    print(", ".join(f"{name} {version}" for name, version in machine["versions"].items()))


def _processor() -> tuple[str, set[str]]:
    """Return model name and instruction flags, where the system has them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or "unknown processor", set()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    flags = facts.get("flags", facts.get("Features", ""))
    return facts.get("model name", platform.machine()), set(flags.split())


def _cores() -> int | None:
    """Return the number of cores that this process may use, which can be fewer than all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    print_machine(describe())
