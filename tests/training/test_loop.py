import copy
import json
import os
import signal
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

from tenfold.data import split
from tenfold.device import Device
from tenfold.errors import (
    DataError,
    Interrupted,
    OutputError,
    RecipeError,
    RecognizerError,
)
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.training import checkpoint
from tenfold.training.callbacks import Callback, EpochMetrics
from tenfold.training.distributed import ProcessGroup
from tenfold.training.loop import fit_network, train_step
from tenfold.training.state import TrainState
from tenfold.training.train import fit as fit_and_calibrate

SMALL = ["network.width=4", "training.max_epochs=2", "training.batch_size=64"]
# What `quick` chooses for its own network and others cannot take.
PLAIN = ["training.progressive_sizes=[]", "optimizer.name=adamw", "optimizer.momentum=0"]


def recipe(*overrides, name="quick", seed=0):
    return Recipe.load(name, overrides=[*SMALL, *overrides], seed=seed)


@pytest.fixture(scope="module")
def parts(digits):
    return split(digits, 0.2, seed=0)


def weights(recognizer):
    return {name: t.cpu().numpy() for name, t in recognizer.members[0].model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def fit(train_set, valid_set, recipe, *, out=None, callbacks=(), teacher=None, checks=None):
    """Train one network, in the run folder `out` if there is one, and return the recognizer."""
    folder = None if out is None else RunFolder(out)
    return fit_network(
        train_set, valid_set, recipe,
        folder=folder, callbacks=callbacks, teacher=teacher, checks=checks,
    ).recognizer  # fmt: skip


class StopAfter(Callback):
    """Sends this process a signal once `steps` steps are done."""

    def __init__(self, steps, number=signal.SIGINT):
        self.steps, self.number = steps, number

    def on_step_end(self, state):
        if state.step >= self.steps:
            os.kill(os.getpid(), self.number)


class Steps(Callback):
    """Remembers how many steps were done at each call."""

    def __init__(self):
        self.steps = []

    def on_step_end(self, state):
        self.steps.append(state.step)


@pytest.mark.parametrize("mixup", [0, 0.4])
def test_it_learns_real_digits(parts, mixup):
    settings = ("network.width=8", "training.max_epochs=4", f"augmentation.mixup={mixup}")
    recognizer = fit(*parts, recipe(*settings))
    predicted = recognizer.predict(parts[1])
    assert (predicted == parts[1].labels).mean() > 0.9


def test_the_same_seed_gives_the_same_weights_and_another_other_ones(parts):
    one, again, other = (fit(*parts, recipe(seed=seed)) for seed in (1, 1, 2))
    assert same(weights(one), weights(again))
    assert not same(weights(one), weights(other))


def test_the_global_generator_is_left_alone(parts):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(*parts, recipe(*PLAIN, "network.name=mlp", "network.width=none", "network.dropout=0.5"))
    assert torch.equal(torch.rand(3), expected)


def test_a_run_folder_holds_everything(parts, tmp_path):
    fit(*parts, recipe(), out=tmp_path, checks={"rows": 2000})
    folder = RunFolder(tmp_path)
    assert Recipe.load(folder.recipe) == recipe()
    assert json.loads(folder.environment.read_text())["versions"]["torch"]
    data = json.loads(folder.data.read_text())
    assert data["train"]["sha256"] == parts[0].content_hash()
    assert data["checks"] == {"rows": 2000}
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert list(folder.tensorboard.iterdir())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["adamw", "muon", "rmsprop", "sgd"])
@pytest.mark.parametrize("steps", [7, 25, 30])
def test_a_stopped_run_resumes_to_the_same_weights(parts, tmp_path, name, steps):
    """25 steps are one epoch: the stop falls within epochs and right between them."""
    momentum = 0 if name == "adamw" else 0.6
    settings = recipe(f"optimizer.name={name}", f"optimizer.momentum={momentum}",
                     "optimizer.learning_rate=0.003", "network.dropout=0.3")  # fmt: skip
    whole = fit(*parts, settings, out=tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"stopped after step {steps} of 50, saved in "):
        fit(*parts, settings, out=tmp_path / "parts", callbacks=[StopAfter(steps)])
    outputs = Steps()
    resumed = fit(*parts, settings, out=tmp_path / "parts", callbacks=[outputs])
    assert outputs.steps[0] == steps + 1  # it went on, and did not begin anew
    assert same(weights(whole), weights(resumed))
    one, other = (
        load_file(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "parts")
    )
    assert same(one, other)


def test_a_run_killed_between_the_last_step_and_the_end_of_its_epoch_resumes(
    parts, tmp_path, monkeypatch
):
    """The checkpoint of a finished epoch's last step, without the epoch's row."""
    monkeypatch.setattr("tenfold.training.checkpoint.CHECKPOINT_INTERVAL_S", 0)
    monkeypatch.setattr("tenfold.training.checkpoint.MAX_CHECKPOINT_FRACTION", 1e9)
    whole = fit(*parts, recipe(), out=tmp_path / "whole")

    def killed(*_):
        raise SystemError("as if the power failed")

    with monkeypatch.context() as patch:
        patch.setattr("tenfold.training.loop._evaluate", killed)
        with pytest.raises(SystemError):
            fit(*parts, recipe(), out=tmp_path / "parts")
    resumed = fit(*parts, recipe(), out=tmp_path / "parts")
    assert same(weights(whole), weights(resumed))


def test_sigterm_saves_as_well(parts, tmp_path):
    with pytest.raises(Interrupted):
        fit(*parts, recipe(), out=tmp_path, callbacks=[StopAfter(3, signal.SIGTERM)])
    assert RunFolder(tmp_path).checkpoint.exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_without_a_folder_ctrl_c_is_what_it_always_is(parts):
    with pytest.raises(KeyboardInterrupt):
        fit(*parts, recipe(), callbacks=[StopAfter(3)])


def test_a_finished_run_can_be_extended(parts, tmp_path):
    # What follows from the length of a run, its schedule and its fading, is left out.
    constant = [*PLAIN, "schedule.name=constant", "augmentation.strength_decay=0"]
    long = fit(*parts, recipe(*constant, "training.max_epochs=3"), out=tmp_path / "long")
    fit(*parts, recipe(*constant), out=tmp_path / "short")
    extended = fit(*parts, recipe(*constant, "training.max_epochs=3"), out=tmp_path / "short")
    assert same(weights(long), weights(extended))


@pytest.mark.parametrize("selection", ["best", "last"])
def test_resuming_a_finished_run_changes_nothing(parts, tmp_path, selection):
    """Not even its temperature, which is fitted to predictions without one."""
    chosen = recipe(f"training.checkpoint_selection={selection}", "training.max_epochs=3")
    once = fit_and_calibrate(*parts, chosen, out=tmp_path)
    before = RunFolder(tmp_path).recognizer.read_bytes()
    again = fit_and_calibrate(*parts, chosen, out=tmp_path, resume=True)
    assert same(weights(once), weights(again))
    assert once.temperature == again.temperature != 1
    assert RunFolder(tmp_path).recognizer.read_bytes() == before


def test_resuming_what_never_began_begins(parts, tmp_path):
    fit_and_calibrate(*parts, recipe(), out=tmp_path, resume=True)
    assert RunFolder(tmp_path).recognizer.exists()


def test_a_folder_that_holds_a_run_is_not_overwritten(parts, tmp_path):
    fit(*parts, recipe(), out=tmp_path)
    with pytest.raises(OutputError, match=r"already holds a run, expected .* --resume"):
        fit_and_calibrate(*parts, recipe(), out=tmp_path)


def test_resuming_with_other_choices_or_data_is_refused(parts, tmp_path, digits):
    fit(*parts, recipe(), out=tmp_path)
    with pytest.raises(RecognizerError, match="a run that differs in recipe"):
        fit(*parts, recipe("optimizer.learning_rate=0.1"), out=tmp_path)
    with pytest.raises(RecognizerError, match="a run that differs in training data"):
        fit(*split(digits, 0.2, seed=1), recipe(), out=tmp_path)
    with pytest.raises(RecipeError, match="max_epochs is 1, but the run is already in epoch 2"):
        fit(*parts, recipe("training.max_epochs=1"), out=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flip", "replace"])
def test_a_damaged_checkpoint_error_message(parts, tmp_path, damage):
    fit(*parts, recipe(), out=tmp_path).save(tmp_path / "other.safetensors")
    path = RunFolder(tmp_path).checkpoint
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[-100] ^= 1
    else:
        content = bytearray((tmp_path / "other.safetensors").read_bytes())
    path.write_bytes(content)
    with pytest.raises(RecognizerError, match=r"checkpoint.safetensors"):
        fit(*parts, recipe(), out=tmp_path)


def test_early_stopping_stops_and_the_best_epoch_is_kept(parts, tmp_path):
    """A learning rate near zero never gets better than its first epochs."""
    settings = recipe(
        *PLAIN, "optimizer.learning_rate=1e-9", "schedule.name=constant",
        "training.ema_decay=none",
        "training.patience_epochs=2", "training.max_epochs=50",
        "training.checkpoint_selection=best",
    )  # fmt: skip
    recognizer = fit(*parts, settings, out=tmp_path)
    rows = RunFolder(tmp_path).history()
    accuracies = [row["valid_accuracy"] for row in rows]
    assert len(rows) == accuracies.index(max(accuracies)) + 3 < 50
    best = max(range(len(rows)), key=lambda index: rows[index]["valid_accuracy"])
    assert (
        rows[recognizer.provenance["epoch"] - 1]["valid_accuracy"] == rows[best]["valid_accuracy"]
    )


def epoch(number, accuracy, loss):
    return EpochMetrics(number, 1, 0.5, loss, accuracy, 1e-3, 100, 1, 1, number)


@pytest.mark.parametrize(("selection", "expected"), [("best", 3), ("last", 4)])
def test_among_equal_accuracies_the_lower_loss_is_best(parts, selection, expected):
    state = new_state(parts, recipe(f"training.checkpoint_selection={selection}"))
    state.history = [
        epoch(1, 0.9, 0.5), epoch(2, 0.95, 0.4), epoch(3, 0.95, 0.3), epoch(4, 0.9, 0.2)
    ]  # fmt: skip
    assert state.best_epoch() == expected


def new_state(parts, recipe):
    """The state before the first step."""
    device = Device.detect(recipe.training.precision)
    return TrainState.create(recipe, parts[0], device, ProcessGroup())


def test_training_on_every_row_needs_no_validation(digits):
    everything = recipe("data.validation=none")
    recognizer = fit(digits, None, everything)
    assert len(recognizer.predict(digits)) == len(digits)


def test_divergence_error_message(parts):
    settings = recipe(*PLAIN, "optimizer.name=sgd", "optimizer.learning_rate=10",
                     "network.name=mlp",
                     "network.width=none", "optimizer.momentum=0.99")  # fmt: skip
    with pytest.raises(RecipeError, match=r"diverged in epoch .* lower optimizer.learning_rate"):
        fit(*parts, settings)


class SpoilWeights(Callback):
    """Makes a weight infinite after the last step of the first epoch."""

    def on_step_end(self, state):
        if state.step == state.loader.steps_per_epoch:
            next(state.model.parameters()).data[0] = float("nan")


def test_weights_that_the_last_step_spoilt_are_not_kept(parts, tmp_path):
    """The loss of that step was still finite."""
    settings = recipe("training.ema_decay=none", "training.checkpoint_selection=best")
    with pytest.raises(RecipeError, match="diverged in epoch 1 "):
        fit(*parts, settings, out=tmp_path, callbacks=[SpoilWeights()])
    assert not RunFolder(tmp_path).recognizer.exists()


def test_a_recognizer_from_memory_predicts_as_one_from_a_file(parts):
    recognizer = fit(*parts, recipe())
    member, before = recognizer.members[0], recognizer.content_hash()
    assert not any(module.training for module in member.model.modules())
    member.model(member.preprocessing(torch.from_numpy(parts[1].images[:200])))
    assert recognizer.content_hash() == before


def test_data_that_cannot_be_trained_on_error_messages(parts, digits):
    with pytest.raises(DataError, match="has no labels"):
        fit(parts[0].without_labels(), parts[1], recipe())
    with pytest.raises(DataError, match="has 1 images, expected at least 2"):
        fit(digits.select(np.array([0])), parts[1], recipe())
    with pytest.raises(DataError, match="has no images, expected validation images"):
        fit(parts[0], parts[1].select(np.arange(0)), recipe())
    with pytest.raises(RecipeError, match="holds images out for validation, but none were given"):
        fit(digits, None, recipe())


def test_a_batch_larger_than_the_data_is_the_data(parts):
    recognizer = fit(*parts, recipe("training.batch_size=50000"))
    assert recognizer.provenance["epoch"] == 2


def test_it_trains_outside_the_main_thread(parts):
    """A web server or notebook may call from another thread, where no signals can be caught."""
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(*parts, recipe())))
    thread.start()
    thread.join()
    assert len(found) == 1


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_both_precisions_learn(parts, precision):
    recognizer = fit(*parts, recipe(f"training.precision={precision}", "network.width=8",
                                    "training.max_epochs=4"))  # fmt: skip
    assert (recognizer.predict(parts[1]) == parts[1].labels).mean() > 0.9


def test_the_table_of_epochs_is_whole_after_a_stop(parts, tmp_path):
    """All that is not a time must be equal, the learning rate of the last step included."""
    fit(*parts, recipe(), out=tmp_path / "whole")
    for steps in (10, 25, 30):
        with pytest.raises(Interrupted):
            fit(*parts, recipe(), out=tmp_path / "parts", callbacks=[StopAfter(steps)])
    fit(*parts, recipe(), out=tmp_path / "parts")
    tables = [
        [
            {key: value for key, value in row.items() if not key.endswith("_s")}
            for row in RunFolder(tmp_path / run).history()
        ]
        for run in ("whole", "parts")
    ]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 2


def test_a_kill_between_checkpoint_and_table_loses_no_row(parts, tmp_path):
    fit(*parts, recipe(), out=tmp_path)
    RunFolder(tmp_path).metrics.unlink()
    fit(*parts, recipe(), out=tmp_path)
    assert [row["epoch"] for row in RunFolder(tmp_path).history()] == [1, 2]


def test_a_run_that_stopped_early_stays_stopped(parts, tmp_path):
    settings = [
        *PLAIN, "optimizer.learning_rate=1e-9", "schedule.name=constant",
        "training.ema_decay=none",
        "training.patience_epochs=2",
    ]  # fmt: skip
    fit(*parts, recipe(*settings, "training.max_epochs=30"), out=tmp_path)
    epochs = len(RunFolder(tmp_path).history())
    assert 3 <= epochs < 30
    fit(*parts, recipe(*settings, "training.max_epochs=40"), out=tmp_path)
    assert len(RunFolder(tmp_path).history()) == epochs


def test_choices_that_cannot_work_leave_no_folder(parts, tmp_path):
    small = [part.select(np.arange(len(part))) for part in parts]
    shrunk = [
        type(part)(part.images[:, :7, :7].copy(), part.labels, part.classes) for part in small
    ]
    with pytest.raises(RecipeError, match="its layers shrink 7 × 7"):
        fit(
            *shrunk,
            recipe(*PLAIN, "network.name=deotte", "preprocessing.size=none"),
            out=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_small_images_come_first_and_then_the_size_of_prediction(parts, monkeypatch):
    outputs = []
    real = Preprocessing.__call__

    def watch(self, images, grid=None):
        result = real(self, images, grid)
        outputs.append(result.shape[-1])
        return result

    monkeypatch.setattr(Preprocessing, "__call__", watch)
    sizes = [
        "preprocessing.size=24",
        "training.progressive_sizes=[16, 20]",
        "training.progressive_fraction=0.4",
    ]
    recognizer = fit(*parts, recipe(*sizes))
    assert outputs[:20] == [16] * 10 + [20] * 10  # of 50 steps
    assert set(outputs[20:]) == {24}
    assert recognizer.members[0].preprocessing.size == 24


def test_a_step_learns_from_smoothed_labels_and_records_the_plain_loss(parts):
    settings = recipe("training.label_smoothing=0.3", "training.ema_decay=0.9", *PLAIN)
    state = new_state(parts, settings)
    batch = next(state.loader.epoch(0))
    copied = copy.deepcopy(state.model)
    with state.device.autocast():
        logits = copied(batch.inputs).float()
    F.cross_entropy(logits, batch.labels, label_smoothing=0.3).backward()
    train_step(state.model, state, batch)
    expected = [weight.grad for weight in copied.parameters()]
    got = [weight.grad for weight in state.model.parameters()]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)
    loss_sum, _, count = state.metrics[0].tolist()
    plain = F.cross_entropy(logits, batch.labels).item()
    assert loss_sum / count == pytest.approx(plain, rel=1e-4)
    now = next(state.model.parameters())
    assert not torch.equal(next(state.ema_model.parameters()), now)


def test_outliers_count_neither_as_right_nor_as_wrong(parts):
    outliers = "training.outlier_fraction=0.25"
    state = new_state(parts, recipe(outliers, "training.label_smoothing=0", *PLAIN))
    batch = next(state.loader.epoch(0))
    with state.device.autocast():
        logits = copy.deepcopy(state.model)(batch.inputs).float()
    train_step(state.model, state, batch)
    loss_sum, correct, count = state.metrics[0].tolist()
    digits = ~batch.is_outlier
    assert count == digits.sum() == round(0.75 * len(batch.inputs))
    assert correct == (logits.argmax(dim=1) == batch.labels)[digits].sum()
    plain = F.cross_entropy(logits[digits], batch.labels[digits]).item()
    assert loss_sum / count == pytest.approx(plain, rel=1e-4)


def test_a_checkpoint_of_another_network_names_the_tensor_and_both_shapes(parts, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save_checkpoint(path, new_state(parts, recipe()))
    with pytest.raises(
        RecognizerError, match=r"conv1\.0\.weight is float32 \[4, 1, 4, 4\], expected .* \[8,"
    ):
        checkpoint.load_checkpoint(path, new_state(parts, recipe("network.width=8")))


def test_hooks_are_called_in_order_and_teardown_always(parts):
    calls = []

    class Recorder(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_") or name == "teardown":
                calls.append(name)
            return super().__getattribute__(name)

    fit(*parts, recipe("training.max_epochs=1"), callbacks=[Recorder()])
    assert calls == [
        "on_train_begin", *["on_step_end"] * 25, "on_epoch_end", "on_train_end", "teardown"
    ]  # fmt: skip
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        fit(*parts, recipe(), callbacks=[StopAfter(2), Recorder()])
    assert calls == ["on_train_begin", "on_step_end", "on_step_end", "on_interrupt", "teardown"]


def test_an_interrupted_run_leaves_a_recognizer_of_the_epochs_so_far(parts, tmp_path):
    class AfterEpoch(Callback):
        def on_epoch_end(self, state):
            self.weights = copy.deepcopy(weights(state.recognizer()))

    kept = AfterEpoch()
    with pytest.raises(Interrupted):
        fit(*parts, recipe(), out=tmp_path, callbacks=[kept, StopAfter(40)])
    assert same(weights(Recognizer.load(tmp_path)), kept.weights)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_refused_resume_leaves_the_run_as_it_was(parts, tmp_path):
    fit(*parts, recipe(), out=tmp_path)
    before = files(tmp_path)
    with pytest.raises(RecipeError, match=r"max_epochs is 1, but the run is already in epoch 2"):
        fit(*parts, recipe("training.max_epochs=1"), out=tmp_path)
    with pytest.raises(RecognizerError):
        fit(*parts, recipe("network.width=8"), out=tmp_path)
    assert files(tmp_path) == before


def test_a_trained_run_without_its_recipe_is_refused(parts, tmp_path):
    fit(*parts, recipe("training.max_epochs=1"), out=tmp_path)
    (tmp_path / "recipe.toml").unlink()
    with pytest.raises(RecognizerError, match=r"recipe\.toml"):
        fit(*parts, recipe("training.max_epochs=1"), out=tmp_path)


def test_what_is_trained_in_memory_is_interrupted_without_the_name_of_a_folder(digits, monkeypatch):
    def interrupted(*args, **kwargs):
        raise Interrupted("stopped; continue with --resume in a folder that will be gone")

    monkeypatch.setattr("tenfold.training.train.train", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fit_and_calibrate(digits, recipe=recipe("ensemble.members=2"))
    assert not isinstance(caught.value, Interrupted)
