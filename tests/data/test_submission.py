import numpy as np
import pytest

from tenfold.data import read_submission, submission, write_submission
from tenfold.errors import DataError, OutputError


@pytest.mark.parametrize("answers", [["7", "0", "-1"], np.array([7, 0, -1])])
def test_round_trip(tmp_path, answers):
    path = tmp_path / "submission.csv"
    write_submission(path, answers)
    assert path.read_bytes() == b"ImageId,Label\n1,7\n2,0\n3,-1\n"
    assert read_submission(path).tolist() == [7, 0, -1]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["2,5\n1,4\n", "2,5\r\n1,4\r\n", '2,5\n"1"," 4"'])
def test_ids_come_in_any_order(tmp_path, text):
    path = tmp_path / "submission.csv"
    path.write_bytes(b"\xef\xbb\xbfImageId,Label\n" + text.encode())
    found = read_submission(path)
    assert found.dtype == np.int64
    assert found.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "line 1 is ''"),
        ("label,pixel0\n1,2\n", "line 1 is 'label,pixel0', expected 'ImageId,Label'"),
        ("imageid,label\n1,2\n", "expected 'ImageId,Label'"),
        ("ImageId,Label\n", "no rows"),
        ("ImageId,Label\n1,2\n1,3\n", "line 3, ImageId 1 stands there twice, expected 1 to 2"),
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
def test_bad_submissions(tmp_path, text, part):
    path = tmp_path / "submission.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_submission(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "part"),
    [([], "no answers"), (["1", "cat"], "image 2 is 'cat'"), (["1.0"], "'1.0'")],
)
def test_bad_answers_leave_no_file(tmp_path, answers, part):
    with pytest.raises(DataError, match=part):
        write_submission(tmp_path / "submission.csv", answers)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_reads_back_differently_is_not_kept(tmp_path, monkeypatch):
    path = tmp_path / "submission.csv"
    path.write_text("the one before")
    monkeypatch.setattr(submission, "_checksum", lambda _: b"something else")
    with pytest.raises(OutputError, match="reads back differently"):
        write_submission(path, ["1", "3"])
    assert path.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_submission(tmp_path / "file" / "submission.csv", ["1"])
