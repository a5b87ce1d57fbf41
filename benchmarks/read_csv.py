"""Claim: reading Kaggle's train.csv against pandas, from the file to uint8 [42000, 28, 28].

    python benchmarks/read_csv.py [ROUNDS]

The file is MNIST in the competition's shape. The two take turns, so that other load on the machine
affects both; the first turn of each is not counted.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tenfold.data import kaggle_split, mnist, read, write_kaggle_folder


def with_tenfold(path):
    return read(path, labels=True).images


def with_pandas(path):
    import pandas as pd

    table = pd.read_csv(path)
    return table.drop(columns="label").to_numpy(np.uint8).reshape(-1, 28, 28)


def elapsed_s(reader, path):
    start = time.perf_counter()
    reader(path)
    return time.perf_counter() - start


def main(rounds):
    try:
        import pandas as pd
    except ModuleNotFoundError:
        sys.exit("this benchmark compares with pandas, which is not installed: pip install pandas")
    train, test = kaggle_split(*mnist(), seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.csv"
        write_kaggle_folder(path.parent, train, test)
        if not np.array_equal(with_tenfold(path), with_pandas(path)):
            sys.exit("tenfold and pandas read different images")
        turns = [
            (elapsed_s(with_tenfold, path), elapsed_s(with_pandas, path)) for _ in range(rounds)
        ]
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, pandas {pd.__version__}, "
        f"{os.cpu_count()} cores, {platform.machine()}, n = {rounds} each"
    )
    for name, times in zip(("tenfold", "pandas"), zip(*turns, strict=True), strict=True):
        print(
            f"{name:8} median {statistics.median(times):.3f} s, "
            f"range {min(times):.3f} to {max(times):.3f} s"
        )
    ratio = statistics.median(pandas / ours for ours, pandas in turns)
    print(f"pandas takes {ratio:.1f} times as long (median over the turns)")


if __name__ == "__main__":
    if "--help" in sys.argv[1:]:
        sys.exit(__doc__)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
