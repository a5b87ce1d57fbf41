"""The same jobs on a Ray cluster: `--on ray`, or `--on ray://host:10001`.

Code and data are shipped once: our package as a module of the runtime environment, the supplies
as objects that each node fetches once and keeps under their checksum. On its node a job runs in a
process of its own, as it would here, and its folder comes back packed as the result; a job on a
GPU cluster gets a GPU. A node that is lost takes only its running jobs along, and Ray runs those
on another. Access needs Ray's token (RAY_AUTH_MODE=token, the default here); see docs/scaling.md.
"""

import hashlib
import io
import logging
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from tenfold.errors import JobError, TenfoldError
from tenfold.files import write_bytes
from tenfold.jobs.job import SKIPPED, Job, JobBatch, JobFailure, JobProcess
from tenfold.jobs.local import ATTEMPTS, killed_too_often

SECONDS_BETWEEN_LOOKS = 0.2
NODE_RETRIES = 3  # of a job whose node or worker was lost
CONNECT_RETRIES = 3  # asked for by a client that the cluster answers with a failure of its own

InputFiles = Sequence[tuple[str, str, list[Any]]]  # name, checksum, reference in a list of its own


class RayExecutor:
    """Jobs on the cluster at `on`: "ray" or "ray://host:port"."""

    def __init__(self, work: JobBatch, on: str) -> None:
        self._work, self._on = work, on
        self._waiting = list(work.jobs)
        self._running: dict[Any, Job] = {}

    def run(self) -> None:
        """See all jobs through, or until one fails or the user stops.

        Raises:
            JobError: Ray is not installed, or the cluster cannot be reached or was lost.
        """
        ray = connected(self._on)
        try:
            self._run_to_completion(ray)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise JobError(
                f"{self._on}: the cluster was lost ({_first_line(error)}); finished jobs are kept, "
                "the same command goes on from there"
            ) from error
        finally:
            ray.shutdown()

    def _run_to_completion(self, ray: Any) -> None:
        shipped: InputFiles = [_shipped(ray, path) for path in self._work.input_files]
        event_queue = _event_queue(ray)
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=NODE_RETRIES)(_on_a_node)
        while (self._waiting or self._running) and not self._work.stop.is_set():
            # Twice as many as there are cores: no core waits for the next job to be sent.
            most = 2 * int(ray.cluster_resources().get("CPU", 1))
            while len(self._running) < most and (job := self._next()) is not None:
                about = (job.task, dict(job.description), job.name)
                self._running[remote.remote(about, shipped, event_queue)] = job
            ended, _ = ray.wait(list(self._running), timeout=SECONDS_BETWEEN_LOOKS)
            self._pass_on(event_queue)
            goes_on = [self._take(self._running.pop(one), ray.get(one)) for one in ended]
            if not all(goes_on):
                break  # what else had ended is kept
        for reference in self._running:
            with suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=False)

    def _next(self) -> Job | None:
        """Take the next job that may still begin."""
        while self._waiting:
            job = self._waiting.pop(0)
            if self._work.may_start():
                return job
            self._work.hear(job, SKIPPED.message())
        return None

    def _pass_on(self, event_queue: Any) -> None:
        """Hand over what the jobs said."""
        from ray.util.queue import Empty  # noqa: PLC0415 - an optional extra

        by_id = {job.id: job for job in self._running.values()}
        with suppress(Empty):
            for identity, message in event_queue.get_nowait_batch(min(event_queue.qsize(), 1000)):
                if identity in by_id:
                    self._work.hear(by_id[identity], message)

    def _take(self, job: Job, packed: bytes | JobFailure) -> bool:
        """Keep what came back; tell whether to go on."""
        if isinstance(packed, JobFailure):
            self._work.hear(job, packed.message())
            return self._work.keep_going
        _unpack(packed, self._work.folder / job.id)
        self._work.hear(job, {"done": job.result(self._work.folder)})
        return True


def capacity(on: str) -> int:
    """Return how many jobs the cluster at `on` runs at a time: one on each GPU, else on each core.

    Raises:
        JobError: it cannot be reached.
    """
    ray = connected(on)
    try:
        resources = ray.cluster_resources()
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise JobError(f"{on}: the cluster was lost ({_first_line(error)})") from error
    finally:
        ray.shutdown()
    return max(1, int(resources.get("GPU") or resources.get("CPU", 1)))


def connected(on: str) -> Any:
    """Return the module ray, connected: to the cluster at `on`, a running one here, or a new one.

    Raises:
        JobError: it is not installed, or nobody answers.
    """
    if on != "ray" and not on.startswith("ray://"):
        raise JobError(f"--on {on}: expected here, ray or ray://host:port")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S", "5")  # of each of three tries
    try:
        import ray  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise JobError("--on ray needs Ray: pip install 'tenfold[ray]'") from error
    package = str(Path(__file__).parents[1])
    environment = {"py_modules": [package], "excludes": ["__pycache__"]}
    options: dict[str, Any] = {
        "runtime_env": environment,
        "logging_level": logging.ERROR,
        "log_to_driver": False,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, the sentence below says
            if on == "ray":
                _join_or_start(ray, options)
            else:
                _join_as_client(ray, on, options)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise JobError(
            f"--on {on}: the cluster cannot be reached ({_first_line(error)}); expected a running "
            "one whose address and token are right, or plain ray to start one here"
        ) from error
    return ray


def _join_or_start(ray: Any, options: Mapping[str, Any]) -> None:
    try:
        ray.init(address="auto", **options)
    except ConnectionError:
        ray.init(address="local", include_dashboard=False, **options)


def _join_as_client(ray: Any, on: str, options: Mapping[str, Any]) -> None:
    """Reach the cluster at `on`, which starts a process for each client.

    With Ray 2.60 that process now and then dies as it is forked, so the next is asked for.
    """
    for left in reversed(range(CONNECT_RETRIES)):
        try:
            ray.init(address=on, **options)
            return
        except ConnectionAbortedError:
            if not left:
                raise


def _event_queue(ray: Any) -> Any:
    """Make the queue of messages on the driver's own node: it must outlive all the others."""
    from ray.util.queue import Queue  # noqa: PLC0415 - an optional extra
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


def _shipped(ray: Any, path: Path) -> tuple[str, str, list[Any]]:
    """Put a file into the cluster's store; references in a list are passed on as they are."""
    content = path.read_bytes()
    return path.name, hashlib.sha256(content).hexdigest(), [ray.put(content)]


def _unpack(packed: bytes, folder: Path) -> None:
    """Make `folder` from what came back; it appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
        whole = Path(temporary) / "whole"
        whole.mkdir()  # for whom it is, the umask decides; a temporary folder is its owner's alone
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(whole)
        shutil.rmtree(folder, ignore_errors=True)
        whole.rename(folder)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


# On the node


def _on_a_node(
    about: tuple[str, dict[str, Any], str], input_files: InputFiles, event_queue: Any
) -> bytes | JobFailure:
    """Do one job in a process of its own; return its folder, packed."""
    task, description, name = about
    try:
        return _done(Job(task, description, name), _supplied(input_files), input_files, event_queue)
    except (TenfoldError, OSError) as error:  # the node's disk is full, for example
        return JobFailure(str(error))


def _done(job: Job, root: Path, input_files: InputFiles, event_queue: Any) -> bytes | JobFailure:
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    code = 0
    with tempfile.TemporaryDirectory(dir=root, prefix="work-") as work:
        for supply, _, _ in input_files:
            (Path(work) / supply).hardlink_to(root / supply)
        for _ in range(ATTEMPTS):
            process = JobProcess(job, Path(work), threads=1, environment=environment)
            try:
                for message in process.listen():
                    event_queue.put_nowait((job.id, dict(message)))
            except BaseException:  # cancelled: do not leave the process behind
                process.ask_to_stop()
                process.join()
                raise
            if job.is_done(Path(work)):
                return _packed(Path(work) / job.id)
            if (trouble := process.trouble()) is not None:
                return JobFailure(trouble)
            code = process.code
    return killed_too_often(code)


def _supplied(input_files: InputFiles) -> Path:
    """Return this node's folder with the supplies in it, fetched if nobody here has yet."""
    import ray  # noqa: PLC0415 - we are on a node of the cluster

    prints = "".join(f"{name}{checksum}" for name, checksum, _ in input_files)
    identity = hashlib.sha256(prints.encode()).hexdigest()[:16]
    root = Path(tempfile.gettempdir()) / f"tenfold-{os.getuid()}-{identity}"
    root.mkdir(mode=0o700, exist_ok=True)
    with FileLock(root / "lock"):
        for name, _, reference in input_files:
            if not (root / name).exists():
                content: Any = ray.get(reference[0])
                write_bytes(root / name, content)
    return root


def _packed(folder: Path) -> bytes:
    """Return all files of `folder` in one archive, less what only its process needed."""
    for name in ("lock", "job.json", "stderr.txt"):
        (folder / name).unlink(missing_ok=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return packed.getvalue()
