import json

import numpy as np
import pytest
import torch

from tenfold.config import DistillationConfig
from tenfold.data import Dataset, split
from tenfold.device import Device
from tenfold.errors import DataError, Interrupted, OutputError, RecipeError
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.training.distillation import Teacher
from tenfold.training.distributed import ProcessGroup
from tenfold.training.loader import Batch
from tenfold.training.loop import fit_network, train_step
from tenfold.training.state import TrainState
from tenfold.training.train import fit, train
from tests.training.test_loop import StopAfter

SMALL = ("network.width=4", "training.max_epochs=2", "training.batch_size=64")
PLAIN = Device(torch.device("cpu"), "fp32")


def recipe(*overrides, name="quick"):
    return Recipe.load(name, overrides=[*SMALL, *overrides])


@pytest.fixture(scope="module")
def parts(digits):
    return split(digits, 0.2, seed=0)


@pytest.fixture(scope="module")
def taught(parts, tmp_path_factory):
    """A teacher in a run folder of its own."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    fit(*parts, recipe("network.width=8", "training.max_epochs=4"), out=folder)
    return folder


def teacher_of(folder, temperature):
    config = DistillationConfig(temperature=temperature)
    return Teacher(Recognizer.load(folder), PLAIN, config)


def test_soft_targets_are_the_recognizers_probabilities(taught, digits):
    recognizer = Recognizer.load(taught)
    images = torch.from_numpy(digits.images[:200])
    batch = Batch(images, images, images, lambda _size: None)
    targets = teacher_of(taught, 1.0).soft_targets(batch).numpy()
    plain = Recognizer(recognizer.members, recognizer.classes, 28)
    np.testing.assert_allclose(
        targets, plain.predictor(PLAIN).predict_proba(digits.images[:200]), atol=1e-5
    )
    softer = teacher_of(taught, 4.0).soft_targets(batch).numpy()
    assert (softer.max(axis=1) < targets.max(axis=1)).all()


def test_teacher_and_student_see_the_same_images(parts, taught, monkeypatch):
    given = ("training.progressive_sizes=[]", "augmentation.stroke_pixels=1")
    settings = recipe(*given, f"distillation.teacher={taught}")
    device = Device.detect(settings.training.precision)
    state = TrainState.create(settings, parts[0], device, ProcessGroup())
    teacher = Teacher(Recognizer.load(taught), device, settings.distillation)
    student_inputs, teacher_inputs = [], []
    state.model.register_forward_pre_hook(lambda _model, inputs: student_inputs.append(inputs[0]))
    real = Teacher.soft_targets

    def soft_targets(self, batch):
        teacher_inputs.append(state.loader.preprocessing(batch.images, batch.grid(24)))
        return real(self, batch)

    monkeypatch.setattr(Teacher, "soft_targets", soft_targets)
    first, second, *_ = state.loader.epoch(0)
    train_step(state.model, state, first, teacher)
    assert torch.equal(student_inputs[0], teacher_inputs[0])
    assert not torch.equal(student_inputs[0], second.inputs)


def test_the_loss_is_least_where_student_and_teacher_agree(taught):
    teacher = teacher_of(taught, 2.0)
    logits = torch.tensor([[3.0, 1.0, -1.0]])
    agreed = teacher.loss(logits, (logits / 2).softmax(dim=1))
    assert agreed < teacher.loss(logits + torch.tensor([0.5, 0.0, 0.0]), (logits / 2).softmax(1))


def test_the_gradient_is_of_one_size_whatever_the_temperature(taught):
    logits, target = torch.tensor([[0.2, -0.1, 0.1]]), torch.tensor([[0.7, 0.2, 0.1]])
    sizes = []
    for temperature in (4.0, 8.0):
        teacher = teacher_of(taught, temperature)
        outputs = logits.clone().requires_grad_()
        softened = (target.log() / temperature).softmax(dim=1)
        teacher.loss(outputs, softened).backward()
        sizes.append(float(outputs.grad.norm()))
    assert 0.8 < sizes[0] / sizes[1] < 1.25


def test_a_student_learns_from_a_run(taught, parts, digits, tmp_path):
    wrong = np.random.default_rng(0).permutation(digits.require_labels())
    digits = Dataset(digits.images, wrong, digits.classes, digits.name)
    settings = recipe(
        "data.validation=0.2", "distillation.weight=1", f"distillation.teacher={taught}"
    )
    result = train(digits, settings, RunFolder(tmp_path / "run"))
    teacher = Recognizer.load(taught)
    ours, theirs = (r.predict(parts[1]) for r in (result.recognizer, teacher))
    assert (ours == theirs).mean() > 0.7  # without a single true label
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_teacher_by_name_is_trained_first_and_only_once(digits, tmp_path, monkeypatch):
    small = recipe("network.width=6", "training.max_epochs=1")
    real = Recipe.load

    def load(source, **rest):
        return small if source == "standard" else real(source, **rest)

    monkeypatch.setattr(Recipe, "load", load)
    folder = RunFolder(tmp_path / "run")
    settings = recipe("distillation.teacher=standard")
    train(digits, settings, folder)
    assert Recognizer.load(folder.teacher).members[0].config.width == 6
    with pytest.raises(OutputError, match="already holds a run"):
        train(digits, settings, folder)
    checkpoint = RunFolder(folder.teacher).checkpoint
    before = checkpoint.read_bytes()
    train(digits, settings, folder, resume=True)
    assert checkpoint.read_bytes() == before


def test_a_teacher_of_several_networks_gets_a_warning(digits, tmp_path, monkeypatch, caplog):
    """Each of them held out a fold of its own, so the others learned what the student does not."""
    several = recipe("network.width=6", "training.max_epochs=1", "ensemble.members=2")
    real = Recipe.load
    monkeypatch.setattr(
        Recipe,
        "load",
        lambda source, **rest: several if source == "best" else real(source, **rest),
    )
    settings = recipe("distillation.teacher=best", "data.validation=0.2")
    train(digits[:500], settings, RunFolder(tmp_path / "run"), executor="inline")
    assert "teacher best may have been trained on validation images" in caplog.text
    assert "networks of the teacher" in settings.validation_caveat()


@pytest.mark.parametrize("given", ["none", "wrong"])
def test_a_teacher_that_is_not_there_or_not_wanted(parts, taught, given):
    if given == "none":
        with pytest.raises(
            RecipeError, match=r"distillation.teacher is quick, but no teacher was given"
        ):
            fit_network(*parts, recipe("distillation.teacher=quick"))
    else:
        with pytest.raises(
            RecipeError, match=r"a teacher was given, but distillation.teacher is not set"
        ):
            fit_network(*parts, recipe(), teacher=Recognizer.load(taught))


def test_a_teacher_of_other_classes(taught, digits, tmp_path):
    few = digits.select(np.flatnonzero(digits.labels < 5))
    odd = type(few)(few.images, few.labels, tuple("01234"), "five.csv")
    with pytest.raises(DataError, match=r"five.csv .*classes or image size are not those of"):
        train(odd, recipe(f"distillation.teacher={taught}"), RunFolder(tmp_path / "run"))


def test_the_teacher_holds_out_what_its_student_holds_out(digits, tmp_path, monkeypatch, caplog):
    small = recipe("network.width=6", "training.max_epochs=1")
    real = Recipe.load
    monkeypatch.setattr(
        Recipe,
        "load",
        lambda source, **rest: small if source == "standard" else real(source, **rest),
    )
    folder = RunFolder(tmp_path / "run")
    settings = recipe("distillation.teacher=standard", "data.validation=0.3", "data.split_seed=7")
    with pytest.raises(Interrupted):
        train(digits, settings, folder, callbacks=[StopAfter(3)])
    assert not folder.checkpoint.exists()  # it was the teacher that stopped
    assert Recipe.load(folder.recipe) == settings  # what `--resume` reads
    train(digits, settings, folder, resume=True)
    held_out = [
        json.loads(run.data.read_text())["valid"]["sha256"]
        for run in (folder, RunFolder(folder.teacher))
    ]
    assert held_out[0] == held_out[1]
    again = recipe(f"distillation.teacher={folder.teacher}", "data.validation=0.2")
    train(digits, again, RunFolder(tmp_path / "again"))
    assert "may have been trained on validation images" in caplog.text
    caplog.clear()
    same = recipe(
        f"distillation.teacher={folder.teacher}", "data.validation=0.3", "data.split_seed=7"
    )
    train(digits, same, RunFolder(tmp_path / "same"))
    assert "may have been trained" not in caplog.text


def test_a_teacher_has_no_teacher(digits, tmp_path):
    with pytest.raises(RecipeError, match="tiny has a teacher of its own"):
        train(digits, recipe("distillation.teacher=tiny"), RunFolder(tmp_path / "run"))
