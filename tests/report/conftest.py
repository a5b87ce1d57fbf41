"""Reports of a made-up search and of a made-up comparison."""

from itertools import combinations

import numpy as np
import pytest

from tenfold.report.experiment_report import write_compare_page, write_search_page


@pytest.fixture(scope="session")
def search_data():
    """The content of a search.json: 24 trials, one of which failed."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(24):
        rate = float(10 ** rng.uniform(-4, -2))
        params = {
            "optimizer.learning_rate": rate,
            "network.hidden": [[32], [64, 64]][number % 2],
            "training.batch_size": int(rng.integers(32, 256)),
        }
        correct = int(900 + 90 * rng.random())
        rungs = 0 if number == 5 else 3 if number == 7 else 2 if number in {1, 2} else 1
        results = [
            {"budget_fraction": 3.0 ** (rung - 2), "correct": correct + rung, "n": 1000,
             "loss": 0.1, "train_s": 1.0}
            for rung in range(rungs)
        ]  # fmt: skip
        state = {0: "failed", 1: "pruned", 2: "pruned", 3: "complete"}[rungs]
        reason = "training diverged in epoch 1" if rungs == 0 else ""
        trials.append({"number": number, "state": state, "results": results, "params": params,
                       "reason": reason})  # fmt: skip
    space = {
        "optimizer.learning_rate": {"kind": "log", "values": [1e-4, 1e-2]},
        "network.hidden": {"kind": "choice", "values": [[32], [64, 64]]},
        "training.batch_size": {"kind": "range", "values": [32, 256]},
    }
    paired_test = {
        "baseline": [0.95, 0.96], "winner": [0.97, 0.98],
        "summary": "on 400 test images <2 seeds> the winner is better",
    }  # fmt: skip
    return {
        "identity": {"space": space, "sampler": "random"},
        "baseline": "lenet5",
        "trials": trials,
        "winner": 7,
        "paired_test": paired_test,
        "importance": {"optimizer.learning_rate": 0.8, "network.hidden": 0.2},
    }


@pytest.fixture(scope="session")
def compare_data():
    """The content of a compare.json: three methods, one on fewer images, and one that failed."""
    methods = []
    for at, (name, accuracy) in enumerate((("quick", 0.99), ("knn", 0.96), ("knn+hog", 0.958))):
        methods.append(
            {
                "method": name, "accuracy": accuracy,
                "interval": [accuracy - 0.01, accuracy + 0.005], "n": 2000,
                "train_images": 1300, "subset_fraction": 0.5 if at == 1 else 1.0,
                "fit_s": 10.0 ** (1 - at), "predict_s_per_1000": 0.1, "model_bytes": 10**6,
                "peak_memory_bytes": 2**28,
            }
        )  # fmt: skip
    methods.append({"method": "own_methods:OutOfMemory", "reason": "MemoryError: <too much>"})
    names = combinations(("quick", "knn", "knn+hog"), 2)
    pairs = [
        {"methods": list(pair), "first": 9, "second": 8, "p": p}
        for pair, p in zip(names, (1e-9, 1e-8, 0.7), strict=True)
    ]
    return {"identity": {"folds": 3}, "images": 2000, "train_images": 1333, "methods": methods,
            "pairs": pairs, "hardware": "one core"}  # fmt: skip


@pytest.fixture(scope="session")
def search_page(search_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    write_search_page(search_data, folder / "report.html", folder / "figures")
    return folder / "report.html"


@pytest.fixture(scope="session")
def compare_page(compare_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    write_compare_page(compare_data, folder / "report.html", folder / "figures")
    return folder / "report.html"
