import gzip
import logging
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
from tenfold.data.csv_header import parse_header
from tenfold.errors import DataError, OutputError


@pytest.fixture
def expected(digits_csv):
    return read(digits_csv / "train.csv", labels=True).select(np.arange(20))


def assert_same(found: Dataset, expected: Dataset) -> None:
    assert np.array_equal(found.images, expected.images)
    assert found.label_names().tolist() == expected.label_names().tolist()


def error_message(path: Path, **options: Any) -> str:
    """The message of the DataError that `read` raises: one line that names the file."""
    with pytest.raises(DataError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# Reading


def test_written_files_are_read_back(digits, digits_csv):
    train, test = (read(digits_csv / name) for name in ("train.csv", "test.csv"))
    both = {image.tobytes() for image in (*train.images, *test.images)}
    assert both == {image.tobytes() for image in digits.images}
    assert (len(train), len(test)) == (1200, 800)
    assert train.classes == tuple("0123456789")
    assert test.labels is None
    assert train.name == "train.csv"
    truth = dict(zip((image.tobytes() for image in digits.images), digits.labels, strict=True))
    assert [truth[image.tobytes()] for image in train.images] == train.require_labels().tolist()
    test_labels = read_submission(digits_csv / "truth.csv")
    assert [truth[image.tobytes()] for image in test.images] == test_labels.tolist()
    assert set(read_submission(digits_csv / "sample_submission.csv")) == {0}


def test_headers_are_those_of_the_competition(digits_csv, csv_rows):
    assert csv_rows[0] == ["label", *(f"pixel{column}" for column in range(784))]
    for name in ("truth.csv", "sample_submission.csv"):
        assert (digits_csv / name).read_bytes().startswith(b"ImageId,Label\n1,")


def test_full_size_round_trip(mnist, tmp_path):
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
def test_csv_dialects(table, write_csv, expected, form):
    found = read(write_csv(table, **form))
    assert_same(found, expected)
    assert found.images.flags.writeable


def test_mixed_line_endings(table, write_csv, expected):
    path = write_csv(table)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 4))
    assert_same(read(path), expected)


def test_byte_order_mark(table, write_csv, expected):
    path = write_csv(table)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert_same(read(path, labels=True), expected)


def test_spaces_around_cells(table, write_csv, expected):
    assert_same(read(write_csv([[f" {cell} " for cell in row] for row in table])), expected)


def test_floats_with_integer_values(table, write_csv, expected):
    table[1:] = [[f"{float(cell):.18e}" for cell in row] for row in table[1:]]
    assert_same(read(write_csv(table)), expected)


def test_label_column_in_any_case_and_position(table, write_csv, expected):
    moved = [[*row[1:400], row[0], *row[400:]] for row in table]
    moved[0][399] = " Label "
    assert_same(read(write_csv(moved), labels=True), expected)


def test_numbered_pixel_columns_are_sorted(table, write_csv, expected):
    order = [0, *(1 + np.random.default_rng(0).permutation(784))]
    assert_same(read(write_csv([[row[column] for column in order] for row in table])), expected)


@pytest.mark.parametrize("name", ["pixel{number}", "{row}x{column}"])
def test_other_pixel_column_names(table, write_csv, expected, name):
    table[0][1:] = [
        name.format(number=number + 1, row=number // 28 + 1, column=number % 28 + 1)
        for number in range(784)
    ]
    assert_same(read(write_csv(table)), expected)


@pytest.mark.parametrize("name", ["ImageId", "id", ""])
def test_row_ids_beside_labels_are_ignored_and_logged(table, write_csv, expected, name, caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    numbered = [[str(line * 1000), *row] for line, row in enumerate(table)]
    numbered[0][0] = name
    path = write_csv(numbered)
    assert_same(read(path), expected)
    assert caplog.messages == [f"{path}: ignored the column {name!r}, which only numbers the rows"]


@pytest.mark.parametrize("first", [0, 1, 28_001])
@pytest.mark.parametrize("position", [0, 300, 784])
def test_consecutive_row_ids_are_ignored(table, write_csv, expected, first, position):
    for line, row in enumerate(table):
        row[0:1] = []
        row.insert(position, str(first + line - 1) if line else "ImageId")
    assert np.array_equal(read(write_csv(table)).images, expected.images)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            ["3", "1", "2"],
            "line 3, column 'ImageId' holds '1', expected 4: predictions are numbered",
        ),
        (["1", "2", "4"], "line 4, column 'ImageId' holds '4', expected 3"),
        (["1", "1", "1"], "line 3, column 'ImageId' holds '1', expected 2"),
        (["0", "", "2"], "line 3, column 'ImageId' is blank"),
        (["a", "b", "c"], "line 2, column 'ImageId' holds 'a', expected a whole number"),
        (["1", "1.5", "2"], "line 3, column 'ImageId' holds '1.5', expected a whole number"),
    ],
)
def test_invalid_row_ids_error_message(table, write_csv, ids, message):
    numbered = [[cell, *row[1:]] for cell, row in zip(["ImageId", *ids], table, strict=False)]
    assert message in error_message(write_csv(numbered))
    labelled = [[cell, *row] for cell, row in zip(["ImageId", *ids], table, strict=False)]
    assert len(read(write_csv(labelled), labels=True)) == 3
    assert message in error_message(write_csv(labelled), labels=False)


def test_labels_can_be_ignored(table, write_csv, expected, caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    path = write_csv(table)
    found = read(path, labels=False)
    assert np.array_equal(found.images, expected.images)
    assert (found.labels, found.classes) == (None, ())
    assert caplog.messages == [f"{path}: ignored the column 'label'"]


def test_reading_logs_nothing_else(table, write_csv, caplog):
    caplog.set_level(logging.DEBUG, logger="tenfold")
    read(write_csv(table), labels=True)
    assert caplog.messages == []


def test_ignored_labels_are_not_validated(table, write_csv):
    table[3][0] = "unknown"
    assert read(write_csv(table), labels=False).labels is None


@pytest.mark.parametrize(("ten", "name"), [("-1", "-1"), ("1000", "1000"), ("7.0", "7")])
def test_any_integer_is_a_label(table, write_csv, ten, name):
    table[5][0] = ten
    found = read(write_csv(table))
    assert found.label_names()[4] == name
    assert list(found.classes) == sorted(found.classes, key=int)


def test_given_classes_keep_their_order(table, write_csv, expected):
    classes = tuple("9876543210")
    found = read(write_csv(table), classes=classes)
    assert found.classes == classes
    assert_same(found, expected)


def test_file_names_that_are_not_utf8_give_printable_dataset_names(tmp_path):
    path = tmp_path / os.fsdecode(b"l\xe9.csv")
    try:
        path.write_text("a,b,c,d\n1,2,3,255\n")
    except OSError:
        pytest.skip("this file system has no such names")
    found = [read(path), *streaming.chunks(path)]
    assert [dataset.name.encode() for dataset in found] == [b"l?.csv"] * 2


def test_other_image_sizes(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text("a,b,c,d\n1,2,3,255\n")
    assert read(path).images.tolist() == [[[1, 2], [3, 255]]]


def test_gzip_and_zip(table, write_csv, expected, tmp_path):
    plain = write_csv(table)
    compressed = tmp_path / "train.csv.gz"
    compressed.write_bytes(gzip.compress(plain.read_bytes()))
    assert_same(read(compressed), expected)
    with zipfile.ZipFile(tmp_path / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "train.csv")
        archive.writestr("__MACOSX/._train.csv", "metadata of macOS")
    assert_same(read(tmp_path / "train.zip"), expected)
    renamed = (tmp_path / "train.zip").rename(tmp_path / "renamed.csv")
    assert_same(read(renamed), expected)


# The fast parser and the fallback agree


@pytest.mark.parametrize("seed", range(4))
def test_fast_parser_and_fallback_agree_across_blocks(monkeypatch, seed):
    monkeypatch.setattr(csv_fast, "_BLOCK_BYTES", 500)
    values = np.random.default_rng(seed).integers(0, 256, (300, 17))
    text = "\n".join(",".join(map(str, row)) for row in values) + "\n"
    schema = parse_header(Path("x.csv"), b"label," + b",".join(b"p%d" % k for k in range(16)))
    fast = csv_fast.parse_table(np.frombuffer(text.encode(), np.uint8), 0, schema)
    fallback = csv_fallback.FallbackReader(Path("x.csv"), text.encode(), schema).read()
    for found in (fast, fallback):
        assert found is not None
        pixels, labels = found
        assert labels is not None
        assert np.array_equal(pixels, values[:, 1:])
        assert np.array_equal(labels, values[:, 0])


def test_fast_parser_never_accepts_what_the_fallback_rejects(monkeypatch):
    monkeypatch.setattr(csv_fast, "_BLOCK_BYTES", 40)
    random = np.random.default_rng(0)
    header = b"label,a,b,c,d\n"
    schema = parse_header(Path("x.csv"), header)
    n_accepted = 0
    for _ in range(600):
        values = random.integers(0, 256, (random.integers(1, 8), 5))
        rows = bytearray(b"".join(b"%d,%d,%d,%d,%d\n" % tuple(row) for row in values))
        for _ in range(random.integers(0, 3)):
            position = random.integers(len(rows))
            unusual = b'059,\n\r"+- .'[random.integers(11)]
            rows[position : position + random.integers(2)] = bytes([unusual])
        text = np.frombuffer(header + bytes(rows), np.uint8)
        fast = csv_fast.parse_table(text, len(header), schema)
        if fast is not None:
            fallback = csv_fallback.FallbackReader(Path("x.csv"), bytes(rows), schema).read()
            for one, other in zip(fast, fallback, strict=True):
                assert one is not None
                assert other is not None
                assert np.array_equal(one, other), rows
            n_accepted += 1
    assert 200 < n_accepted < 560


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
def test_every_cell_is_parsed_correctly_or_rejected(tmp_path, cell, value, column):
    cells = ["3", "10", "20", "30", "40"]
    cells[column] = cell
    path = tmp_path / "odd.csv"
    path.write_text(f"label,a,b,c,d\n1,2,3,4,5\n{','.join(cells)}\n6,7,8,9,10\n", encoding="utf-8")
    if value is None:
        message = error_message(path)
        assert "line 3" in message
        assert f"column {'-abcd'[column]!r}" in message
        assert "expected a whole number from 0 to 255" in message
    else:
        cells[column] = str(value)
        found = read(path)
        assert found.images[1].ravel().tolist() == [int(cell) for cell in cells[1:]]
        assert found.images[::2, 0, 0].tolist() == [2, 7]


# Errors


def blank_pixel(table):
    table[6][300] = ""


def nan_pixel(table):
    table[6][300] = "NaN"


def text_pixel(table):
    table[6][300] = "abc"


def negative_pixel(table):
    table[6][300] = "-3"


def pixel_too_large(table):
    table[6][300] = "256"


def long_row(table):
    table[6].append("0")


def short_row(table):
    table[6].pop()


def blank_line(table):
    table[6] = [""]


def blank_label(table):
    table[6][0] = ""


def fractional_label(table):
    table[6][0] = "3.5"


def label_too_large(table):
    table[6][0] = "9" * 20


def text_label(table):
    table[6][0] = "three"


def unclosed_quote(table):
    table[6][300] = '"7'


def nul_byte(table):
    table[6][300] = "\0"


def two_labels(table):
    table[0][5] = "Label"


def duplicate_pixel(table):
    table[0][5] = "pixel9"


def missing_pixel(table):
    table[0][5] = "pixel9999"


def unknown_column(table):
    table[0][5] = "weight"


def overlong_pixel_number(table):
    table[0][5] = "pixel" + "9" * 5000


def not_square(table):
    for row in table:
        row.pop()


def no_pixels(table):
    for row in table:
        del row[1:]


def header_only(table):
    del table[1:]


DAMAGED_TABLES = [
    (blank_pixel, ["line 7", "'pixel299'", "is blank", "whole number from 0 to 255"]),
    (nan_pixel, ["line 7", "'pixel299'", "is blank ('NaN')"]),
    (text_pixel, ["line 7", "'pixel299'", "holds 'abc'", "whole number from 0 to 255"]),
    (negative_pixel, ["line 7", "'pixel299'", "holds '-3'", "from 0 to 255"]),
    (pixel_too_large, ["line 7", "'pixel299'", "holds '256'", "from 0 to 255"]),
    (long_row, ["line 7 has 786 values", "expected 785"]),
    (short_row, ["line 7 has 784 values", "expected 785"]),
    (blank_line, ["line 7 is blank", "expected 785 values"]),
    (blank_label, ["line 7", "column 'label'", "is blank", "whole number as label"]),
    (fractional_label, ["line 7", "column 'label'", "holds '3.5'", "whole number as label"]),
    (label_too_large, ["line 7", "column 'label'", "holds '99999999999999999999'"]),
    (text_label, ["line 7", "column 'label'", "holds 'three'"]),
    (unclosed_quote, ["line 7 is not CSV"]),
    (nul_byte, ["line 7 holds NUL bytes"]),
    (two_labels, ["line 1", "columns 1 and 6", "'label'"]),
    (duplicate_pixel, ["line 1", "'pixel9' twice"]),
    (missing_pixel, ["line 1 has no column 'pixel4'"]),
    (unknown_column, ["line 1", "'weight'", "neither the label nor a pixel"]),
    (overlong_pixel_number, ["line 1, column 'pixel999", "neither the label nor a pixel"]),
    (not_square, ["line 1", "783 pixel columns", "784 = 28 × 28"]),
    (no_pixels, ["line 1 is 'label'", "expected the names of several columns"]),
    (header_only, ["has a header and no rows"]),
]


@pytest.mark.parametrize(
    ("damage", "messages"), DAMAGED_TABLES, ids=[f.__name__ for f, _ in DAMAGED_TABLES]
)
def test_damaged_table_error_message(table, write_csv, damage, messages):
    damage(table)
    found = error_message(write_csv(table))
    for message in messages:
        assert message in found


def test_the_first_error_in_file_order_is_reported(table, write_csv):
    table[9][3], table[6][700], table[6][20], table[8] = "x", "y", "z", ["1"]
    assert "line 7, column 'pixel19' holds 'z'" in error_message(write_csv(table))


def test_an_error_before_the_label_is_reported_first(table, write_csv):
    moved = [[*row[1:], row[0]] for row in table]
    moved[3][2], moved[3][-1] = "x", "y"
    assert "line 4, column 'pixel2'" in error_message(write_csv(moved))


def test_fractions_among_pixels_from_0_to_255_are_rounded_and_said(
    table, write_csv, expected, caplog
):
    caplog.set_level(logging.INFO, logger="tenfold")
    table[6][300], table[7][300] = "0.4", "254.6"
    path = write_csv(table)
    found = read(path)
    assert caplog.messages == [f"{path}: its pixels have fractions, rounded to whole numbers"]
    assert found.images[6].ravel()[299] == 255
    found.images[6].ravel()[299] = expected.images[6].ravel()[299]
    assert_same(found, expected)


def test_missing_label_column_error_message(digits_csv):
    assert "line 1 has no column called 'label'" in error_message(
        digits_csv / "test.csv", labels=True
    )


def test_label_outside_the_classes_error_message(table, write_csv):
    for row in table[1:]:
        row[0] = "1"
    table[6][0] = "7"
    message = error_message(write_csv(table), classes=("0", "1"))
    assert "line 7, column 'label' holds '7', expected one of the labels 0, 1" in message


@pytest.mark.parametrize("keep", ["half a row", "half a cell"])
def test_truncated_file_error_message(table, write_csv, keep):
    path = write_csv(table)
    lines = path.read_bytes().split(b"\n")
    lines[-2] = lines[-2][:700] if keep == "half a row" else lines[-2][: lines[-2].rindex(b",") + 1]
    path.write_bytes(b"\n".join(lines[:-1]))
    assert "ends in the middle of line 21" in error_message(path)


def test_a_short_last_row_with_a_line_ending_is_not_called_truncated(table, write_csv):
    table[-1].pop()
    assert "line 21 has 784 values" in error_message(write_csv(table))


def test_missing_file_error_message(tmp_path):
    message = error_message(tmp_path / "none.csv")
    assert "no such file" in message
    assert "expected a file" in message


def test_directory_error_message(tmp_path):
    assert "holds no data file and no pictures" in error_message(tmp_path)


def test_unreadable_file_error_message(table, write_csv):
    path = write_csv(table)
    path.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        assert "permission denied" in error_message(path)
    finally:
        if was_root:
            os.seteuid(0)


@pytest.mark.parametrize("text", [b"", b"\xef\xbb\xbf", b"\n\n", b"  "])
def test_empty_file_error_message(tmp_path, text):
    path = tmp_path / "train.csv"
    path.write_bytes(text)
    message = error_message(path)
    assert "is empty" in message or "line 1 is blank" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n", "is a picture"),
        (b"\xff\xfel\0a\0b\0", "line 1 is 'lab', expected the names of several columns"),
        (b"l\0a\0b\0", "line 1 holds NUL bytes"),
        (np.random.default_rng(0).bytes(500).replace(b"\n", b"") + b"\0", "line 1"),
    ],
)
def test_binary_file_error_message(tmp_path, content, message):
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    assert message in error_message(path)


def test_row_that_is_not_utf8_error_message(table, write_csv):
    path = write_csv(table)
    lines = path.read_bytes().split(b"\n")
    lines[6] = b"\xe9" + lines[6]
    path.write_bytes(b"\n".join(lines))
    assert "line 7 holds the byte 0xe9" in error_message(path)


def test_zip_without_csv_error_message(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "holds no CSV file" in error_message(tmp_path / "empty.zip")


@pytest.mark.parametrize("damage", ["cut short", "flipped"])
@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_damaged_archive_error_message(table, write_csv, tmp_path, kind, damage):
    plain = write_csv(table)
    path = tmp_path / f"train.csv.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, "train.csv")
    compressed = bytearray(path.read_bytes())
    if damage == "cut short":
        del compressed[len(compressed) // 2 :]
    else:
        for position in range(len(compressed) // 2, len(compressed) // 2 + 8):
            compressed[position] ^= 0xFF
    path.write_bytes(compressed)
    assert "damaged or cut short" in error_message(path)


def test_any_damaged_byte_of_a_zip_is_harmless_or_a_data_error(tmp_path):
    path = tmp_path / "small.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", "a,b,c,d\n1,2,3,4\n")
    intact = path.read_bytes()
    n_errors = 0
    for position in range(len(intact)):
        for value in (0, 9, 0xC6, 0xFF):
            path.write_bytes(intact[:position] + bytes([value]) + intact[position + 1 :])
            try:
                assert read(path).images.tolist() == [[[1, 2], [3, 4]]]
            except DataError:
                n_errors += 1
    assert n_errors > 100


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_misleading_suffix_error_message(table, write_csv, kind):
    path = write_csv(table)
    path = path.rename(path.with_suffix(f".{kind}"))
    assert f"is not {kind} although its name says so" in error_message(path)


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_decompression_bombs_are_rejected_within_little_memory(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(compression, "HARMLESS_BYTES", 2**20)
    path = tmp_path / f"bomb.{kind}"
    decompressed_bytes = 64 * 2**20
    if kind == "gz":
        path.write_bytes(gzip.compress(bytes(decompressed_bytes)))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("train.csv", bytes(decompressed_bytes))
    tracemalloc.start()
    message = error_message(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "once decompressed" in message
    assert peak_bytes < decompressed_bytes / 2


def test_zip_with_a_false_size_error_message(table, write_csv, tmp_path):
    path = tmp_path / "false-size.zip"
    plain = write_csv(table)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "train.csv")
    true_size = plain.stat().st_size.to_bytes(4, "little")
    compressed = path.read_bytes()
    assert compressed.count(true_size) == 2
    path.write_bytes(compressed.replace(true_size, (1000).to_bytes(4, "little")))
    assert "damaged or cut short" in error_message(path)


def test_too_large_file_error_message(table, write_csv, monkeypatch):
    monkeypatch.setattr(compression, "MAX_FILE_BYTES", 1000)
    assert "holds more than" in error_message(write_csv(table))


# Writing


def test_writing_requires_labels(digits, tmp_path):
    unlabelled = Dataset(digits.images)
    with pytest.raises(DataError, match="has no labels"):
        write_kaggle_folder(tmp_path / "new", digits, unlabelled)
    assert not (tmp_path / "new").exists()


def test_other_class_names_are_written(tmp_path):
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    dataset = Dataset(images, np.array([1, 0]), ("-1", "1000"))
    write_kaggle_folder(tmp_path, dataset, dataset)
    header, *lines = (tmp_path / "train.csv").read_text().splitlines()
    assert header == "label,pixel0,pixel1,pixel2,pixel3"
    assert lines == ["1000,0,1,2,3", "-1,4,5,6,7"]
    assert (tmp_path / "truth.csv").read_text() == "ImageId,Label\n1,1000\n2,-1\n"


def test_unwritable_folder_error_message(digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a writable folder"):
        write_kaggle_folder(tmp_path / "file", digits, digits)


def test_files_of_kaggle_are_not_replaced(digits, tmp_path):
    (tmp_path / "train.csv").write_text("not ours")
    with pytest.raises(OutputError, match=r"holds train.csv and no truth.csv, so it was not"):
        write_kaggle_folder(tmp_path, digits, digits)
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]
    assert (tmp_path / "train.csv").read_text() == "not ours"
    few = digits.select(np.arange(20))
    for part in (few, few.select(np.arange(10))):  # an earlier call's files are replaced
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


def test_full_disk_leaves_no_partial_file(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{tmp_path / 'train.csv'}: cannot be written (file too large)" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["truth.csv"]
