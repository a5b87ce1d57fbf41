"""Datasets of digits: read, download, check, split and write them."""

from tenfold.data.checks import DataReport, DatasetStats, check
from tenfold.data.csv import write_kaggle_folder
from tenfold.data.dataset import DIGITS, Dataset
from tenfold.data.formats import read
from tenfold.data.mnist import SOURCES, load, mnist
from tenfold.data.request import ReadOptions
from tenfold.data.splits import fold_rows, kaggle_split, split, split_rows, train_valid_rows
from tenfold.data.submission import (
    SubmissionForm,
    match_answers,
    read_answers,
    read_submission,
    submission_writer,
    write_submission,
)

__all__ = [
    "DIGITS",
    "SOURCES",
    "DataReport",
    "Dataset",
    "DatasetStats",
    "ReadOptions",
    "SubmissionForm",
    "check",
    "fold_rows",
    "kaggle_split",
    "load",
    "match_answers",
    "mnist",
    "read",
    "read_answers",
    "read_submission",
    "split",
    "split_rows",
    "submission_writer",
    "train_valid_rows",
    "write_kaggle_folder",
    "write_submission",
]
