"""Long files in pieces, against the same files read whole."""

import gzip
import io
import re
import zipfile

import numpy as np
import pytest

from tenfold import data
from tenfold.data import streaming
from tenfold.data.streaming import Part, chunks, parts
from tenfold.errors import DataError


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of some twenty digits: the files here are small."""
    monkeypatch.setattr(streaming, "BYTES_AT_ONCE", 2**15)
    monkeypatch.setattr(streaming, "ROWS_AT_ONCE", 50)


def joined(pieces):
    return np.concatenate([piece.images for piece in pieces])


@pytest.fixture
def whole(digits_csv):
    return data.read(digits_csv / "test.csv", labels=False).images


HOW = {
    "plain": lambda text: text,
    "crlf": lambda text: text.replace(b"\n", b"\r\n"),
    "no line end": lambda text: text.rstrip(b"\n"),
    "bom": lambda text: b"\xef\xbb\xbf" + text,
    "quoted": lambda text: re.sub(rb"\b0\b", b'"0"', text),
    "gz": gzip.compress,
    "blank end": lambda text: text + b"\n\n  \n",
    "long blank end": lambda text: text + b"\n" * 2**17,
}


def changed(path, folder, how):
    if how == "zip":
        with zipfile.ZipFile(folder / "test.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "test.csv")
        return folder / "test.zip"
    (folder / f"test.{how}").write_bytes(HOW[how](path.read_bytes()))
    return folder / f"test.{how}"


@pytest.mark.parametrize("how", [*HOW, "zip"])
def test_pieces_make_the_whole(digits_csv, tmp_path, whole, how):
    path = changed(digits_csv / "test.csv", tmp_path, how)
    pieces = list(chunks(path))
    assert len(pieces) > 10
    np.testing.assert_array_equal(joined(pieces), whole)


@pytest.mark.parametrize("how", [bytes, gzip.compress])
@pytest.mark.parametrize("rows", [1, 30])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_last_row_lies_across_two_pieces(
    monkeypatch, digits_csv, tmp_path, whole, how, rows, end
):
    lines = (digits_csv / "test.csv").read_bytes().split(b"\n")[: rows + 1]
    path = tmp_path / "test.csv"
    path.write_bytes(how(b"\n".join(lines) + end))
    monkeypatch.setattr(streaming, "BYTES_AT_ONCE", sum(map(len, lines[1:])) + rows - 10)
    np.testing.assert_array_equal(joined(chunks(path)), whole[:rows])


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_parts_make_the_whole_wherever_they_are_cut(digits_csv, whole, count):
    path = digits_csv / "test.csv"
    found = parts(path, count)
    assert len(found) == min(count, path.stat().st_size // 2**15)
    np.testing.assert_array_equal(
        joined([piece for part in found for piece in chunks(path, part)]), whole
    )


def test_parts_cut_at_and_around_a_line_end(digits_csv, whole):
    path = digits_csv / "test.csv"
    text = path.read_bytes()
    end_of_line = text.index(b"\n", len(text) // 2) + 1
    for cut in (end_of_line - 1, end_of_line, end_of_line + 1, 1, len(text) - 1):
        both = [*chunks(path, Part(0, cut)), *chunks(path, Part(cut, None))]
        np.testing.assert_array_equal(joined(both), whole)


def test_a_packed_file_is_one_part(digits_csv, tmp_path):
    path = changed(digits_csv / "test.csv", tmp_path, "gz")
    assert parts(path, 8) == [Part(0, None)]


@pytest.fixture(params=["csv", "csv.gz", "parquet"])
def numbered(request, digits_csv, tmp_path):
    """What writes the 800 digits behind a column of ids, and returns the file."""

    def write(ids):
        header, *lines = (digits_csv / "test.csv").read_text().splitlines()
        rows = [f"{number},{line}" for number, line in zip(ids, lines, strict=True)]
        text = "\n".join(["ImageId," + header, *rows, ""]).encode()
        path = tmp_path / f"numbered.{request.param}"
        if request.param == "parquet":
            import pyarrow.csv
            import pyarrow.parquet

            table = pyarrow.csv.read_csv(io.BytesIO(text))
            pyarrow.parquet.write_csv(table, path, row_group_size=130)
        else:
            path.write_bytes(gzip.compress(text) if request.param == "csv.gz" else text)
        return path

    return write


def test_row_numbers_count_through_pieces_and_parts(numbered, whole):
    path, notes = numbered(range(1, 801)), []
    np.testing.assert_array_equal(joined(chunks(path, on_note=notes.append)), whole)
    assert len(notes) == 1
    for count in (3, 7):
        pieces = [piece for part in parts(path, count) for piece in chunks(path, part)]
        np.testing.assert_array_equal(joined(pieces), whole)


@pytest.mark.parametrize("half", ["the second half first", "a gap"])
def test_row_numbers_out_of_order_anywhere_are_refused(numbered, half):
    """Each piece counts for itself; only together they do not."""
    ids = [*range(401, 801), *range(1, 401)]
    if half == "a gap":
        ids = [*range(1, 401), *range(501, 901)]
    path = numbered(ids)
    line = r"(line 402|row 401)"
    found = f"{line}, column 'ImageId' holds '?{ids[400]}'?, expected {ids[399] + 1}: answers are"
    with pytest.raises(DataError, match=found):
        list(chunks(path))
    *_, last = parts(path, 6)
    with pytest.raises(DataError, match=r"column 'ImageId' holds .* answers are numbered"):
        list(chunks(path, last))


def test_parquet_is_read_like_csv(digits_csv, tmp_path, whole):
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.csv.read_csv(digits_csv / "test.csv")
    path = tmp_path / "test.parquet"
    pyarrow.parquet.write_csv(table, path, row_group_size=130)
    np.testing.assert_array_equal(joined(chunks(path)), whole)
    found = parts(path, 3)
    assert [part.start for part in found] == [0, 2, 4]
    np.testing.assert_array_equal(
        joined([piece for part in found for piece in chunks(path, part)]), whole
    )


def test_what_is_wrong_is_told_by_its_line_in_the_file(digits_csv, tmp_path):
    lines = (digits_csv / "test.csv").read_text().splitlines()
    lines[699] = lines[699].replace("0,", "256,", 1)
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"bad\.csv: line 700, column 'pixel0' holds '256'"):
        list(chunks(path))
    for part in parts(path, 5)[-2:]:
        try:
            list(chunks(path, part))
        except DataError as error:
            assert "line 700, column 'pixel0'" in str(error)  # noqa: PT017
            break
    else:
        pytest.fail("no part found it")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: b"", "is empty, expected a header line"),
        (lambda text: b"pixel0,pixel1,pixel2\n1,2,3\n", "names 3 pixel columns"),
        (lambda text: text[:-900], "the file ends in the middle of line 801"),
        (lambda text: text.replace(b"\n", b"\n\n", 400), "is blank"),
        (lambda text: text.split(b"\n")[0] + b"\n" + b"1" * 2**17, "has a line of more than"),
        (
            lambda text: text.split(b"\n")[0] + b"\n" + re.sub(
                rb"\b[1-9]\d*\b", b"1", b"\n".join(text.split(b"\n")[1:])
            ),
            "the pixels are scaled to 0–1",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_sentence(digits_csv, tmp_path, change, sentence):
    path = tmp_path / "bad.csv"
    path.write_bytes(change((digits_csv / "test.csv").read_bytes()))
    with pytest.raises(DataError, match=sentence):
        list(chunks(path))


def test_a_packed_file_cut_short(digits_csv, tmp_path):
    path = changed(digits_csv / "test.csv", tmp_path, "gz")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="damaged or cut short"):
        list(chunks(path))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1, None, 3], "row 2, column 'pixel3' is blank"),
        ([1, 2, 256], "row 3, column 'pixel3' holds 256"),
        ([0.0, 0.5, 1.0], "row 2, column 'pixel3' holds 0.5"),
        (["a", "b", "c"], "column 'pixel3' holds string"),
    ],
)
def test_parquet_with_other_things_in_it(tmp_path, values, sentence):
    import pyarrow
    import pyarrow.parquet

    columns = {f"pixel{at}": [200, 0, 7] for at in range(3)} | {"pixel3": values}
    path = tmp_path / "bad.parquet"
    pyarrow.parquet.write_csv(pyarrow.table(columns), path)
    with pytest.raises(DataError, match=sentence):
        list(chunks(path))


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["a", "b", "c"], "row 1, column 'id' holds 'a', expected a whole number"),
        ([0.5, 1.5, 2.5], "row 1, column 'id' holds 0.5, expected a whole number"),
        ([None, 1, 2], "row 1, column 'id' holds None, expected a whole number"),
        ([1, None, 3], "row 2, column 'id' holds None, expected 2"),
        ([3, 1, 2], "row 2, column 'id' holds 1, expected 4"),
    ],
)
def test_parquet_with_odd_row_numbers(tmp_path, ids, sentence):
    import pyarrow
    import pyarrow.parquet

    columns = {"id": ids} | {f"pixel{at}": [200, 0, 7] for at in range(4)}
    path = tmp_path / "bad.parquet"
    pyarrow.parquet.write_csv(pyarrow.table(columns), path)
    with pytest.raises(DataError, match=sentence):
        list(chunks(path))


def test_a_damaged_parquet_file(tmp_path):
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(DataError, match="damaged or no Parquet file"):
        list(chunks(path))


def test_a_parquet_file_damaged_in_the_middle(digits_csv, tmp_path):
    import pyarrow.csv
    import pyarrow.parquet

    path = tmp_path / "test.parquet"
    table = pyarrow.csv.read_csv(digits_csv / "test.csv")
    pyarrow.parquet.write_csv(table, path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[1000 : len(content) // 2] = b"x" * (len(content) // 2 - 1000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test\.parquet: is damaged"):
        list(chunks(path))


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(chunks(tmp_path / "none.csv"))
