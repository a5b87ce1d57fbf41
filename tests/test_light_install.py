"""The base install, which lacks PyTorch: what works there, and what the rest says."""

import subprocess
import sys

import pytest
from PIL import Image

from tenfold import models

# Nothing of the extra `train` can be imported, as where it is not installed.
WITHOUT_TRAIN = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in tenfold.cli.EXTRA_TRAIN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import tenfold.cli
sys.meta_path.insert(0, Absent())
tenfold.cli.main()
"""


def light(*arguments, cwd=None):
    command = [sys.executable, "-c", WITHOUT_TRAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_predict_check_and_score_need_no_pytorch(digits, digits_csv, tmp_path):
    Image.fromarray(255 - digits.images[1]).save(tmp_path / "digit.png")
    found = light("predict", tmp_path / "digit.png")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == f"{tmp_path / 'digit.png'}: {digits.label_names()[1]}\n"

    found = light("predict", digits_csv / "test.csv", "--out", tmp_path / "submission.csv")
    assert found.returncode == 0, found.stderr
    found = light("score", tmp_path / "submission.csv", digits_csv / "truth.csv")
    assert found.returncode == 0, found.stderr
    assert float(found.stdout.split()[1]) > 0.98

    found = light("check", digits_csv / "train.csv", digits_csv / "test.csv")
    assert found.returncode == 0, found.stderr
    assert "1,200 images" in found.stdout


def test_evaluate_takes_an_exported_model(digits_csv):
    found = light("evaluate", models.BOX, digits_csv / "train.csv")
    assert found.returncode == 0, found.stderr
    assert "confusion matrix" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["train", "train.csv"], "torch"),
        (["compare", "train.csv"], "torch"),
        (["predict", "run.safetensors", "digit.png"], "torch"),
    ],
)
def test_what_lacks_its_part_says_how_to_get_it(digits_csv, arguments, what):
    found = light(*arguments, cwd=digits_csv)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert what in found.stderr.lower().replace("pytorch", "torch")
    assert "pip install 'tenfold[train]'" in found.stderr
