"""Small CSV files of real digits, for tests to damage."""

from collections.abc import Callable
from pathlib import Path

import pytest

Table = list[list[str]]


@pytest.fixture(scope="session")
def csv_rows(digits_csv: Path) -> Table:
    """The header and 20 digits of train.csv as cells; copy before changing."""
    lines = (digits_csv / "train.csv").read_text().splitlines()[:21]
    return [line.split(",") for line in lines]


@pytest.fixture
def table(csv_rows: Table) -> Table:
    """A copy of `csv_rows` to change: table[n][c] is a cell of line n + 1."""
    return [list(row) for row in csv_rows]


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a table as train.csv and returns its path."""

    def write(table: Table, *, end: str = "\n", last: str = "\n", quoted: bool = False) -> Path:
        quote = '"' if quoted else ""
        lines = [",".join(f"{quote}{cell}{quote}" for cell in row) for row in table]
        path = tmp_path / "train.csv"
        path.write_bytes((end.join(lines) + last).encode())
        return path

    return write
