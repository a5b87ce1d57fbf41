"""Claim: files larger than memory are predicted at nearly the rate of images in memory.

The rows of a test.csv are repeated into a file of the wanted length. `tenfold predict` reads it in
a process of its own, from its start to the submission; its rate is all images over all seconds.
The rate in memory is that of the same recognizer on the rows of test.csv, read before: the median
of three.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import machine
import ours

REPEATS = 3


def lengthen(test: Path, rows: int, out: Path) -> None:
    """Write `rows` rows to `out`, those of `test` again and again, as CSV or as Parquet."""
    lines = test.read_bytes().splitlines(keepends=True)
    header, body = lines[0], lines[1:]
    if out.suffix == ".parquet":
        import pyarrow
        from pyarrow import csv, parquet

        table = csv.read_csv(test)
        small = pyarrow.schema([(name, pyarrow.uint8()) for name in table.column_names])
        table = table.cast(small)
        with parquet.ParquetWriter(out, small) as writer:
            for left in range(rows, 0, -len(body)):
                writer.write_table(table.slice(0, min(left, len(body))))
        return
    with out.open("wb") as file:
        file.write(header)
        for left in range(rows, 0, -len(body)):
            file.write(b"".join(body[:left]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Predictions to a file of millions of images.")
    parser.add_argument("model", type=Path, help="a run folder or a recognizer's file")
    parser.add_argument("test", type=Path, help="Kaggle's test.csv")
    parser.add_argument("--rows", type=int, default=2_000_000, help="default 2,000,000")
    parser.add_argument("--parquet", action="store_true", help="Parquet instead of CSV")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()

    here = machine.describe()
    machine.print_machine(here)
    with tempfile.TemporaryDirectory() as name:
        long = Path(name) / ("long.parquet" if options.parquet else "long.csv")
        lengthen(options.test, options.rows, long)
        gigabytes = long.stat().st_size / 1e9
        before = ours.rate_in_memory(options.model, options.test, REPEATS)
        started = time.perf_counter()
        ours.call(ours.command("predict", options.model, long, "--out", Path(name) / "s.csv"))
        seconds = time.perf_counter() - started
        after = ours.rate_in_memory(options.model, options.test, REPEATS)
    # Of the child process with the highest peak; kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    rate, memory = options.rows / seconds, statistics.mean([before, after])
    print(f"{options.rows:,} images, {gigabytes:.2f} GB: {seconds:.1f} s, {rate:,.0f} images/s")
    print(
        f"in memory: {before:,.0f} images/s before, {after:,.0f} after; {rate / memory:.1%} of it"
    )
    print(f"peak memory of the process: {peak:.2f} GiB")
    if options.json:
        found = {"seconds": seconds, "rate": rate, "in_memory": [before, after], "peak_GiB": peak}
        ours.save_json({"machine": here, "rows": options.rows, **found}, options.json)


if __name__ == "__main__":
    main()
