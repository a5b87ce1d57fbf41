from itertools import pairwise

import pytest

from tenfold.config import ScheduleConfig
from tenfold.training.optimizers import epochs_since_best, lr_multiplier, plateau_drops


def rates(schedule, steps=100, per_epoch=10, accuracies=()):
    return [
        2.0
        * lr_multiplier(
            schedule,
            step=step,
            total_steps=steps,
            steps_per_epoch=per_epoch,
            valid_accuracies=accuracies,
        )
        for step in range(steps)
    ]


def test_constant_is_constant():
    assert set(rates(ScheduleConfig(name="constant"))) == {2.0}


def test_one_cycle_climbs_to_the_peak_and_falls_to_its_minimum():
    curve = rates(ScheduleConfig(name="one-cycle", warmup_fraction=0.25, min_lr_ratio=0.01))
    assert curve[0] == pytest.approx(0.08)
    assert max(curve) == curve[25] == pytest.approx(2.0)
    assert all(a < b for a, b in pairwise(curve[:26]))
    assert all(a > b for a, b in pairwise(curve[25:]))
    assert curve[-1] == pytest.approx(0.02, rel=0.1)


def test_cosine_starts_at_the_peak():
    curve = rates(ScheduleConfig(name="cosine", min_lr_ratio=0.5))
    assert curve[0] == 2.0
    assert curve[50] == pytest.approx(1.5)
    assert curve[-1] == pytest.approx(1.0, rel=0.01)


def test_exponential_falls_after_each_epoch():
    curve = rates(ScheduleConfig(name="exponential", gamma=0.5))
    assert curve[9] == 2.0
    assert curve[10] == 1.0
    assert curve[99] == pytest.approx(2.0 * 0.5**9)


def test_plateau_falls_when_nothing_gets_better_and_stops_at_its_minimum():
    plateau = ScheduleConfig(name="plateau", gamma=0.5, patience_epochs=2, min_lr_ratio=0.1)
    assert rates(plateau, accuracies=[0.9, 0.8])[0] == 2.0
    assert rates(plateau, accuracies=[0.9, 0.8, 0.9])[0] == 1.0
    assert rates(plateau, accuracies=[0.9] * 20)[0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("accuracies", "drops", "since"),
    [
        ([], 0, 0),
        ([0.5], 0, 0),
        ([0.5, 0.6, 0.7], 0, 0),
        ([0.7, 0.6, 0.6], 1, 2),
        ([0.7, 0.6, 0.8, 0.8, 0.8], 1, 2),
        ([0.7, 0.6, 0.6, 0.6, 0.6], 2, 4),
    ],
)
def test_waiting_is_counted_from_the_best_epoch(accuracies, drops, since):
    assert plateau_drops(accuracies, patience_epochs=2) == drops
    assert epochs_since_best(accuracies) == since
