"""Two processes that train one network, against one process with the same batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tenfold.errors import RecipeError
from tenfold.run_folder import RunFolder
from tenfold.training.distributed import ProcessGroup

SMALL = [
    "network.width=4", "training.max_epochs=2", "training.batch_size=64",
    "training.precision=fp32", "training.progressive_sizes=[]", "schedule.name=constant",
    "data.validation=0.25", "prediction.tta_shift_pixels=none", "optimizer.name=sgd",
    "optimizer.learning_rate=0.02",
]  # fmt: skip


def train(digits_csv: Path, out: Path, *more: str, processes: int) -> subprocess.CompletedProcess:
    start = ["-m", "tenfold"]
    if processes > 1:
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
                 *start]  # fmt: skip
    command = [sys.executable, *start, "train", str(digits_csv / "train.csv"), "--out", str(out)]
    command += [part for each in SMALL for part in ("--set", each)] + list(more)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISTRIBUTED_DEBUG": "OFF"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=False, env=environment
    )


def losses_of(out: Path) -> list[float]:
    lines = RunFolder(out).steps.read_text().splitlines()
    return [json.loads(line)["train_loss"] for line in lines]


GRADIENTS = """
import sys, torch
from pathlib import Path
import torch.nn.functional as F
from tenfold.device import Device
from tenfold.networks import build
from tenfold.recipe import Recipe
from tenfold.training.distributed import init_process_group

device = Device.detect("fp32")
with init_process_group(device) as group:
    recipe = Recipe.load("quick", overrides=["network.width=4"])
    network = device.to_device(build(recipe.network, image_size=24, n_classes=10, seed=0))
    network = group.convert_sync_batchnorm(network).train()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 1, 24, 24, generator=generator)
    labels = torch.randint(0, 10, (64,), generator=generator)
    shard = group.shard(64)
    model = group.wrap_ddp(network)  # must live until gradients are averaged
    F.cross_entropy(model(images[shard]), labels[shard]).backward()
    found = {name: value.grad for name, value in network.named_parameters()}
    found |= {name: value for name, value in network.named_buffers() if value.is_floating_point()}
    if group.is_main_process:
        from safetensors.torch import save_file
        save_file({name: value.contiguous() for name, value in found.items()}, sys.argv[1])
    del model
threads = [each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in threads if "gloo" in name], threads  # some abort at exit
"""


@pytest.fixture(scope="module")
def alone(digits_csv, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    done = train(digits_csv, out, processes=1)
    assert done.returncode == 0, done.stderr
    return out


def test_gradients_and_statistics_are_those_of_the_whole_batch(tmp_path):
    (tmp_path / "gradients.py").write_text(GRADIENTS)
    for count in (1, 2):
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        script = [str(tmp_path / "gradients.py"), str(tmp_path / f"{count}")]
        command = [sys.executable, *start, *script]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=100)
    one, two = load_file(tmp_path / "1"), load_file(tmp_path / "2")
    assert len(one) == 27
    for name, value in one.items():
        assert (value - two[name]).norm() <= 1e-4 * value.norm(), name


def test_two_processes_train_like_one_and_go_on_where_they_stopped(digits_csv, alone, tmp_path):
    out = tmp_path / "run"
    first = train(digits_csv, out, "--set", "training.max_epochs=1", processes=2)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("training on") == 1  # the second one is silent
    # After the first step, maxima and thresholds make much of a difference in the last digit.
    assert losses_of(out)[0] == pytest.approx(losses_of(alone)[0], rel=1e-5)
    done = train(digits_csv, out, "--resume", "--recipe", "quick", processes=2)
    assert done.returncode == 0, done.stderr
    assert "resumed after step" in done.stdout
    # Had the second process begun anew, the second epoch would know half of the first.
    for ours, theirs in zip(RunFolder(alone).history(), RunFolder(out).history(), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.05)
        assert ours["valid_loss"] == pytest.approx(theirs["valid_loss"], rel=0.05)
    assert (out / "report.html").is_file()


def test_a_batch_that_cannot_be_divided_error_message(digits_csv, tmp_path):
    more = ("--set", "training.batch_size=63")
    done = train(digits_csv, tmp_path / "run", *more, processes=2)
    assert done.returncode != 0
    assert "training.batch_size is 63, expected a multiple of the 2 processes" in done.stderr


def test_shards_make_the_batch():
    shards = [ProcessGroup(rank, 3).shard(12) for rank in range(3)]
    assert [list(range(12))[shard] for shard in shards] == [[0, 1, 2, 3], [4, 5, 6, 7],
                                                           [8, 9, 10, 11]]  # fmt: skip
    with pytest.raises(RecipeError, match="expected a multiple of the 3 processes"):
        ProcessGroup(0, 3).check_batch_size(10, "quick")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["run"], "expected `tenfold train`"),
        (["train", "x.csv", "--set", "ensemble.members=2"], "trains several networks"),
    ],
)
def test_what_several_processes_cannot_do(tmp_path, command, sentence):
    environment = os.environ | {"WORLD_SIZE": "2", "RANK": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tenfold", *command],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert sentence in done.stderr
