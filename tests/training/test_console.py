from tenfold.training import callbacks as progress
from tenfold.training.callbacks import counting


def test_counting_speaks_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    said = []
    tell = counting(said.append)
    for done in range(1000, 10_001, 1000):
        now[0] += 1.5
        tell(done, 10_000)
    assert said == ["  3,000 of 10,000 images answered", "  6,000 of 10,000 images answered",
                    "  9,000 of 10,000 images answered"]  # fmt: skip
