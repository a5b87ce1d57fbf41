"""An executor on a Ray cluster: `--executor ray`, or `--executor ray://host:10001`.

Code and data are shipped once: this package as a module of the runtime environment, the input
files as objects that each node fetches once and keeps under their checksum. On its node a job runs
in a process of its own, as on this machine, and its folder comes back packed as the result; a job
on a GPU cluster gets a GPU. A node that is lost takes only its running jobs along, and Ray runs
those on another. Access needs Ray's token (RAY_AUTH_MODE=token, the default here); see
docs/scaling.md.
"""

import hashlib
import io
import logging
import os
import shutil
import tempfile
import time
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from tenfold.errors import JobError, TenfoldError
from tenfold.files import write_bytes
from tenfold.formatting import first_line
from tenfold.jobs.job import SKIPPED, Job, JobBatch, JobFailure
from tenfold.jobs.local import MAX_ATTEMPTS, killed_failure
from tenfold.jobs.process import JobProcess

POLL_INTERVAL_S = 0.2
KEEP_INPUTS_S = 24 * 3600.0  # on a node, for the next run with the same data
NODE_RETRIES = 3  # of a job whose node or worker was lost
CONNECT_RETRIES = 3  # of a client whose server process died as it was started

InputFiles = Sequence[tuple[str, str, list[Any]]]  # name, sha256, [reference to the content]


class RayExecutor:
    """Runs jobs on a Ray cluster.

    Args:
        address: "ray" for a cluster that runs on this machine, or a new one; "ray://host:port".
    """

    is_remote = True

    def __init__(self, address: str) -> None:
        self._address = address

    def __str__(self) -> str:
        return self._address

    def max_concurrent_jobs(self, workers: int | None = None) -> int:
        """Return how many jobs the cluster runs at a time: one per GPU, else one per core.

        Raises:
            JobError: it cannot be reached.
        """
        del workers  # of this machine
        ray = connect(self._address)
        try:
            resources = ray.cluster_resources()
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise JobError(
                f"{self._address}: the cluster was lost ({first_line(error)})"
            ) from error
        finally:
            ray.shutdown()
        return max(1, int(resources.get("GPU") or resources.get("CPU", 1)))

    def run(self, batch: JobBatch) -> None:
        """Run all jobs to completion, or until one fails or the user stops.

        Raises:
            JobError: Ray is not installed, or the cluster cannot be reached or was lost.
        """
        ray = connect(self._address)
        try:
            _run_batch(ray, batch)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise JobError(
                f"{self._address}: the cluster was lost ({first_line(error)}); finished jobs are "
                "kept, the same command resumes from them"
            ) from error
        finally:
            ray.shutdown()


def _run_batch(ray: Any, batch: JobBatch) -> None:
    """Send jobs to the cluster and collect what comes back."""
    input_files: InputFiles = [_upload(ray, path) for path in batch.input_files]
    event_queue = _event_queue(ray)
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=NODE_RETRIES)(_run_on_node)
    waiting, running = list(batch.jobs), dict[Any, Job]()
    while (waiting or running) and not batch.should_stop:
        # Twice as many as there are cores: no core waits for the next job to be sent.
        max_running = 2 * int(ray.cluster_resources().get("CPU", 1))
        while len(running) < max_running and (job := _next_job(waiting, batch)) is not None:
            spec = (job.task, dict(job.description), job.name)
            running[remote.remote(spec, input_files, event_queue)] = job
        finished, _ = ray.wait(list(running), timeout=POLL_INTERVAL_S)
        _dispatch_events(event_queue, {job.id: job for job in running.values()}, batch)
        for reference in finished:
            _collect(running.pop(reference), ray.get(reference), batch)
    for reference in running:
        with suppress(ray.exceptions.RayError):
            ray.cancel(reference, force=False)


def _next_job(waiting: list[Job], batch: JobBatch) -> Job | None:
    """Take the next job that may still start, and skip those that may not."""
    while waiting:
        job = waiting.pop(0)
        if batch.may_start():
            return job
        batch.report_failure(job, SKIPPED)
    return None


def _dispatch_events(event_queue: Any, jobs_by_id: Mapping[str, Job], batch: JobBatch) -> None:
    """Report the progress that tasks on the nodes emitted."""
    from ray.util.queue import Empty  # noqa: PLC0415 - an optional extra

    with suppress(Empty):
        for job_id, progress in event_queue.get_nowait_batch(min(event_queue.qsize(), 1000)):
            if job_id in jobs_by_id:
                batch.report_progress(jobs_by_id[job_id], progress)


def _collect(job: Job, packed: bytes | JobFailure, batch: JobBatch) -> None:
    """Keep the folder that came back, and report the end or failure of the job."""
    if isinstance(packed, JobFailure):
        batch.report_failure(job, packed)
    else:
        _unpack(packed, batch.folder / job.id)
        batch.report_end(job)


def connect(address: str) -> Any:
    """Return the module ray, connected to the cluster at `address`, a running or a new local one.

    Raises:
        JobError: Ray is not installed, or the cluster does not answer.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S", "5")  # of each of three attempts
    try:
        import ray  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise JobError("--executor ray needs Ray: pip install 'tenfold[ray]'") from error
    package = str(Path(__file__).parents[1])
    environment = {"py_modules": [package], "excludes": ["__pycache__"]}
    options: dict[str, Any] = {
        "runtime_env": environment,
        "logging_level": logging.ERROR,
        "log_to_driver": False,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error message below says what it warns of
            if address == "ray":
                _join_or_start(ray, options)
            else:
                _join_as_client(ray, address, options)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise JobError(
            f"--executor {address}: the cluster cannot be reached ({first_line(error)}); expected "
            "a running one whose address and token are right, or plain ray to start one here"
        ) from error
    return ray


def _join_or_start(ray: Any, options: Mapping[str, Any]) -> None:
    try:
        ray.init(address="auto", **options)
    except ConnectionError:
        ray.init(address="local", include_dashboard=False, **options)


def _join_as_client(ray: Any, address: str, options: Mapping[str, Any]) -> None:
    """Connect to the cluster at `address`, which starts a server process for each client.

    With Ray 2.60 that process occasionally dies as it is forked, so it is asked for again.
    """
    for retries_left in reversed(range(CONNECT_RETRIES)):
        try:
            ray.init(address=address, **options)
            return
        except ConnectionAbortedError:
            if not retries_left:
                raise


def _event_queue(ray: Any) -> Any:
    """Make a queue for progress on the driver's own node: it must outlive all the others."""
    from ray.util.queue import Queue  # noqa: PLC0415 - an optional extra
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": this_node})


def _upload(ray: Any, path: Path) -> tuple[str, str, list[Any]]:
    """Put a file into the cluster's store; Ray passes on references in a list unresolved."""
    content = path.read_bytes()
    return path.name, hashlib.sha256(content).hexdigest(), [ray.put(content)]


def _unpack(packed: bytes, folder: Path) -> None:
    """Make `folder` from what came back; it appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
        complete = Path(temporary) / "complete"
        complete.mkdir()  # with the umask's mode; a temporary folder is closed to other users
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(complete)
        shutil.rmtree(folder, ignore_errors=True)
        complete.rename(folder)


# On the node


def _run_on_node(
    spec: tuple[str, dict[str, Any], str], input_files: InputFiles, event_queue: Any
) -> bytes | JobFailure:
    """Run one job in a process of its own; return its folder, packed."""
    task, description, name = spec
    job = Job(task, description, name)
    try:
        return _run_process(job, _fetch(input_files), input_files, event_queue)
    except (TenfoldError, OSError) as error:  # the node's disk is full, for example
        return JobFailure(str(error))


def _run_process(
    job: Job, root: Path, input_files: InputFiles, event_queue: Any
) -> bytes | JobFailure:
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    exit_code = 0
    with tempfile.TemporaryDirectory(dir=root, prefix="work-") as name:
        folder = Path(name)
        for file, _, _ in input_files:
            (folder / file).hardlink_to(root / file)
        for _ in range(MAX_ATTEMPTS):
            process = JobProcess(job, folder, threads=1, environment=environment)
            try:
                for progress in process.progress():
                    event_queue.put_nowait((job.id, dict(progress)))
            except BaseException:  # cancelled: do not leave the process behind
                process.terminate()
                process.join()
                raise
            if job.is_done(folder):
                return _pack(folder / job.id)
            if (failure := process.failure()) is not None:
                return failure
            exit_code = process.exit_code
    return killed_failure(exit_code)


def _fetch(input_files: InputFiles) -> Path:
    """Return this node's folder of input files, fetched unless an earlier job has done so."""
    import ray  # noqa: PLC0415 - an optional extra, installed on every node

    checksums = "".join(f"{name}{checksum}" for name, checksum, _ in input_files)
    identity = hashlib.sha256(checksums.encode()).hexdigest()[:16]
    root = Path(tempfile.gettempdir()) / f"tenfold-{os.getuid()}-{identity}"
    root.mkdir(mode=0o700, exist_ok=True)
    os.utime(root)
    _remove_old_inputs(root)
    with FileLock(root / "lock"):
        for name, _, reference in input_files:
            if not (root / name).exists():
                content: Any = ray.get(reference[0])
                write_bytes(root / name, content)
    return root


def _remove_old_inputs(root: Path) -> None:
    """Remove the input files of earlier runs that no job has used for a day."""
    prefix = root.name.rpartition("-")[0]
    for folder in root.parent.glob(f"{prefix}-*"):
        with suppress(OSError):
            is_old = time.time() - folder.stat().st_mtime > KEEP_INPUTS_S
            if folder != root and is_old and not list(folder.glob("work-*")):
                shutil.rmtree(folder)


def _pack(folder: Path) -> bytes:
    """Return all files of `folder` as one archive, without those that only the process needed."""
    for name in ("lock", "job.json", "stderr.txt"):
        (folder / name).unlink(missing_ok=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return packed.getvalue()
