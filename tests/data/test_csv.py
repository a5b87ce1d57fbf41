import gzip
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.data import (
    Dataset,
    compression,
    csv_fallback,
    csv_fast,
    kaggle_split,
    read,
    read_submission,
    streaming,
    write_kaggle_folder,
)
from tenfold.data.csv_header import layout
from tenfold.errors import DataError, OutputError


@pytest.fixture
def expected(digits_csv):
    return read(digits_csv / "train.csv", labels=True).select(np.arange(20))


def assert_same(found: Dataset, expected: Dataset) -> None:
    assert np.array_equal(found.images, expected.images)
    assert names(found) == names(expected)


def names(dataset: Dataset) -> list[str]:
    return [dataset.classes[label] for label in dataset.require_labels()]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


# What is read


def test_what_was_written_is_read_back(digits, digits_csv):
    train, test = (read(digits_csv / name) for name in ("train.csv", "test.csv"))
    both = {image.tobytes() for image in (*train.images, *test.images)}
    assert both == {image.tobytes() for image in digits.images}
    assert (len(train), len(test)) == (1200, 800)
    assert train.classes == tuple("0123456789")
    assert test.labels is None
    assert train.name == "train.csv"
    truth = dict(zip((image.tobytes() for image in digits.images), digits.labels, strict=True))
    assert [truth[image.tobytes()] for image in train.images] == train.require_labels().tolist()
    answers = read_submission(digits_csv / "truth.csv")
    assert [truth[image.tobytes()] for image in test.images] == answers.tolist()
    assert set(read_submission(digits_csv / "sample_submission.csv")) == {0}


def test_the_competition_s_shape_to_the_byte(digits_csv, rows):
    assert rows[0] == ["label", *(f"pixel{column}" for column in range(784))]
    for name in ("truth.csv", "sample_submission.csv"):
        assert (digits_csv / name).read_bytes().startswith(b"ImageId,Label\n1,")


def test_the_whole_competition(mnist, tmp_path):
    train, test = kaggle_split(mnist[0], mnist[1], seed=3)
    write_kaggle_folder(tmp_path, train, test)
    found = read(tmp_path / "train.csv", labels=True)
    assert found.images.shape == (42_000, 28, 28)
    assert_same(found, train)
    assert np.array_equal(read(tmp_path / "test.csv").images, test.images)


@pytest.mark.parametrize(
    "form",
    [
        {"end": "\r\n", "last": "\r\n"},
        {"end": "\r\n", "last": ""},
        {"last": ""},
        {"last": "\n\n\n"},
        {"quoted": True},
        {"quoted": True, "end": "\r\n", "last": ""},
    ],
)
def test_forms_of_csv(table, save, expected, form):
    found = read(save(table, **form))
    assert_same(found, expected)
    assert found.images.flags.writeable


def test_mixed_line_ends(table, save, expected):
    path = save(table)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 4))
    assert_same(read(path), expected)


def test_byte_order_mark(table, save, expected):
    path = save(table)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert_same(read(path, labels=True), expected)


def test_spaces_around_numbers_and_names(table, save, expected):
    assert_same(read(save([[f" {cell} " for cell in row] for row in table])), expected)


def test_whole_numbers_written_as_floats(table, save, expected):
    table[1:] = [[f"{float(cell):.18e}" for cell in row] for row in table[1:]]
    assert_same(read(save(table)), expected)


def test_label_in_any_case_and_place(table, save, expected):
    moved = [[*row[1:400], row[0], *row[400:]] for row in table]
    moved[0][399] = " Label "
    assert_same(read(save(moved), labels=True), expected)


def test_numbered_pixels_are_put_in_order(table, save, expected):
    order = [0, *(1 + np.random.default_rng(0).permutation(784))]
    assert_same(read(save([[row[column] for column in order] for row in table])), expected)


@pytest.mark.parametrize("name", ["pixel{number}", "{row}x{column}"])
def test_other_pixel_names(table, save, expected, name):
    table[0][1:] = [
        name.format(number=number + 1, row=number // 28 + 1, column=number % 28 + 1)
        for number in range(784)
    ]
    assert_same(read(save(table)), expected)


@pytest.mark.parametrize("name", ["ImageId", "id", ""])
def test_row_numbers_are_ignored_and_told(table, save, expected, name):
    numbered = [[str(line * 1000), *row] for line, row in enumerate(table)]
    numbered[0][0] = name
    notes: list[str] = []
    assert_same(read(save(numbered), on_note=notes.append), expected)
    assert len(notes) == 1
    assert repr(name) in notes[0]


@pytest.mark.parametrize("first", [0, 1, 28_001])
@pytest.mark.parametrize("place", [0, 300, 784])
def test_row_numbers_that_count_are_ignored(table, save, expected, first, place):
    for line, row in enumerate(table):
        row[0:1] = []
        row.insert(place, str(first + line - 1) if line else "ImageId")
    assert np.array_equal(read(save(table)).images, expected.images)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["3", "1", "2"], "line 3, column 'ImageId' holds '1', expected 4: answers are numbered"),
        (["1", "2", "4"], "line 4, column 'ImageId' holds '4', expected 3"),
        (["1", "1", "1"], "line 3, column 'ImageId' holds '1', expected 2"),
        (["0", "", "2"], "line 3, column 'ImageId' is blank"),
        (["a", "b", "c"], "line 2, column 'ImageId' holds 'a', expected a whole number"),
        (["1", "1.5", "2"], "line 3, column 'ImageId' holds '1.5', expected a whole number"),
    ],
)
def test_answers_cannot_follow_row_numbers_out_of_order(table, save, ids, sentence):
    numbered = [[cell, *row[1:]] for cell, row in zip(["ImageId", *ids], table, strict=False)]
    assert sentence in refusal(save(numbered))
    labelled = [[cell, *row] for cell, row in zip(["ImageId", *ids], table, strict=False)]
    assert len(read(save(labelled), labels=True)) == 3
    assert sentence in refusal(save(labelled), labels=False)


def test_labels_can_be_left_out(table, save, expected):
    notes: list[str] = []
    found = read(save(table), labels=False, on_note=notes.append)
    assert np.array_equal(found.images, expected.images)
    assert (found.labels, found.classes) == (None, ())
    assert len(notes) == 1
    assert "'label'" in notes[0]


def test_labels_left_out_are_not_judged(table, save):
    table[3][0] = "unknown"
    assert read(save(table), labels=False).labels is None


@pytest.mark.parametrize(("ten", "name"), [("-1", "-1"), ("1000", "1000"), ("7.0", "7")])
def test_any_whole_number_is_a_label(table, save, ten, name):
    table[5][0] = ten
    found = read(save(table))
    assert names(found)[4] == name
    assert list(found.classes) == sorted(found.classes, key=int)


def test_given_classes_are_kept(table, save, expected):
    classes = tuple("9876543210")
    found = read(save(table), classes=classes)
    assert found.classes == classes
    assert_same(found, expected)


def test_a_name_that_is_not_utf_8_can_still_be_written(tmp_path):
    path = tmp_path / os.fsdecode(b"l\xe9.csv")
    try:
        path.write_text("a,b,c,d\n1,2,3,255\n")
    except OSError:
        pytest.skip("this system has no such names")
    found = [read(path), *streaming.chunks(path)]
    assert [dataset.name.encode() for dataset in found] == [b"l?.csv"] * 2


def test_images_of_another_size(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text("a,b,c,d\n1,2,3,255\n")
    assert read(path).images.tolist() == [[[1, 2], [3, 255]]]


def test_gzip_and_zip(table, save, expected, tmp_path):
    plain = save(table)
    packed = tmp_path / "train.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert_same(read(packed), expected)
    with zipfile.ZipFile(tmp_path / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "train.csv")
        archive.writestr("__MACOSX/._train.csv", "litter")
    assert_same(read(tmp_path / "train.zip"), expected)
    renamed = (tmp_path / "train.zip").rename(tmp_path / "renamed.csv")
    assert_same(read(renamed), expected)


# The two ways to read agree


@pytest.mark.parametrize("seed", range(4))
def test_fast_and_careful_agree_across_blocks(monkeypatch, seed):
    monkeypatch.setattr(csv_fast, "_BLOCK_BYTES", 500)
    values = np.random.default_rng(seed).integers(0, 256, (300, 17))
    text = "\n".join(",".join(map(str, row)) for row in values) + "\n"
    columns = layout(Path("x.csv"), b"label," + b",".join(b"p%d" % k for k in range(16)))
    fast = csv_fast.table(np.frombuffer(text.encode(), np.uint8), 0, columns)
    careful = csv_fallback.FallbackReader(Path("x.csv"), text.encode(), columns).read()
    for found in (fast, careful):
        assert found is not None
        pixels, labels = found
        assert labels is not None
        assert np.array_equal(pixels, values[:, 1:])
        assert np.array_equal(labels, values[:, 0])


def test_fast_never_reads_what_careful_does_not(monkeypatch):
    monkeypatch.setattr(csv_fast, "_BLOCK_BYTES", 40)
    random = np.random.default_rng(0)
    header = b"label,a,b,c,d\n"
    columns = layout(Path("x.csv"), header)
    understood = 0
    for _ in range(600):
        values = random.integers(0, 256, (random.integers(1, 8), 5))
        rows = bytearray(b"".join(b"%d,%d,%d,%d,%d\n" % tuple(row) for row in values))
        for _ in range(random.integers(0, 3)):
            place = random.integers(len(rows))
            odd = b'059,\n\r"+- .'[random.integers(11)]
            rows[place : place + random.integers(2)] = bytes([odd])
        text = np.frombuffer(header + bytes(rows), np.uint8)
        fast = csv_fast.table(text, len(header), columns)
        if fast is not None:
            careful = csv_fallback.FallbackReader(Path("x.csv"), bytes(rows), columns).read()
            for one, other in zip(fast, careful, strict=True):
                assert one is not None
                assert other is not None
                assert np.array_equal(one, other), rows
            understood += 1
    assert 200 < understood < 560


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("255", 255),
        ("0", 0),
        ("+5", 5),
        ("-0", 0),
        ("007", 7),
        ("5.", 5),
        ("1e2", 100),
        ('"12"', 12),
        ("\t9", 9),
        ("256", None),
        ("299", None),
        ("300", None),
        ("999", None),
        ("1000", None),
        ("4294967297", None),
        ("9" * 60, None),
        ("-1", None),
        ("1_0", None),
        ("0x10", None),
        ("1 2", None),
        ("٣", None),
        ("½", None),
        ("inf", None),
        ("1e999", None),
        ("--1", None),
        ("'1'", None),
    ],
)
@pytest.mark.parametrize("column", [1, 4])
def test_no_spelling_becomes_a_wrong_number(tmp_path, cell, value, column):
    cells = ["3", "10", "20", "30", "40"]
    cells[column] = cell
    path = tmp_path / "odd.csv"
    path.write_text(f"label,a,b,c,d\n1,2,3,4,5\n{','.join(cells)}\n6,7,8,9,10\n", encoding="utf-8")
    if value is None:
        sentence = refusal(path)
        assert "line 3" in sentence
        assert f"column {'-abcd'[column]!r}" in sentence
        assert "expected a whole number from 0 to 255" in sentence
    else:
        cells[column] = str(value)
        found = read(path)
        assert found.images[1].ravel().tolist() == [int(cell) for cell in cells[1:]]
        assert found.images[::2, 0, 0].tolist() == [2, 7]


# What is refused


def blank(table):
    table[6][300] = ""


def not_a_number(table):
    table[6][300] = "NaN"


def text(table):
    table[6][300] = "abc"


def negative(table):
    table[6][300] = "-3"


def too_bright(table):
    table[6][300] = "256"


def fraction(table):
    table[6][300] = "12.5"


def scaled(table):
    for row in table[1:]:
        row[1:] = [str(round(int(cell) / 255, 3)) for cell in row[1:]]


def thresholded(table):
    for row in table[1:]:
        row[1:] = [str(int(cell != "0")) for cell in row[1:]]


def long_row(table):
    table[6].append("0")


def short_row(table):
    table[6].pop()


def blank_line(table):
    table[6] = [""]


def blank_label(table):
    table[6][0] = ""


def label_fraction(table):
    table[6][0] = "3.5"


def label_huge(table):
    table[6][0] = "9" * 20


def label_text(table):
    table[6][0] = "three"


def open_quote(table):
    table[6][300] = '"7'


def nul(table):
    table[6][300] = "\0"


def two_labels(table):
    table[0][5] = "Label"


def twin(table):
    table[0][5] = "pixel9"


def gap(table):
    table[0][5] = "pixel9999"


def stranger(table):
    table[0][5] = "weight"


def endless_number(table):
    table[0][5] = "pixel" + "9" * 5000


def unnamed(table):
    del table[0]


def not_square(table):
    for row in table:
        row.pop()


def no_pixels(table):
    for row in table:
        del row[1:]


def header_only(table):
    del table[1:]


BAD_TABLES = [
    (blank, ["line 7", "'pixel299'", "is blank", "whole number from 0 to 255"]),
    (not_a_number, ["line 7", "'pixel299'", "is blank ('NaN')"]),
    (text, ["line 7", "'pixel299'", "holds 'abc'", "whole number from 0 to 255"]),
    (negative, ["line 7", "'pixel299'", "holds '-3'", "from 0 to 255"]),
    (too_bright, ["line 7", "'pixel299'", "holds '256'", "from 0 to 255"]),
    (fraction, ["line 7", "'pixel299'", "holds '12.5'", "whole number from 0 to 255"]),
    (scaled, ["line 2", "scaled to 0–1, multiply them by 255"]),
    (thresholded, ["no pixel is above 1", "multiply them by 255"]),
    (long_row, ["line 7 has 786 values", "expected 785"]),
    (short_row, ["line 7 has 784 values", "expected 785"]),
    (blank_line, ["line 7 is blank", "expected 785 values"]),
    (blank_label, ["line 7", "column 'label'", "is blank", "whole number as label"]),
    (label_fraction, ["line 7", "column 'label'", "holds '3.5'", "whole number as label"]),
    (label_huge, ["line 7", "column 'label'", "holds '99999999999999999999'"]),
    (label_text, ["line 7", "column 'label'", "holds 'three'"]),
    (open_quote, ["line 7 is not CSV"]),
    (nul, ["line 7 holds NUL bytes"]),
    (two_labels, ["line 1", "columns 1 and 6", "'label'"]),
    (twin, ["line 1", "'pixel9' twice"]),
    (gap, ["line 1 has no column 'pixel4'"]),
    (stranger, ["line 1", "'weight'", "neither the label nor a pixel"]),
    (endless_number, ["line 1, column 'pixel999", "neither the label nor a pixel"]),
    (unnamed, ["line 1 holds numbers", "expected a header"]),
    (not_square, ["line 1", "783 pixel columns", "784 = 28 × 28"]),
    (no_pixels, ["line 1", "0 pixel columns"]),
    (header_only, ["has a header and no rows"]),
]


@pytest.mark.parametrize(("damage", "parts"), BAD_TABLES, ids=[f.__name__ for f, _ in BAD_TABLES])
def test_bad_tables(table, save, damage, parts):
    damage(table)
    sentence = refusal(save(table))
    for part in parts:
        assert part in sentence


def test_the_first_problem_in_file_order_is_told(table, save):
    table[9][3], table[6][700], table[6][20], table[8] = "x", "y", "z", ["1"]
    assert "line 7, column 'pixel19' holds 'z'" in refusal(save(table))


def test_a_problem_before_the_label_comes_first(table, save):
    moved = [[*row[1:], row[0]] for row in table]
    moved[3][2], moved[3][-1] = "x", "y"
    assert "line 4, column 'pixel2'" in refusal(save(moved))


def test_fractions_among_whole_pixels_are_not_called_scaled(table, save):
    table[6][300] = "0.5"
    sentence = refusal(save(table))
    assert "line 7, column 'pixel299' holds '0.5'" in sentence
    assert "scaled" not in sentence


def test_label_required(digits_csv):
    assert "line 1 has no column called 'label'" in refusal(digits_csv / "test.csv", labels=True)


def test_label_outside_the_given_classes(table, save):
    for row in table[1:]:
        row[0] = "1"
    table[6][0] = "7"
    sentence = refusal(save(table), classes=("0", "1"))
    assert "line 7, column 'label' holds '7', expected one of the labels 0, 1" in sentence


def test_separators_other_than_commas(table, save):
    path = save(table)
    path.write_text(path.read_text().replace(",", ";"))
    assert "separated by semicolons, expected commas" in refusal(path)


@pytest.mark.parametrize("keep", ["half a row", "half a cell"])
def test_a_file_cut_short(table, save, keep):
    path = save(table)
    lines = path.read_bytes().split(b"\n")
    lines[-2] = lines[-2][:700] if keep == "half a row" else lines[-2][: lines[-2].rindex(b",") + 1]
    path.write_bytes(b"\n".join(lines[:-1]))
    assert "ends in the middle of line 21" in refusal(path)


def test_a_short_last_row_with_a_line_end_is_not_cut_short(table, save):
    table[-1].pop()
    assert "line 21 has 784 values" in refusal(save(table))


def test_missing_file(tmp_path):
    sentence = refusal(tmp_path / "none.csv")
    assert "no such file" in sentence
    assert "expected a file" in sentence


def test_directory(tmp_path):
    assert "is a directory" in refusal(tmp_path)


def test_no_permission(table, save):
    path = save(table)
    path.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        assert "permission denied" in refusal(path)
    finally:
        if was_root:
            os.seteuid(0)


@pytest.mark.parametrize("text", [b"", b"\xef\xbb\xbf", b"\n\n", b"  "])
def test_empty_file(tmp_path, text):
    path = tmp_path / "train.csv"
    path.write_bytes(text)
    sentence = refusal(path)
    assert "is empty" in sentence or "line 1 is blank" in sentence


@pytest.mark.parametrize(
    ("junk", "part"),
    [
        (b"\x89PNG\r\n\x1a\n", "0x89"),
        (b"\xff\xfel\0a\0b\0", "line 1 holds NUL bytes"),
        (np.random.default_rng(0).bytes(500).replace(b"\n", b"") + b"\0", "line 1"),
    ],
)
def test_binary_junk(tmp_path, junk, part):
    path = tmp_path / "train.csv"
    path.write_bytes(junk)
    assert part in refusal(path)


def test_bytes_that_are_not_utf8_in_a_row(table, save):
    path = save(table)
    lines = path.read_bytes().split(b"\n")
    lines[6] = b"\xe9" + lines[6]
    path.write_bytes(b"\n".join(lines))
    assert "line 7 holds the byte 0xe9" in refusal(path)


def test_the_whole_competition_zip(digits_csv, tmp_path):
    path = tmp_path / "digit-recognizer.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("train.csv", "test.csv", "sample_submission.csv"):
            archive.write(digits_csv / name, name)
    sentence = refusal(path)
    assert "3 CSV files (train.csv, test.csv, sample_submission.csv)" in sentence
    assert "extract it" in sentence


def test_zip_without_csv(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "holds no CSV file" in refusal(tmp_path / "empty.zip")


@pytest.mark.parametrize("damage", ["cut short", "flipped"])
@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_damaged_archives(table, save, tmp_path, kind, damage):
    plain = save(table)
    path = tmp_path / f"train.csv.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, "train.csv")
    packed = bytearray(path.read_bytes())
    if damage == "cut short":
        del packed[len(packed) // 2 :]
    else:
        for position in range(len(packed) // 2, len(packed) // 2 + 8):
            packed[position] ^= 0xFF
    path.write_bytes(packed)
    assert "damaged or cut short" in refusal(path)


def test_every_damaged_byte_of_a_zip_s_directory_gets_a_sentence(tmp_path):
    path = tmp_path / "small.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", "a,b,c,d\n1,2,3,4\n")
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        for value in (0, 9, 0xC6, 0xFF):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                assert read(path).images.tolist() == [[[1, 2], [3, 4]]]
            except DataError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_a_name_that_promises_a_packed_file(table, save, kind):
    path = save(table)
    path = path.rename(path.with_suffix(f".{kind}"))
    assert f"is not {kind} although its name says so" in refusal(path)


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_bombs_are_left_unexploded(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(compression, "HARMLESS_BYTES", 2**20)
    path = tmp_path / f"bomb.{kind}"
    unpacked_bytes = 64 * 2**20
    if kind == "gz":
        path.write_bytes(gzip.compress(bytes(unpacked_bytes)))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("train.csv", bytes(unpacked_bytes))
    tracemalloc.start()
    sentence = refusal(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "once unpacked" in sentence
    assert peak_bytes < unpacked_bytes / 2


def test_a_zip_that_lies_about_its_size(table, save, tmp_path):
    path = tmp_path / "liar.zip"
    plain = save(table)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "train.csv")
    true_size = plain.stat().st_size.to_bytes(4, "little")
    packed = path.read_bytes()
    assert packed.count(true_size) == 2
    path.write_bytes(packed.replace(true_size, (1000).to_bytes(4, "little")))
    assert "damaged or cut short" in refusal(path)


def test_a_file_too_large_for_memory(table, save, monkeypatch):
    monkeypatch.setattr(compression, "LARGEST_BYTES", 1000)
    assert "holds more than" in refusal(save(table))


# Writing


def test_labels_are_needed_to_write(digits, tmp_path):
    nameless = Dataset(digits.images)
    with pytest.raises(DataError, match="has no labels"):
        write_kaggle_folder(tmp_path / "new", digits, nameless)
    assert not (tmp_path / "new").exists()


def test_other_class_names_are_written(tmp_path):
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    odd = Dataset(images, np.array([1, 0]), ("-1", "1000"))
    write_kaggle_folder(tmp_path, odd, odd)
    header, *lines = (tmp_path / "train.csv").read_text().splitlines()
    assert header == "label,pixel0,pixel1,pixel2,pixel3"
    assert lines == ["1000,0,1,2,3", "-1,4,5,6,7"]
    assert (tmp_path / "truth.csv").read_text() == "ImageId,Label\n1,1000\n2,-1\n"


def test_a_folder_that_cannot_be(digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a writable folder"):
        write_kaggle_folder(tmp_path / "file", digits, digits)


def test_kaggles_own_files_are_left_alone(digits, tmp_path):
    (tmp_path / "train.csv").write_text("of somebody else")
    with pytest.raises(OutputError, match=r"holds train.csv and no truth.csv, so it was not"):
        write_kaggle_folder(tmp_path, digits, digits)
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]
    assert (tmp_path / "train.csv").read_text() == "of somebody else"
    few = digits.select(np.arange(20))
    for part in (few, few.select(np.arange(10))):  # our own are replaced
        write_kaggle_folder(tmp_path / "ours", part, part)
        assert len(read(tmp_path / "ours" / "train.csv", labels=True)) == len(part)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from tenfold.data import Dataset, write_kaggle_folder
from tenfold.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
digits = Dataset(np.zeros((500, 28, 28), np.uint8), np.zeros(500, np.int64), ("0",))
try:
    write_kaggle_folder(Path(sys.argv[1]), digits, digits)
except OutputError as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{tmp_path / 'train.csv'}: cannot be written (file too large)" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["truth.csv"]
