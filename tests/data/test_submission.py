import re

import numpy as np
import pytest

from tenfold.data import read_submission, submission, submission_writer, write_submission
from tenfold.errors import DataError, OutputError


@pytest.mark.parametrize(
    "labels",
    [["7", "0", "-1"], np.array(["7", "0", "-1"]), np.array(["7", "0", "-1"], dtype=object)],
)
def test_label_names_are_written_as_they_are(tmp_path, labels):
    path = tmp_path / "submission.csv"
    write_submission(path, labels)
    assert path.read_bytes() == b"ImageId,Label\n1,7\n2,0\n3,-1\n"
    assert read_submission(path).tolist() == [7, 0, -1]
    assert list(tmp_path.iterdir()) == [path]


def test_classes_do_not_change_label_names(tmp_path):
    write_submission(tmp_path / "submission.csv", ["1", "0"], classes=("7", "8"))
    assert read_submission(tmp_path / "submission.csv").tolist() == [1, 0]


@pytest.mark.parametrize("labels", [[2, 0, 1], np.array([2, 0, 1]), np.array([2, 0, 1], np.uint8)])
def test_label_indices_are_decoded(tmp_path, labels):
    path = tmp_path / "submission.csv"
    write_submission(path, labels, classes=("7", "8", "-1"))
    assert path.read_bytes() == b"ImageId,Label\n1,-1\n2,7\n3,8\n"


@pytest.mark.parametrize("labels", [[2, 0, 1], np.array([2, 0, 1])])
def test_label_indices_without_classes_error_message(tmp_path, labels):
    path = tmp_path / "submission.csv"
    message = f"{path}: labels are int64 indices without classes, expected the names of the classes"
    with pytest.raises(DataError, match=re.escape(message)):
        write_submission(path, labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([], None, "no labels to write, expected one for each image"),
        (["1", "cat"], None, "the label of image 2 is 'cat', expected a whole number"),
        (["1.0"], None, "the label of image 1 is '1.0', expected a whole number"),
        ([0, 1], ("7", "cat"), "the label of image 2 is 'cat', expected a whole number"),
        ([0, 2], ("7", "8"), "the label of image 2 is 2, expected an index of the 2 classes"),
        ([0, -1], ("7", "8"), "the label of image 2 is -1, expected an index of the 2 classes"),
        ([1.0, 0.0], ("7", "8"), "labels are float64, expected names as text or integer indices"),
        ([True, False], ("7", "8"), "labels are bool, expected names as text or integer indices"),
        (np.array([1, "7"], dtype=object), ("7", "8"), "labels are object, expected names as text"),
        (np.array([[1, 0]]), ("7", "8"), "labels have the shape [1, 2], expected [N]"),
    ],
)
def test_invalid_labels_error_message(tmp_path, labels, classes, message):
    with pytest.raises(DataError, match=re.escape(f"submission.csv: {message}")):
        write_submission(tmp_path / "submission.csv", labels, classes)
    assert list(tmp_path.iterdir()) == []


def test_submission_writer_numbers_all_chunks(tmp_path):
    path = tmp_path / "submission.csv"
    with submission_writer(path) as write:
        write(["7", "0"])
        write(iter(["3"]))
        assert not path.exists()
    assert path.read_bytes() == b"ImageId,Label\n1,7\n2,0\n3,3\n"


def test_submission_writer_leaves_no_file_after_an_error(tmp_path):
    path = tmp_path / "submission.csv"
    with (  # noqa: PT012 - the second chunk is the invalid one
        pytest.raises(DataError, match="the label of image 3 is 'cat'"),
        submission_writer(path) as write,
    ):
        write(["7", "0"])
        write(["cat"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["2,5\n1,4\n", "2,5\r\n1,4\r\n", '2,5\n"1"," 4"'])
def test_ids_in_any_order_are_read(tmp_path, text):
    path = tmp_path / "submission.csv"
    path.write_bytes(b"\xef\xbb\xbfImageId,Label\n" + text.encode())
    found = read_submission(path)
    assert found.dtype == np.int64
    assert found.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is ''"),
        ("label,pixel0\n1,2\n", "line 1 is 'label,pixel0', expected 'ImageId,Label'"),
        ("imageid,label\n1,2\n", "expected 'ImageId,Label'"),
        ("ImageId,Label\n", "no rows"),
        ("ImageId,Label\n1,2\n1,3\n", "line 3, ImageId 1 appears twice, expected 1 to 2"),
        ("ImageId,Label\n0,2\n1,3\n", "line 2, ImageId 0 is out of range, expected 1 to 2"),
        ("ImageId,Label\n1,2\n3,3\n", "line 3, ImageId 3 is out of range"),
        ("ImageId,Label\n1,2\n2,3.0\n", "line 3, column Label holds '3.0'"),
        ("ImageId,Label\n1,2\n2,\n", "line 3, column Label holds ''"),
        ("ImageId,Label\n1,2\nx,3\n", "line 3, column ImageId holds 'x'"),
        ("ImageId,Label\n1,2\n2,1_0\n", "line 3, column Label holds '1_0'"),
        ("ImageId,Label\n1,2\n2\n", "line 3 has 1 values"),
        ("ImageId,Label\n1,2\n\n2,3\n", "line 3 has 0 values"),
        ('ImageId,Label\n1,"2\n', "is not CSV"),
        ("ImageId,Label\n1,\xe9\n", "is not CSV text"),
    ],
)
def test_invalid_submission_error_message(tmp_path, text, message):
    path = tmp_path / "submission.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_submission(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_file_that_reads_back_differently_is_not_kept(tmp_path, monkeypatch):
    path = tmp_path / "submission.csv"
    path.write_text("an earlier submission")
    monkeypatch.setattr(submission, "_file_digest", lambda *_: b"something else")
    with pytest.raises(OutputError, match="reads back differently"):
        write_submission(path, ["1", "3"])
    assert path.read_text() == "an earlier submission"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_path_error_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_submission(tmp_path / "file" / "submission.csv", ["1"])
