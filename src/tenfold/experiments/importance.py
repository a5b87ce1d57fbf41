"""How much of the differences between trials each choice explains."""

from collections.abc import Sequence

from tenfold.experiments.race import Entry
from tenfold.experiments.space import Space

FEWEST = 10  # trials: with fewer, what is found is noise


def importance(entries: Sequence[Entry], space: Space) -> dict[str, float] | None:
    """Return each place's share, largest first, by the first and cheapest rung; or None.

    Functional analysis of variance over a random forest (Hutter, Hoos and Leyton-Brown, 'An
    efficient approach for assessing hyperparameter importance', ICML 2014), by Optuna.
    """
    import optuna  # noqa: PLC0415 - slow to import

    cheapest = min((entry.reached[0].share for entry in entries if entry.reached), default=1.0)
    ran = [entry for entry in entries if entry.reached and entry.reached[0].share == cheapest]
    if len(ran) < FEWEST or len({entry.reached[0].accuracy for entry in ran}) < 2:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for entry in ran:
        trial = optuna.trial.create_trial(
            params=dict(entry.drawn),
            distributions=space.distributions(),
            value=entry.reached[0].accuracy,
        )
        study.add_trial(trial)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {place: float(share) for place, share in found.items()}
