"""What a job costs besides its work, on this machine and on Ray, by job and by byte shipped.

Jobs that do nothing give the cost of a job; jobs that read a file of some megabytes, and jobs
that leave a result of some, give the cost of a byte there and back. Ray is started on this machine,
so bytes travel through memory: a network adds its own time, see docs/scaling.md.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import machine
import ours

from tenfold.jobs import Job, run_jobs

TASKS = """
def nothing(description, folder, emit):
    return None

def read(description, folder, emit):
    return len((folder.parent / "input.bin").read_bytes())

def leave(description, folder, emit):
    (folder / "result.bin").write_bytes(b"x" * description["bytes"])
    return description["bytes"]
"""


def timed(jobs: list[Job], executor: str, input_bytes: int = 0) -> float:
    """Return the seconds from the call to the last result, in a new folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        input_files = []
        if input_bytes:
            input_files = [folder / "input.bin"]
            input_files[0].write_bytes(os.urandom(input_bytes))
        started = time.perf_counter()
        run_jobs(jobs, folder, executor=executor, input_files=input_files)
        return time.perf_counter() - started


def many(task: str, count: int, **description: int) -> list[Job]:
    return [Job(f"cost_tasks:{task}", {"n": n, **description}, f"{task} {n}") for n in range(count)]


def measure(executor: str, jobs: int, megabytes: int, rounds: int) -> dict[str, float]:
    """Return the seconds to begin, for each job, and for each GiB there and back; medians."""
    found: dict[str, list[float]] = {"begin": [], "job": [], "input": [], "result": []}
    for turn in range(rounds):
        one = timed(many("nothing", 1, turn=turn), executor)
        all_of_them = timed(many("nothing", jobs, turn=turn), executor)
        plain = timed(many("nothing", 2, turn=turn), executor)
        with_input = timed(many("read", 2, turn=turn), executor, megabytes * 2**20)
        left = timed(many("leave", 2, turn=turn, bytes=megabytes * 2**20), executor)
        each = (all_of_them - one) / (jobs - 1)
        found["job"].append(each)
        found["begin"].append(one - each)
        found["input"].append((with_input - plain) / megabytes * 1024)
        found["result"].append((left - plain) / (2 * megabytes) * 1024)
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of jobs and of bytes, here and on Ray.")
    parser.add_argument(
        "--executors", nargs="*", default=["local", "ray"], help="default: local ray"
    )
    parser.add_argument("--jobs", type=int, default=20, help="default 20")
    parser.add_argument("--megabytes", type=int, default=200, help="shipped (default 200)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()

    here = machine.describe()
    machine.print_machine(here)
    results = {}
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "cost_tasks.py").write_text(TASKS)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [name, os.environ.get("PYTHONPATH", "")])
        )
        for executor in options.executors:
            found = measure(executor, options.jobs, options.megabytes, options.rounds)
            results[executor] = found
            print(
                f"{executor}: {found['begin']:.1f} s to begin, {found['job']:.2f} s a job, "
                f"{found['input']:.2f} s a GiB of input files, {found['result']:.2f} s a GiB of "
                f"results (medians, n = {options.rounds})",
                flush=True,
            )
    if options.json:
        ours.save_json({"machine": here, **results}, options.json)


if __name__ == "__main__":
    main()
