"""Real digits for every test: MNIST through the ordinary cache, and small parts of it."""

from pathlib import Path

import numpy as np
import pytest

from tenfold import data
from tenfold.data import Dataset


@pytest.fixture(scope="session")
def mnist() -> tuple[Dataset, Dataset]:
    """MNIST itself, 60,000 and 10,000 images; the first run on a machine fetches it."""
    return data.mnist()


@pytest.fixture(scope="session")
def digits(mnist: tuple[Dataset, Dataset]) -> Dataset:
    """2,000 real, labelled digits of all ten classes, named "digits"."""
    return mnist[0].select(np.arange(2000), "digits")


@pytest.fixture(scope="session")
def digits_csv(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """A folder with train.csv (1,200 digits), test.csv (800), truth.csv and a sample submission.

    It is shared by all tests: copy a file before changing it.
    """
    folder = tmp_path_factory.mktemp("digits")
    first, second = digits.select(np.arange(1000)), digits.select(np.arange(1000, 2000))
    data.write_kaggle_folder(folder, *data.kaggle_split(first, second, seed=0))
    return folder


# These take the longest, a minute or so each: they start first, so that no process waits at the
# end for another that began one of them last. xdist gives whole files to its processes in the
# order of collection (--no-loadscope-reorder).
SLOW_FILES = (
    "test_shared_search.py", "test_search.py", "test_ensemble.py", "test_distributed.py",
    "test_cli.py", "test_ray.py", "test_compare.py", "test_run_report.py", "test_loop.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files; the order within a file stays."""
    order = {name: rank for rank, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
