import json

import numpy as np
import pytest
import torch

from tenfold.data import Dataset, split
from tenfold.device import Device
from tenfold.errors import DataError, Interrupted, OutputError, RecipeError
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import NullCallback
from tenfold.training.distillation import Teacher
from tenfold.training.loop import Trainer, fit
from tenfold.training.train import learn
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


def test_it_says_what_the_recognizer_says_of_the_same_pictures(taught, digits):
    recognizer = Recognizer.load(taught)
    teacher = Teacher(recognizer, PLAIN, temperature=1.0)
    images = torch.from_numpy(digits.images[:200])
    said = teacher.says(images, lambda _size: None).numpy()
    hide_axes = Recognizer(recognizer.members, recognizer.classes, 28)
    np.testing.assert_allclose(said, hide_axes.predict_proba(digits.images[:200], PLAIN), atol=1e-5)
    softer = Teacher(recognizer, PLAIN, temperature=4.0).says(images, lambda _size: None).numpy()
    assert (softer.max(axis=1) < said.max(axis=1)).all()


def test_teacher_and_student_see_the_same_pictures(parts, taught, monkeypatch):
    given = ("training.progressive_sizes=[]", "augmentation.stroke_pixels=1")
    choices = recipe(*given, f"distillation.teacher={taught}")
    trainer = Trainer(*parts, choices, None, NullCallback(), teacher=Recognizer.load(taught))
    students, teachers = [], []
    trainer.state.network.register_forward_pre_hook(lambda _network, seen: students.append(seen[0]))

    def says(self, images, warp):
        teachers.append(trainer.batches.preprocessing(images, warp(24)))
        return real(self, images, warp)

    real = Teacher.says
    monkeypatch.setattr(Teacher, "says", says)
    trainer.step(trainer.batches.of_epoch(0)[0])
    assert torch.equal(students[0], teachers[0])
    assert not torch.equal(students[0], trainer.batches.seen(trainer.batches.of_epoch(0)[0], 1)[0])


def test_the_loss_is_least_where_student_and_teacher_agree(taught):
    teacher = Teacher(Recognizer.load(taught), PLAIN, temperature=2.0)
    logits = torch.tensor([[3.0, 1.0, -1.0]])
    agreed = teacher.loss(logits, (logits / 2).softmax(dim=1))
    assert agreed < teacher.loss(logits + torch.tensor([0.5, 0.0, 0.0]), (logits / 2).softmax(1))


def test_the_gradient_is_of_one_size_whatever_the_temperature(taught):
    logits, wanted = torch.tensor([[0.2, -0.1, 0.1]]), torch.tensor([[0.7, 0.2, 0.1]])
    sizes = []
    for temperature in (4.0, 8.0):
        teacher = Teacher(Recognizer.load(taught), PLAIN, temperature=temperature)
        seen = logits.clone().requires_grad_()
        softened = (wanted.log() / temperature).softmax(dim=1)
        teacher.loss(seen, softened).backward()
        sizes.append(float(seen.grad.norm()))
    assert 0.8 < sizes[0] / sizes[1] < 1.25


def test_a_student_learns_from_a_run(taught, parts, digits, tmp_path):
    wrong = np.random.default_rng(0).permutation(digits.require_labels())
    digits = Dataset(digits.images, wrong, digits.classes, digits.name)
    choices = recipe(
        "data.validation=0.2", "distillation.weight=1", f"distillation.teacher={taught}"
    )
    learned = learn(digits, choices, RunFolder(tmp_path / "run"))
    teacher = Recognizer.load(taught)
    ours, theirs = (r.predict(parts[1]) for r in (learned.recognizer, teacher))
    assert (ours == theirs).mean() > 0.7  # without a single true label
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_teacher_by_name_is_trained_first_and_only_once(digits, tmp_path, monkeypatch):
    small = recipe("network.width=6", "training.max_epochs=1")
    real = Recipe.load

    def load(source, **rest):
        return small if source == "standard" else real(source, **rest)

    monkeypatch.setattr(Recipe, "load", load)
    folder = RunFolder(tmp_path / "run")
    choices = recipe("distillation.teacher=standard")
    learn(digits, choices, folder)
    assert Recognizer.load(folder.teacher).members[0].choices.width == 6
    with pytest.raises(OutputError, match="already holds a run"):
        learn(digits, choices, folder)
    checkpoint = RunFolder(folder.teacher).checkpoint
    before = checkpoint.read_bytes()
    learn(digits, choices, folder, resume=True)
    assert checkpoint.read_bytes() == before


def test_a_teacher_of_several_networks_flatters_and_that_is_said(digits, tmp_path, monkeypatch):
    """Each of them held out a fold of its own, so the others learned what the student does not."""
    several = recipe("network.width=6", "training.max_epochs=1", "ensemble.members=2")
    real = Recipe.load
    monkeypatch.setattr(
        Recipe,
        "load",
        lambda source, **rest: several if source == "best" else real(source, **rest),
    )
    said = Said()
    choices = recipe("distillation.teacher=best", "data.validation=0.2")
    learn(digits.select(np.arange(500)), choices, RunFolder(tmp_path / "run"), listener=said)
    assert any("teacher best may have learned from images" in line for line in said.lines)
    assert choices.validation_caveat() == (
        "Most networks of the teacher were trained on the held-out images, so the validation "
        "score is optimistic."
    )


@pytest.mark.parametrize("given", ["none", "wrong"])
def test_a_teacher_that_is_not_there_or_not_wanted(parts, taught, given):
    if given == "none":
        with pytest.raises(RecipeError, match=r"distillation.teacher is quick, expected just that"):
            fit(*parts, recipe("distillation.teacher=quick"))
    else:
        with pytest.raises(RecipeError, match=r"distillation.teacher is none, expected just that"):
            fit(*parts, recipe(), teacher=Recognizer.load(taught))


def test_a_teacher_of_other_classes(taught, digits, tmp_path):
    few = digits.select(np.flatnonzero(digits.labels < 5))
    odd = type(few)(few.images, few.labels, tuple("01234"), "five.csv")
    with pytest.raises(DataError, match=r"five.csv .*classes or image size are not those of"):
        learn(odd, recipe(f"distillation.teacher={taught}"), RunFolder(tmp_path / "run"))


def test_the_teacher_holds_out_what_its_student_holds_out(digits, tmp_path, monkeypatch):
    small = recipe("network.width=6", "training.max_epochs=1")
    real = Recipe.load
    monkeypatch.setattr(
        Recipe,
        "load",
        lambda source, **rest: small if source == "standard" else real(source, **rest),
    )
    monkeypatch.setattr("tenfold.training.loop.SECONDS_BETWEEN_MOMENTS", 0)
    folder, said = RunFolder(tmp_path / "run"), Said()
    choices = recipe("distillation.teacher=standard", "data.validation=0.3", "data.split_seed=7")
    with pytest.raises(Interrupted):
        learn(digits, choices, folder, listener=StopAfter(3))
    assert not folder.checkpoint.exists()  # it was the teacher that stopped
    assert Recipe.load(folder.recipe) == choices  # what `--resume` reads
    learn(digits, choices, folder, resume=True, listener=said)
    held_out = [
        json.loads(run.data.read_text())["valid"]["sha256"]
        for run in (folder, RunFolder(folder.teacher))
    ]
    assert held_out[0] == held_out[1]
    again = recipe(f"distillation.teacher={folder.teacher}", "data.validation=0.2")
    learn(digits, again, RunFolder(tmp_path / "again"), listener=said)
    assert any("may have learned from images that are held out" in line for line in said.lines)
    said.lines.clear()
    same = recipe(
        f"distillation.teacher={folder.teacher}", "data.validation=0.3", "data.split_seed=7"
    )
    learn(digits, same, RunFolder(tmp_path / "same"), listener=said)
    assert not any("may have learned" in line for line in said.lines)


def test_a_teacher_has_no_teacher(digits, tmp_path):
    with pytest.raises(RecipeError, match="tiny has a teacher of its own"):
        learn(digits, recipe("distillation.teacher=tiny"), RunFolder(tmp_path / "run"))


class Said(NullCallback):
    def __init__(self):
        self.lines = []

    def note(self, sentence):
        self.lines.append(sentence)
