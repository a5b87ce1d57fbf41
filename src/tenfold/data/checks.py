"""Check what is wrong or unusual in a dataset, and which images two datasets share."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset
from tenfold.formatting import pluralize

_MIN_IMAGES_PER_CLASS = 10
_MAX_SHOWN = 5
_MAX_OTHER_POLARITY = 0.02
_FAINT = 64
_MAX_SAMPLED, _MIN_GREY = 1000, 0.98
_TEN, _ONE_TO_TEN = "10", frozenset(map(str, range(1, 11)))
_INDEX_NOTE = "image indices start at 0; image i is on line i + 2 of its CSV file"


@dataclass(frozen=True)
class DatasetStats:
    """Statistics of one dataset. Images are given by their indices, from 0.

    Attributes:
        name: of the dataset.
        rows: the number of images.
        image_size: height and width in pixels.
        pixel_min, pixel_max: the range of all pixels, within 0 to 255.
        pixel_mean, pixel_std: mean and standard deviation of all pixels.
        ink_fraction: the fraction of pixels that are not 0.
        border_mean, centre_mean: mean of the outermost ring of pixels, and of the middle half of
            height and width.
        inverted: the border is brighter than the centre, as of dark ink on a bright background.
        class_counts: the number of images of each class; empty without labels.
        chi_square, chi_square_p: the χ² test of equal class counts; None with fewer than two
            classes.
        blank: images that are 0 throughout.
        constant: images of one other value throughout.
        duplicates: groups of identical images.
        conflicts: the groups of identical images with different labels.
    """

    name: str
    rows: int
    image_size: int
    pixel_min: int
    pixel_max: int
    pixel_mean: float
    pixel_std: float
    ink_fraction: float
    border_mean: float
    centre_mean: float
    inverted: bool
    class_counts: dict[str, int]
    chi_square: float | None
    chi_square_p: float | None
    blank: tuple[int, ...]
    constant: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]
    conflicts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class DataReport:
    """What `check` found.

    Attributes:
        train, test: the statistics of each dataset.
        overlap: pairs (index in train, index in test) of identical images, one per test image.
        problems: what is wrong and would make results meaningless, a sentence each.
        notes: what is unusual, a sentence each.
    """

    train: DatasetStats
    test: DatasetStats | None
    overlap: tuple[tuple[int, int], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {**asdict(self), "missing_values": 0}

    def lines(self) -> list[str]:
        """Return the report as lines of text, problems first."""
        lines = [f"problem: {problem}" for problem in self.problems]
        lines += [f"note: {note}" for note in self.notes]
        lines += _describe(self.train)
        if self.test is not None:
            lines += _describe(self.test)
            lines.append(
                f"{self.test.name}: {len(self.overlap):,} of {self.test.rows:,} images are also in "
                f"{self.train.name}"
            )
        lines.append("missing values: none (blank cells are rejected)")
        return [*lines, _INDEX_NOTE]


def check(train: Dataset, test: Dataset | None = None) -> DataReport:
    """Check `train`, `test` and their overlap for what is wrong or unusual."""
    train_stats = _compute_stats(train)
    problems, notes = _find_problems(train_stats, train), _find_notes(train_stats, train)
    if test is None:
        return DataReport(train_stats, None, (), tuple(problems), tuple(notes))
    test_stats = _compute_stats(test)
    problems += _find_problems(test_stats, test)
    notes += _find_notes(test_stats, test)
    if train.image_size != test.image_size:
        problems.append(
            f"{test.name}: images are {test.image_size} × {test.image_size} pixels, expected "
            f"{train.image_size} × {train.image_size} as in {train.name}"
        )
    overlap = _find_overlap(train, test)
    if overlap:
        pairs = ", ".join(f"{in_train} = {in_test}" for in_train, in_test in overlap[:_MAX_SHOWN])
        problems.append(
            f"{test.name}: {pluralize(len(overlap), 'image')} also in {train.name} "
            f"(train = test: {pairs}{_more(overlap)}), expected none: the score on them is too "
            "optimistic"
        )
    return DataReport(train_stats, test_stats, overlap, tuple(problems), tuple(notes))


def _compute_stats(dataset: Dataset) -> DatasetStats:
    images = dataset.images
    mean, std = dataset.pixel_mean_and_std()
    darkest, brightest = images.min(axis=(1, 2)), images.max(axis=(1, 2))
    is_constant = darkest == brightest
    border, centre = _border_and_centre_mean(images)
    class_counts = {} if dataset.labels is None else dataset.class_counts()
    chi_square, p = _chi_square_test(list(class_counts.values()))
    duplicates = _find_duplicates(images)
    return DatasetStats(
        name=dataset.name,
        rows=len(dataset),
        image_size=dataset.image_size,
        pixel_min=int(darkest.min(initial=255)),
        pixel_max=int(brightest.max(initial=0)),
        pixel_mean=mean,
        pixel_std=std,
        ink_fraction=float(np.count_nonzero(images) / max(images.size, 1)),
        border_mean=border,
        centre_mean=centre,
        inverted=border > centre,
        class_counts=class_counts,
        chi_square=chi_square,
        chi_square_p=p,
        blank=_true_indices(is_constant & (brightest == 0)),
        constant=_true_indices(is_constant & (brightest > 0)),
        duplicates=duplicates,
        conflicts=_find_conflicts(duplicates, dataset.labels),
    )


def _chi_square_test(class_counts: Sequence[int]) -> tuple[float | None, float | None]:
    """Return χ² against equal counts and its p-value."""
    if len(class_counts) < 2 or not any(class_counts):
        return None, None
    expected = sum(class_counts) / len(class_counts)
    statistic = sum((count - expected) ** 2 for count in class_counts) / expected
    return statistic, _chi_square_survival(statistic, len(class_counts) - 1)


def _chi_square_survival(statistic: float, degrees: int) -> float:
    """Return the probability of at least this χ², by the finite series for whole degrees.

    M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5; SciPy would
    be a fourth of the size of all that `tenfold check` needs.
    """
    half = statistic / 2
    if degrees % 2:
        total, exponents = math.erfc(math.sqrt(half)), [i + 0.5 for i in range(degrees // 2)]
    else:
        total, exponents = 0.0, [float(i) for i in range(degrees // 2)]
    if half == 0:
        return 1.0
    # By logarithms: the powers of a thousand classes would overflow.
    return total + sum(
        math.exp(each * math.log(half) - half - math.lgamma(each + 1)) for each in exponents
    )


def _border_and_centre_mean(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the mean of the outermost ring, and of the middle half of height and width."""
    if not images.size:
        return 0.0, 0.0
    size = images.shape[1]
    mean_image = images.mean(axis=0)
    inside = np.zeros((size, size), dtype=bool)
    inside[1:-1, 1:-1] = True
    middle = slice(size // 4, size - size // 4)
    return float(mean_image[~inside].mean()), float(mean_image[middle, middle].mean())


def polarity_problem(dataset: Dataset, *, bright_ink: bool = True) -> str | None:
    """Return the sentence for images whose ink is not as expected: bright on dark, or the other."""
    border, centre = _border_and_centre_mean(dataset.images)
    if border == centre or (border < centre) == bright_ink:
        return None
    return _polarity_sentence(dataset.name, border, centre, bright_ink=bright_ink)


def _polarity_sentence(name: str, border: float, centre: float, *, bright_ink: bool = True) -> str:
    is_, expected = (
        ("brighter", "bright ink on dark") if bright_ink else ("darker", "dark on bright")
    )
    return (
        f"{name}: the border is {is_} (mean {border:.0f}) than the centre ({centre:.0f}), expected "
        f"{expected}: --invert inverts the pixels"
    )


def _has_channels(images: NDArray[np.uint8]) -> bool:
    """Whether red, green and blue of grey pixels, and their opacity, pass for four pixels."""
    if not images.size or images.shape[1] % 2:
        return False
    pixels = images[:_MAX_SAMPLED].reshape(-1, 4)
    pixels = pixels[pixels[:, 0] > 0]
    is_grey = (pixels[:, 0] == pixels[:, 1]) & (pixels[:, 1] == pixels[:, 2])
    return len(pixels) > 0 and bool(is_grey.mean() > _MIN_GREY)


def _other_polarity(images: NDArray[np.uint8], inverted: bool) -> tuple[int, ...]:
    """Return the images whose border is bright where that of the set is dark, or the other way."""
    if not images.size:
        return ()
    size = images.shape[1]
    edges = images[:, [0, -1], :].mean(axis=(1, 2)) + images[:, :, [0, -1]].mean(axis=(1, 2))
    bright = edges / 2 > images[:, 1:-1, 1:-1].mean(axis=(1, 2)) if size > 2 else edges > 255
    return _true_indices(bright != inverted)


def _as_keys(images: NDArray[np.uint8]) -> NDArray[np.void]:
    """Return one value per image, [N]; two are equal if and only if the images are."""
    flat = np.ascontiguousarray(images.reshape(len(images), -1))
    return flat.view(np.dtype((np.void, flat.shape[1]))).ravel()


def _find_duplicates(images: NDArray[np.uint8]) -> tuple[tuple[int, ...], ...]:
    """Return the indices of identical images, group by group, in order of first appearance."""
    if not images.size:
        return ()
    _, group, sizes = np.unique(_as_keys(images), return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(sizes[group] > 1)
    members: dict[int, list[int]] = {}
    for index in repeated.tolist():
        members.setdefault(int(group[index]), []).append(index)
    return tuple(map(tuple, members.values()))


def _find_conflicts(
    groups: tuple[tuple[int, ...], ...], labels: NDArray[np.int64] | None
) -> tuple[tuple[int, ...], ...]:
    """Return the groups of identical images that do not all have the same label."""
    if labels is None:
        return ()
    return tuple(group for group in groups if len(set(labels[list(group)].tolist())) > 1)


def _find_overlap(train: Dataset, test: Dataset) -> tuple[tuple[int, int], ...]:
    """Return for each test image that is also in train the two indices, of train the first."""
    if train.image_size != test.image_size or not len(train) or not len(test):
        return ()
    both = np.concatenate([_as_keys(train.images), _as_keys(test.images)])
    _, first, group = np.unique(both, return_index=True, return_inverse=True)
    earliest = first[group[len(train) :]]
    shared = np.flatnonzero(earliest < len(train))
    return tuple((int(earliest[index]), int(index)) for index in shared)


def _true_indices(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())


def _find_problems(stats: DatasetStats, dataset: Dataset) -> list[str]:
    problems = []
    if not stats.rows:
        problems.append(f"{stats.name}: has no images, expected at least one")
    if stats.inverted:
        problems.append(_polarity_sentence(stats.name, stats.border_mean, stats.centre_mean))
    if stats.conflicts:
        problems.append(
            f"{stats.name}: {pluralize(len(stats.conflicts), 'group')} of identical images with "
            f"different labels ({_list_groups(stats.conflicts)}), expected one label each"
        )
    if stats.class_counts and sum(n > 0 for n in stats.class_counts.values()) < 2:
        problems.append(f"{stats.name}: all labels are the same, expected at least two classes")
    if _TEN in stats.class_counts and set(stats.class_counts) <= _ONE_TO_TEN:
        problems.append(
            f"{stats.name}: labels run to 10 and none is 0, expected 0 to 9: 10 is perhaps the "
            "digit 0, as in MATLAB, and would be predicted as 10"
        )
    if _has_channels(dataset.images):
        half = stats.image_size // 2
        problems.append(
            f"{stats.name}: its pixels repeat in fours, expected one for each place: these seem to "
            f"be colour images of {half} × {half} pixels with four values each"
        )
    n_classes = sum(n > 0 for n in stats.class_counts.values())
    if n_classes > max(_MIN_IMAGES_PER_CLASS, stats.rows / 2):
        problems.append(
            f"{stats.name}: {stats.rows:,} images have {n_classes:,} different labels, expected a "
            "few classes: does the column hold ids?"
        )
    return problems


def _find_notes(stats: DatasetStats, dataset: Dataset) -> list[str]:
    notes = []
    odd = _other_polarity(dataset.images, stats.inverted)
    if len(odd) > _MAX_OTHER_POLARITY * stats.rows:
        notes.append(
            f"{stats.name}: {pluralize(len(odd), 'image')} with ink as bright as the paper of the "
            f"others ({_list(odd)}): some seem to be inverted"
        )
    if 1 < stats.pixel_max < _FAINT:
        notes.append(
            f"{stats.name}: no pixel is above {stats.pixel_max}, expected up to 255: the images "
            "may be on another scale"
        )
    if stats.blank:
        blank = pluralize(len(stats.blank), "blank image")
        notes.append(f"{stats.name}: {blank} ({_list(stats.blank)})")
    if stats.constant:
        constant = pluralize(len(stats.constant), "image")
        notes.append(f"{stats.name}: {constant} of one value throughout ({_list(stats.constant)})")
    if stats.duplicates:
        notes.append(
            f"{stats.name}: {pluralize(len(stats.duplicates), 'group')} of identical images "
            f"({_list_groups(stats.duplicates)})"
        )
    few = [(name, n) for name, n in stats.class_counts.items() if n < _MIN_IMAGES_PER_CLASS]
    for name, n in few if len(few) <= _MAX_SHOWN else []:
        notes.append(
            f"{stats.name}: class {name!r} has {pluralize(n, 'image')}, too few to train on"
        )
    if len(few) > _MAX_SHOWN:
        shown = ", ".join(repr(name) for name, _ in few[:_MAX_SHOWN])
        notes.append(
            f"{stats.name}: {len(few):,} classes have fewer than {_MIN_IMAGES_PER_CLASS} images "
            f"({shown} and {len(few) - _MAX_SHOWN:,} more), too few to train on"
        )
    return notes


def _describe(stats: DatasetStats) -> list[str]:
    images, size = pluralize(stats.rows, "image"), stats.image_size
    lines = [
        f"{stats.name}: {images} of {size} × {size} pixels from {stats.pixel_min} to "
        f"{stats.pixel_max}, mean {stats.pixel_mean:.1f} ± {stats.pixel_std:.1f}; "
        f"{stats.ink_fraction:.1%} of pixels are ink",
        f"{stats.name}: {len(stats.blank)} blank, {len(stats.constant)} constant, "
        f"{pluralize(len(stats.duplicates), 'group')} of identical images",
    ]
    if stats.class_counts:
        per_class = ", ".join(f"{name}: {n:,}" for name, n in stats.class_counts.items())
        lines.append(f"{stats.name}: images per class: {per_class}")
    if stats.chi_square is not None:
        lines.append(
            f"{stats.name}: χ² test of equal class counts: χ² = {stats.chi_square:.1f}, "
            f"p = {stats.chi_square_p:.2g}"
        )
    return lines


def _list(indices: tuple[int, ...]) -> str:
    return ", ".join(map(str, indices[:_MAX_SHOWN])) + _more(indices)


def _list_groups(groups: tuple[tuple[int, ...], ...]) -> str:
    first = f"images {_list(groups[0])}"
    return first if len(groups) == 1 else f"{first}; {pluralize(len(groups) - 1, 'more group')}"


def _more(found: tuple[Any, ...]) -> str:
    return f" and {len(found) - _MAX_SHOWN:,} more" if len(found) > _MAX_SHOWN else ""
