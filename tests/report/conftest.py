"""Pages of a made-up search and a made-up comparison."""

from itertools import combinations

import numpy as np
import pytest

from tenfold.report.experiment_report import write_compare_page, write_search_page


@pytest.fixture(scope="session")
def search_told():
    """What a search.json holds: twelve trials, one of which failed."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(12):
        rate = float(10 ** rng.uniform(-4, -2))
        values = {
            "optimizer.learning_rate": rate,
            "network.hidden": [[32], [64, 64]][number % 2],
            "training.batch_size": int(rng.integers(32, 256)),
        }
        right = int(900 + 90 * rng.random())
        rungs = 0 if number == 5 else 3 if number == 7 else 2 if number in {1, 2} else 1
        reached = [{"share": 3.0 ** (at - 2), "correct": right + at, "n": 1000, "loss": 0.1,
                    "train_s": 1.0} for at in range(rungs)]  # fmt: skip
        state = {0: "failed", 1: "stopped early", 2: "stopped early", 3: "complete"}[rungs]
        reason = "training diverged in epoch 1" if rungs == 0 else ""
        trials.append({"number": number, "state": state, "reached": reached, "values": values,
                       "reason": reason})  # fmt: skip
    space = {
        "optimizer.learning_rate": ["log", [1e-4, 1e-2], False],
        "network.hidden": ["choice", [[32], [64, 64]], False],
        "training.batch_size": ["range", [32, 256], True],
    }
    verdict = {
        "start": [0.95, 0.96], "winner": [0.97, 0.98],
        "sentence": "on 400 images set aside <2 seeds> the winner is better",
    }  # fmt: skip
    return {
        "identity": {"space": space, "sampler": "random"},
        "start": "lenet5",
        "trials": trials,
        "winner": 7,
        "verdict": verdict,
        "importance": {"optimizer.learning_rate": 0.8, "network.hidden": 0.2},
    }


@pytest.fixture(scope="session")
def compare_told():
    """What a compare.json holds: three methods, one on fewer images, and one that failed."""
    methods = []
    for at, (name, accuracy) in enumerate((("quick", 0.99), ("knn", 0.96), ("knn+hog", 0.958))):
        methods.append(
            {
                "method": name, "accuracy": accuracy,
                "interval": [accuracy - 0.01, accuracy + 0.005], "n": 2000,
                "images_learned": 1300, "part": 0.5 if at == 1 else 1.0,
                "fit_s": 10.0 ** (1 - at), "predict_s_per_1000": 0.1, "bytes": 10**6,
                "peak_bytes": 2**28,
            }
        )  # fmt: skip
    methods.append({"method": "brought:Moody", "reason": "MemoryError: <too much>"})
    twos = combinations(("quick", "knn", "knn+hog"), 2)
    pairs = [
        {"methods": list(two), "first": 9, "second": 8, "p": p}
        for two, p in zip(twos, (1e-9, 1e-8, 0.7), strict=True)
    ]
    return {"identity": {"folds": 3}, "images": 2000, "learned": 1333, "methods": methods,
            "pairs": pairs, "place": "one core"}  # fmt: skip


@pytest.fixture(scope="session")
def search_page(search_told, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    write_search_page(search_told, folder / "report.html", folder / "figures")
    return folder / "report.html"


@pytest.fixture(scope="session")
def compare_page(compare_told, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    write_compare_page(compare_told, folder / "report.html", folder / "figures")
    return folder / "report.html"
