"""Files read in chunks and shards, compared with the same files read at once."""

import gzip
import io
import logging
import re
import zipfile

import numpy as np
import pytest

from tenfold import data
from tenfold.data import streaming
from tenfold.data.streaming import Shard, chunks, split_file
from tenfold.errors import DataError


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of about twenty digits, since the files here are small."""
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 2**15)
    monkeypatch.setattr(streaming, "CHUNK_ROWS", 50)


def concat_images(datasets):
    return np.concatenate([dataset.images for dataset in datasets])


def read_shards(path, found):
    return concat_images([chunk for shard in found for chunk in chunks(path, shard)])


@pytest.fixture
def expected(digits_csv):
    return data.read(digits_csv / "test.csv", labels=False).images


VARIANTS = {
    "plain": lambda text: text,
    "crlf": lambda text: text.replace(b"\n", b"\r\n"),
    "no line end": lambda text: text.rstrip(b"\n"),
    "bom": lambda text: b"\xef\xbb\xbf" + text,
    "quoted": lambda text: re.sub(rb"\b0\b", b'"0"', text),
    "gz": gzip.compress,
    "blank end": lambda text: text + b"\n\n  \n",
    "long blank end": lambda text: text + b"\n" * 2**17,
}


def write_variant(path, folder, variant):
    if variant == "zip":
        with zipfile.ZipFile(folder / "test.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "test.csv")
        return folder / "test.zip"
    (folder / f"test.{variant}").write_bytes(VARIANTS[variant](path.read_bytes()))
    return folder / f"test.{variant}"


@pytest.mark.parametrize("variant", [*VARIANTS, "zip"])
def test_chunks_equal_the_whole_file(digits_csv, tmp_path, expected, variant):
    path = write_variant(digits_csv / "test.csv", tmp_path, variant)
    found = list(chunks(path))
    assert len(found) > 10
    np.testing.assert_array_equal(concat_images(found), expected)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("n_rows", [1, 30])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_last_row_across_two_chunks(
    monkeypatch, digits_csv, tmp_path, expected, compress, n_rows, end
):
    lines = (digits_csv / "test.csv").read_bytes().split(b"\n")[: n_rows + 1]
    path = tmp_path / "test.csv"
    path.write_bytes(compress(b"\n".join(lines) + end))
    monkeypatch.setattr(streaming, "CHUNK_BYTES", sum(map(len, lines[1:])) + n_rows - 10)
    np.testing.assert_array_equal(concat_images(chunks(path)), expected[:n_rows])


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_shards_equal_the_whole_file(digits_csv, expected, count):
    path = digits_csv / "test.csv"
    found = split_file(path, count)
    assert len(found) == min(count, path.stat().st_size // 2**15)
    np.testing.assert_array_equal(read_shards(path, found), expected)


def test_shards_cut_at_and_around_a_line_ending(digits_csv, expected):
    path = digits_csv / "test.csv"
    text = path.read_bytes()
    line_start = text.index(b"\n", len(text) // 2) + 1
    for cut in (line_start - 1, line_start, line_start + 1, 1, len(text) - 1):
        found = read_shards(path, [Shard(0, cut), Shard(cut, None)])
        np.testing.assert_array_equal(found, expected)


def test_a_compressed_file_is_one_shard(digits_csv, tmp_path):
    path = write_variant(digits_csv / "test.csv", tmp_path, "gz")
    assert split_file(path, 8) == [Shard(0, None)]


@pytest.fixture(params=["csv", "csv.gz", "parquet"])
def write_numbered(request, digits_csv, tmp_path):
    """A function that writes the 800 digits after a column of ids and returns the path."""

    def write(ids):
        header, *lines = (digits_csv / "test.csv").read_text().splitlines()
        rows = [f"{number},{line}" for number, line in zip(ids, lines, strict=True)]
        text = "\n".join(["ImageId," + header, *rows, ""]).encode()
        path = tmp_path / f"numbered.{request.param}"
        if request.param == "parquet":
            import pyarrow.csv
            import pyarrow.parquet

            table = pyarrow.csv.read_csv(io.BytesIO(text))
            pyarrow.parquet.write_table(table, path, row_group_size=130)
        else:
            path.write_bytes(gzip.compress(text) if request.param == "csv.gz" else text)
        return path

    return write


def test_row_ids_are_checked_across_chunks_and_shards(write_numbered, expected, caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    path = write_numbered(range(1, 801))
    np.testing.assert_array_equal(concat_images(chunks(path)), expected)
    message = f"{path}: ignored the column 'ImageId', which only numbers the rows"
    assert caplog.messages == [message]
    for count in (3, 7):
        np.testing.assert_array_equal(read_shards(path, split_file(path, count)), expected)


@pytest.mark.parametrize(
    "ids",
    [[*range(401, 801), *range(1, 401)], [*range(1, 401), *range(501, 901)]],
    ids=["second half first", "gap"],
)
def test_row_ids_out_of_order_anywhere_error_message(write_numbered, ids):
    """The ids are consecutive within each half, but not from one to the other."""
    path = write_numbered(ids)
    line = r"(line 402|row 401)"
    found = f"{line}, column 'ImageId' holds '?{ids[400]}'?, expected {ids[399] + 1}: predictions"
    with pytest.raises(DataError, match=found):
        list(chunks(path))
    *_, last = split_file(path, 6)
    with pytest.raises(DataError, match=r"column 'ImageId' holds .* predictions are numbered"):
        list(chunks(path, last))


def test_parquet_equals_csv(digits_csv, tmp_path, expected):
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.csv.read_csv(digits_csv / "test.csv")
    path = tmp_path / "test.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=130)
    np.testing.assert_array_equal(concat_images(chunks(path)), expected)
    found = split_file(path, 3)
    assert [shard.start for shard in found] == [0, 2, 4]
    np.testing.assert_array_equal(read_shards(path, found), expected)


def test_errors_name_the_line_in_the_file(digits_csv, tmp_path):
    lines = (digits_csv / "test.csv").read_text().splitlines()
    lines[699] = lines[699].replace("0,", "256,", 1)
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"bad\.csv: line 700, column 'pixel0' holds '256'"):
        list(chunks(path))
    with pytest.raises(DataError, match=r"bad\.csv: line 700, column 'pixel0' holds '256'"):
        read_shards(path, split_file(path, 5)[-2:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: b"", "is empty, expected a header line"),
        (lambda text: b"pixel0,pixel1,pixel2\n1,2,3\n", "names 3 pixel columns"),
        (lambda text: text[:-900], "the file ends in the middle of line 801"),
        (lambda text: text.replace(b"\n", b"\n\n", 400), "is blank"),
        (lambda text: text.split(b"\n")[0] + b"\n" + b"1" * 2**17, "has a line of more than"),
    ],
)  # fmt: skip
def test_damaged_file_error_message(digits_csv, tmp_path, damage, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(damage((digits_csv / "test.csv").read_bytes()))
    with pytest.raises(DataError, match=message):
        list(chunks(path))


def test_truncated_gzip_error_message(digits_csv, tmp_path):
    path = write_variant(digits_csv / "test.csv", tmp_path, "gz")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="damaged or cut short"):
        list(chunks(path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, None, 3], "row 2, column 'pixel3' is blank"),
        ([1, 2, 256], "row 3, column 'pixel3' holds 256"),
        ([0.0, -0.5, 1.0], "row 2, column 'pixel3' holds -0.5"),
        (["a", "b", "c"], "column 'pixel3' holds string"),
    ],
)
def test_invalid_parquet_pixels_error_message(tmp_path, values, message):
    import pyarrow
    import pyarrow.parquet

    columns = {f"pixel{at}": [200, 0, 7] for at in range(3)} | {"pixel3": values}
    path = tmp_path / "bad.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(DataError, match=message):
        list(chunks(path))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "c"], "row 1, column 'id' holds 'a', expected a whole number"),
        ([0.5, 1.5, 2.5], "row 1, column 'id' holds 0.5, expected a whole number"),
        ([None, 1, 2], "row 1, column 'id' holds None, expected a whole number"),
        ([1, None, 3], "row 2, column 'id' holds None, expected 2"),
        ([3, 1, 2], "row 2, column 'id' holds 1, expected 4"),
    ],
)
def test_invalid_parquet_row_ids_error_message(tmp_path, ids, message):
    import pyarrow
    import pyarrow.parquet

    columns = {"id": ids} | {f"pixel{at}": [200, 0, 7] for at in range(4)}
    path = tmp_path / "bad.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(DataError, match=message):
        list(chunks(path))


def test_damaged_parquet_error_message(tmp_path):
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(DataError, match="damaged or no Parquet file"):
        list(chunks(path))


def test_parquet_damaged_in_the_middle_error_message(digits_csv, tmp_path):
    import pyarrow.csv
    import pyarrow.parquet

    path = tmp_path / "test.parquet"
    table = pyarrow.csv.read_csv(digits_csv / "test.csv")
    pyarrow.parquet.write_table(table, path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[1000 : len(content) // 2] = b"x" * (len(content) // 2 - 1000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test\.parquet: is damaged"):
        list(chunks(path))


def test_missing_file_error_message(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(chunks(tmp_path / "none.csv"))
