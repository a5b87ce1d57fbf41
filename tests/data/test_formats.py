"""Every format that people keep such images in gives the same digits as the CSV."""

import bz2
import gzip
import io
import logging
import lzma
import os
import re
import struct
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenfold.data import read
from tenfold.data.streaming import chunks
from tenfold.errors import DataError

N = 40
PIXELS = [f"pixel{number}" for number in range(784)]
GRID = [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)]


@pytest.fixture(scope="module")
def train(digits_csv):
    """The first digits of train.csv, all of whose pixels and labels the formats must keep."""
    return read(digits_csv / "train.csv", labels=True).select(np.arange(N))


@pytest.fixture(scope="module")
def test(digits_csv):
    return read(digits_csv / "test.csv", labels=False).select(np.arange(N))


def flat(dataset):
    return dataset.images.reshape(len(dataset), -1)


def labelled(dataset):
    return np.column_stack([dataset.label_names().astype(int), flat(dataset)])


def to_text(table, header=None, *, separator=",", end="\n", cell=str):
    lines = [] if header is None else [separator.join(header)]
    lines += [separator.join(map(cell, row)) for row in table.tolist()]
    return (end.join(lines) + end).encode()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def assert_same(found, expected, *, labels=True):
    assert np.array_equal(found.images, expected.images)
    if labels:
        assert found.label_names().tolist() == expected.label_names().tolist()
        assert found.classes == expected.classes


# Text: a function of the digits with their labels first, int [N, 785], to the bytes of a file.


def last(table, names=(*PIXELS, "label"), **form):
    return to_text(np.roll(table, -1, axis=1), names, **form)


def arff(table):
    lines = ["% digits", "@RELATION 'mnist 784'", ""]
    lines += [f"@ATTRIBUTE pixel{number + 1} real" for number in range(784)]
    lines += ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "", "@DATA", ""]
    rows = last(table, None).decode().splitlines()
    return "\n".join(lines[:-1] + [re.sub(r"(\d)$", r"'\1'", row) for row in rows] + [""]).encode()


def scaled(table, low, high):
    rows = [
        ",".join([str(label), *(f"{low + value / 255 * (high - low):.7g}" for value in pixels)])
        for label, *pixels in table.tolist()
    ]
    return "\n".join([",".join(["label", *PIXELS]), *rows, ""]).encode()


def shuffled(table, names):
    order = np.random.default_rng(0).permutation(784)
    columns = [0, *(1 + order)]
    return to_text(table[:, columns], ["label", *(names[at] for at in order)])


def sorted_as_text(table, names):
    order = sorted(range(784), key=names.__getitem__)
    return to_text(
        table[:, [0, *(1 + at for at in order)]], ["label", *(names[at] for at in order)]
    )


HEADER = ["label", *PIXELS]
TEXTS = {
    "plain": lambda t: to_text(t, HEADER),
    "no header, label first": to_text,
    "no header, label last": lambda t: last(t, None),
    "no header, carriage returns": lambda t: to_text(t, end="\r\n"),
    "no header, byte order mark": lambda t: b"\xef\xbb\xbf" + to_text(t),
    "no header, exponents": lambda t: to_text(t, cell=lambda value: f"{value:.18e}"),
    "class last": lambda t: last(t, [*(f"pixel{n}" for n in range(1, 785)), "class"]),
    "class last in quotes": lambda t: re.sub(
        rb"(\d)(?=\n)", rb"'\1'", last(t, [*(f"pixel{n}" for n in range(1, 785)), "class"])
    ).replace(b"pixel784,clas's'", b"pixel784,class"),
    "target, 1x1": lambda t: to_text(t, ["target", *GRID]),
    "semicolons": lambda t: to_text(t, HEADER, separator=";"),
    "tabs": lambda t: to_text(t, HEADER, separator="\t"),
    "bars": lambda t: to_text(t, HEADER, separator="|"),
    "spaces": lambda t: to_text(t, separator=" "),
    "padded with spaces": lambda t: to_text(t, separator=" ", cell=lambda value: f"{value:4d}"),
    "Excel's line": lambda t: b"sep=;\n" + to_text(t, HEADER, separator=";"),
    "savetxt's header": lambda t: b"# " + to_text(t, HEADER),
    "old Mac": lambda t: to_text(t, HEADER, end="\r"),
    "UTF-16": lambda t: to_text(t, HEADER).decode().encode("utf-16"),
    "ARFF": arff,
    "Unnamed: 0": lambda t: to_text(
        np.column_stack([np.arange(len(t)) * 3, t]), ["Unnamed: 0", *HEADER]
    ),
    "comments": lambda t: b"# my digits\n# of 2012, two\n" + to_text(t, HEADER),
    "two indices": lambda t: to_text(
        np.column_stack([np.arange(len(t)), np.arange(len(t)), t]), ["", "Unnamed: 0", *HEADER]
    ),
    "index of Arrow": lambda t: to_text(
        np.column_stack([t, np.arange(len(t))]), [*HEADER, "__index_level_0__"]
    ),
    "empty last column": lambda t: to_text(t, HEADER, end=",\n"),
    "names of files": lambda t: b"id,"
    + b"\n".join(
        (b"" if at == 0 else b"img_%d.png," % (at * 7)) + line
        for at, line in enumerate(to_text(t, HEADER).splitlines())
    )
    + b"\n",
    "numbers for names": lambda t: to_text(t, ["label", *map(str, range(784))]),
    "numbers for all names": lambda t: to_text(t, list(map(str, range(785)))),
    "repeated by pandas": lambda t: to_text(t, ["0", *(f"0.{n}" for n in range(1, 785))]),
    "repeated by pandas, index": lambda t: to_text(
        np.column_stack([np.arange(len(t)), t]), ["", "0", *(f"0.{n}" for n in range(1, 785))]
    ),
    "R's names": lambda t: to_text(t, [f"V{n}" for n in range(1, 786)]),
    "1x1 sorted as text": lambda t: sorted_as_text(t, GRID),
    "1x1 shuffled": lambda t: shuffled(t, GRID),
    "name_K sorted as text": lambda t: sorted_as_text(t, [f"px_{n}" for n in range(784)]),
    "row_column shuffled": lambda t: shuffled(
        t, [f"pixel_{n // 28}_{n % 28}" for n in range(784)]
    ),
    "padded names": lambda t: shuffled(t, [f"p{n:04d}" for n in range(784)]),
    "0 to 1": lambda t: scaled(t, 0, 1),
    "-1 to 1": lambda t: scaled(t, -1, 1),
    "floats": lambda t: to_text(t, HEADER, cell=lambda value: f"{value}.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_text_reads_as_the_plain_csv(train, tmp_path, name):
    path = write(tmp_path / "train.csv", TEXTS[name](labelled(train)))
    assert_same(read(path, labels=True), train)
    assert_same(read(path, labels=True, classes=train.classes), train)


WITHOUT_LABEL = sorted(
    set(TEXTS) - {name for name in TEXTS if "names of files" in name or "Unnamed" in name}
)


@pytest.mark.parametrize("name", WITHOUT_LABEL)
def test_text_to_predict_reads_as_the_plain_csv_in_chunks(train, tmp_path, monkeypatch, name):
    monkeypatch.setattr("tenfold.data.streaming.CHUNK_BYTES", 2**15)
    path = write(tmp_path / "test.csv", TEXTS[name](labelled(train)))
    found = list(chunks(path))
    assert np.array_equal(np.concatenate([each.images for each in found]), train.images)
    assert all(each.labels is None for each in found)


@pytest.mark.parametrize(
    ("names", "option"),
    [([*PIXELS, "kind"], "kind"), ([*PIXELS, "kind"], "last"), (None, "last")],
)
def test_the_label_column_can_be_named(train, tmp_path, names, option):
    path = write(tmp_path / "train.csv", last(labelled(train), names))
    assert_same(read(path, labels=True, label_column=option), train)


@pytest.mark.parametrize(
    ("scale", "said"),
    [((0, 1), "run from 0 to 1"), ((-1, 1), "run from −1 to 1")],
)
def test_scaled_pixels_are_said_in_one_line(train, tmp_path, caplog, scale, said):
    caplog.set_level(logging.INFO, logger="tenfold")
    path = write(tmp_path / "train.csv", scaled(labelled(train), *scale))
    read(path, labels=True)
    assert caplog.messages == [f"{path}: its pixels {said}, converted to 0 to 255"]


def test_pixels_of_0_and_1_alone_are_converted(train, tmp_path):
    table = labelled(train)
    table[:, 1:] = table[:, 1:] > 127
    found = read(write(tmp_path / "train.csv", to_text(table, HEADER)), labels=True)
    assert np.array_equal(found.images, np.where(train.images > 127, 255, 0))


# Arrays, pictures and archives: a function that writes train and test and returns two paths.


def npz(folder, train, test):
    path = folder / "mnist.npz"
    known = np.zeros(len(test), np.uint8)
    arrays = {"x_test": test.images, "y_test": known, "x_train": train.images}
    np.savez(path, **arrays, y_train=train.label_names().astype(np.uint8))
    return path, path


def npz_scaled(folder, train, test):
    np.savez(folder / "train.npz", images=train.images / 255, labels=train.label_names())
    np.savez_compressed(folder / "test.npz", (flat(test) / 127.5 - 1).astype(np.float32))
    return folder / "train.npz", folder / "test.npz"


def npz_pair(folder, train, test):
    np.savez(folder / "kmnist-train-imgs.npz", train.images)
    np.savez(folder / "kmnist-train-labels.npz", train.require_labels())
    np.savez(folder / "kmnist-test-imgs.npz", test.images)
    return folder / "kmnist-train-imgs.npz", folder / "kmnist-test-imgs.npz"


def npy(folder, train, test):
    np.save(folder / "x_train.npy", train.images[:, None])
    np.save(folder / "y_train.npy", np.eye(10)[train.require_labels()])
    np.save(folder / "x_test.npy", np.asfortranarray(flat(test)))
    return folder / "x_train.npy", folder / "x_test.npy"


def idx_plain(folder, train, test):
    labels = train.label_names().astype(np.uint8)
    write(folder / "train-labels-idx1-ubyte", idx(labels))
    images = write(folder / "train-images-idx3-ubyte", idx(train.images))
    return images, write(folder / "t10k-images-idx3-ubyte", idx(test.images))


def idx_gz(folder, train, test):
    labels = train.label_names().astype(np.uint8)
    write(folder / "train-labels.idx1-ubyte.gz", gzip.compress(idx(labels)))
    images = write(folder / "train-images.idx3-ubyte.gz", gzip.compress(idx(train.images)))
    test_images = gzip.compress(idx(test.images))
    return images, write(folder / "t10k-images.idx3-ubyte.gz", test_images)


def idx_folder(folder, train, test):
    idx_gz(folder / "mnist", train, test)
    return folder / "mnist", folder / "mnist"


def classes(folder, train, test):
    for at, (image, name) in enumerate(zip(train.images, train.label_names(), strict=True)):
        write(folder / "mnist_png" / "training" / name / f"{at}.png", png(image))
    for at, image in enumerate(test.images):
        write(folder / "mnist_png" / "testing" / f"{at}.png", png(image))
    return folder / "mnist_png" / "training", folder / "mnist_png" / "testing"


def classes_one_folder(folder, train, test):
    classes(folder, train, test)
    return folder / "mnist_png", folder / "mnist_png"


def table_of_labels(folder, train, test):
    rows = ["file,label"]
    for at, (image, name) in enumerate(zip(train.images, train.label_names(), strict=True)):
        write(folder / "digits" / "train" / f"{at}.png", png(image))
        rows.append(f"{at}.png,{name}")
    write(folder / "digits" / "train.csv", ("\n".join(rows) + "\n").encode())
    for at, image in enumerate(test.images):
        write(folder / "digits" / "test" / f"{at}.png", png(image))
    return folder / "digits", folder / "digits" / "test"


def kaggle(folder, train, test):
    write(folder / "train.csv", to_text(labelled(train), HEADER))
    write(folder / "test.csv", to_text(flat(test), PIXELS))
    write(folder / "sample_submission.csv", b"ImageId,Label\n1,0\n")
    return folder, folder


def zipped(folder, train, test):
    kaggle(folder / "files", train, test)
    path = folder / "digit-recognizer.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / "files").iterdir()):
            archive.write(file, file.name)
    return path, path


def zipped_twice(folder, train, test):
    path, _ = zipped(folder, train, test)
    with zipfile.ZipFile(folder / "outer.zip", "w") as archive:
        archive.write(path, path.name)
    return folder / "outer.zip", folder / "outer.zip"


def tar(mode):
    def make(folder, train, test):
        classes(folder, train, test)
        path = folder / f"mnist.{mode}"
        with tarfile.open(path, f"w:{mode}") as archive:
            archive.add(folder / "mnist_png", "mnist_png")
        return path, path

    return make


def compressed(suffix, compress):
    def make(folder, train, test):
        train_csv = compress(to_text(labelled(train), HEADER))
        test_csv = compress(to_text(flat(test), PIXELS))
        paths = folder / f"train.csv.{suffix}", folder / f"test.csv.{suffix}"
        return write(paths[0], train_csv), write(paths[1], test_csv)

    return make


def arrow_table(dataset, known, kind):
    import pyarrow as pa

    rows, pixels = flat(dataset), {}
    if kind == "columns":
        pixels = {name: rows[:, at] for at, name in enumerate(PIXELS)}
        pixels["__index_level_0__"] = np.arange(len(rows))
    elif kind == "scaled":
        pixels = {name: rows[:, at] / 255 for at, name in enumerate(PIXELS)}
    elif kind == "lists":
        pixels["image"] = pa.array(rows.tolist(), pa.list_(pa.uint8()))
    elif kind == "large lists":
        pixels["image"] = pa.array(rows.tolist(), pa.large_list(pa.int64()))
    elif kind == "fixed lists":
        pixels["pixels"] = pa.array(rows.tolist(), pa.list_(pa.float32(), 784))
    elif kind == "nested":
        pixels["image"] = pa.array(dataset.images.tolist())
    elif kind == "nested fixed":
        shape = pa.list_(pa.list_(pa.uint8(), 28), 28)
        pixels["image"] = pa.array(dataset.images.tolist(), shape)
    else:
        pictures = [{"bytes": png(image), "path": None} for image in dataset.images]
        fields = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        bytes_alone = [picture["bytes"] for picture in pictures]
        pixels["image"] = pa.array(pictures, fields) if kind == "structs" else bytes_alone
    return pa.table({**pixels, **({"label": dataset.label_names().astype(int)} if known else {})})


def parquet(kind):
    def make(folder, train, test):
        import pyarrow.parquet as pq

        for dataset, name in ((train, "train"), (test, "test")):
            table = arrow_table(dataset, name == "train", kind)
            pq.write_table(table, folder / f"{name}.parquet", row_group_size=11)
        return folder / "train.parquet", folder / "test.parquet"

    return make


def feather(folder, train, test):
    from pyarrow.feather import write_feather

    for dataset, name in ((train, "train"), (test, "test")):
        table = arrow_table(dataset, name == "train", "columns")
        write_feather(table, folder / f"{name}.feather", chunksize=11)
    return folder / "train.feather", folder / "test.feather"


KINDS = (
    "columns", "scaled", "lists", "large lists", "fixed lists", "nested", "nested fixed", "structs",
    "bytes",
)  # fmt: skip
FILES = {
    "npz": npz, "npz, scaled": npz_scaled, "npz, pair": npz_pair, "npy": npy,
    "IDX": idx_plain, "IDX, gz": idx_gz, "IDX, folder": idx_folder,
    "classes": classes, "classes, one folder": classes_one_folder, "table": table_of_labels,
    "folder": kaggle, "zip": zipped, "zip in zip": zipped_twice,
    "tar": tar(""), "tar.gz": tar("gz"), "tar.xz": tar("xz"),
    "csv.gz": compressed("gz", gzip.compress), "csv.bz2": compressed("bz2", bz2.compress),
    "csv.xz": compressed("xz", lzma.compress),
    **{f"Parquet, {kind}": parquet(kind) for kind in KINDS}, "Feather": feather,
}  # fmt: skip


def in_order_of(dataset, images):
    """Return `dataset` in the order of `images`: folders of classes are read class by class."""
    rows = {image.tobytes(): row for row, image in enumerate(dataset.images)}
    return dataset.select(np.array([rows[image.tobytes()] for image in images]))


@pytest.mark.parametrize("name", FILES)
def test_files_give_the_digits_of_the_csv(train, test, tmp_path, name):
    paths = FILES[name](tmp_path, train, test)
    found = read(paths[0], labels=True)
    assert len(found) == len(train)
    assert_same(found, in_order_of(train, found.images))
    assert_same(read(paths[1], labels=False), test, labels=False)
    streamed = np.concatenate([each.images for each in chunks(paths[1])])
    assert np.array_equal(streamed, test.images)


def test_standard_input_is_read_whatever_its_format(train, tmp_path, monkeypatch):
    for content in (to_text(labelled(train), HEADER), gzip.compress(to_text(labelled(train)))):
        stdin = io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr(sys, "stdin", stdin)
        found = read("-", labels=True)
        assert_same(found, train)
        assert found.name == "standard input"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"label,pixel0\n")))
    with pytest.raises(DataError, match=r"^standard input: line 1 names 1 pixel columns"):
        read("-", labels=True)


def test_a_pipe_is_read(train, tmp_path):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    writer = threading.Thread(
        target=lambda: path.write_bytes(to_text(labelled(train), HEADER)), daemon=True
    )
    writer.start()
    assert_same(read(path, labels=True), train)
    writer.join()


def test_pictures_that_are_not_stored_as_such_are_made_like_mnists(train, tmp_path):
    large = Image.fromarray(255 - train.images[0]).resize((280, 280), Image.Resampling.BICUBIC)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        large.save(tmp_path / "set" / name / "1.png")
    found = read(tmp_path / "set", labels=True)
    assert (found.image_size, found.classes) == (28, ("a", "b"))
    difference = np.abs(found.images[0].astype(int) - train.images[0])
    assert difference.mean() < 12  # the digit, where MNIST has it


# What is wrong in each format


def message_of(path, **options):
    with pytest.raises(DataError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<!DOCTYPE html>\n<html><title>Sign in</title></html>\n", "is a web page"),
        (b'{"code":403,"message":"accept the rules"}', "is JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n", "Git LFS"),
        (b"\x80\x04\x95\x00", "is a pickle, which can run any program"),
        (b"\x89HDF\r\n\x1a\n", "is HDF5"),
        (gzip.compress(gzip.compress(b"label,a,b,c,d\n", mtime=0), mtime=0), "is compressed twice"),
        (b"hello\n", "line 1 is 'hello', expected the names of several columns"),
        (b"idx,label\n0,7\n1,2\n", "names 0 pixel columns, .* a file of labels alone"),
        (b"index,x,label\n0,1,7\n", "names 1 pixel columns, .* a file of labels alone"),
        (b"1,2,3\n4,5,6\n", "has no header and 3 columns"),
        (b"1;2,5;3;4;5\n", "."),
        (b"label;a;b;c;d\n1;0,5;0;0;0\n", "line 2 holds a comma although semicolons separate"),
        (b"@relation x\n@attribute a real\n", "is ARFF without a line @data"),
        (b"@relation x\n@attribute a real\n@data\n{0 1}\n", "is sparse ARFF"),
        (",".join(f"p{n}" for n in range(2352)).encode() + b"\n1\n", "28 × 28 × 3 as of colour"),
        (b"\n\na,b,c,d\n", "line 1 is blank"),
        (b"label_0,label_1,p0,p1,p2,p3\n", "has 2 columns such as 'label_0' beside the pixels"),
        (",".join(f"p{n}" for n in range(255)).encode() + b"\n1\n", "old spreadsheets"),
        (b"a,b,c,d\n-0.42,1.5,2,3\n", "'-0.42', .* if they are standardised"),
        (b"a,b,c,d,\n1,2,3,4,5\n", "column '' holds '5', expected nothing"),
        (b"1x1,1x2,2x1,3x2\n1,2,3,4\n", "no column '2x2', expected one for each row and column"),
        (b"px_1,px_2,px_3,px_5\n1,2,3,4\n", "no column 'px_4', expected all of px_1 … px_5"),
    ],
)
def test_text_that_is_no_table_of_digits_error_message(tmp_path, content, sentence):
    assert re.search(sentence, message_of(write(tmp_path / "train.csv", content)))


def test_a_label_that_cannot_be_told_from_a_pixel_error_message(tmp_path):
    rows = np.random.default_rng(0).integers(0, 90, (20, 17))
    path = write(tmp_path / "train.csv", to_text(rows))
    assert "expected --label first or --label last" in message_of(path)
    found = read(path, label_column="last")
    assert np.array_equal(flat(found), rows[:, :-1])


def test_a_file_sorted_by_label_shows_its_label_all_the_same(train, tmp_path):
    table = labelled(train)
    table = np.repeat(table[np.argsort(table[:, 0])], 40, axis=0)
    found = read(write(tmp_path / "train.csv", to_text(table)), labels=True)
    assert found.label_names().astype(int).tolist() == table[:, 0].tolist()


def test_standardised_pixels_error_message(train, tmp_path):
    path = tmp_path / "train.npz"
    np.savez(path, x=(train.images - 33.3) / 78.6)
    assert "seem to be standardised" in message_of(path)


def test_an_address_error_message():
    assert message_of("https://example.org/train.csv").startswith("https://example.org/train.csv:")


def objects(path, _test):
    np.savez(path, x=np.array([{}, 1], dtype=object))


def no_images(path, _test):
    np.savez(path, y=np.arange(3))


def colour(path, test):
    np.savez(path, x=np.repeat(test.images[..., None], 3, axis=3))


def fewer_labels(path, test):
    np.savez(path, x_train=test.images, y_train=np.zeros(len(test), int), z=np.zeros(3))


def truncated(path, test):
    np.savez(path, x=test.images)
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (objects, "holds Python objects, a pickle"),
        (no_images, "expected x_train"),
        (colour, r"shape \[40, 28, 28, 3\], expected square grey"),
        (truncated, "damaged|no other data"),
    ],
)
def test_npz_error_message(test, tmp_path, damage, sentence):
    path = tmp_path / "digits.npz"
    damage(path, test)
    assert re.search(sentence, message_of(path, labels=False))


def test_npy_that_announces_more_than_it_holds_error_message(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((2, 28, 28), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"(2, 28, 28), }", b"(2, 28, 999999999), }")[:200])
    assert re.search("damaged|announces|cut short", message_of(path))


def test_idx_error_messages(train, tmp_path):
    images = write(tmp_path / "train-images-idx3-ubyte", idx(train.images))
    assert "has no labels beside it" in message_of(images, labels=True)
    labels = write(tmp_path / "train-labels-idx1-ubyte", idx(np.arange(3, dtype=np.uint8)))
    assert "holds 3 labels and no images" in message_of(labels)
    assert "has 40 images and 3 labels" in message_of(images, labels=True)
    write(images, idx(train.images)[:-5])
    assert "expected 31,360: download or copy it again" in message_of(images)


def test_folder_error_messages(train, tmp_path):
    assert "holds no data file and no pictures" in message_of(tmp_path)
    table_of_labels(tmp_path, train, train)
    table = tmp_path / "digits" / "train.csv"
    content = table.read_bytes()
    write(table, content.replace(b"3.png", b"missing.png", 1))
    assert "names the picture 'missing.png'" in message_of(tmp_path / "digits", labels=True)
    write(table, content.replace(b"3.png,", b"2.png,", 1))
    assert "'2.png' appears twice" in message_of(tmp_path / "digits", labels=True)
    write(tmp_path / "digits" / "train" / "0.png", png(np.zeros((32, 32), np.uint8)))
    write(table, content)
    assert "28 × 28 pixels, expected 32 × 32" in message_of(tmp_path / "digits", labels=True)
    write(tmp_path / "two" / "a.csv", b"")
    write(tmp_path / "two" / "b.csv", b"")
    assert "holds a.csv, b.csv, expected one file called train" in message_of(tmp_path / "two")


def test_an_error_in_an_archive_names_the_file_in_it(train, test, tmp_path):
    path, _ = zipped(tmp_path, train, test)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", to_text(labelled(train), HEADER).replace(b",0\n", b",256\n"))
        archive.writestr("test.csv", "")
        archive.writestr("../outside.csv", "x")
    assert message_of(path, labels=True).startswith(f"{path}/train.csv: line ")
    assert not (Path(tmp_path).parent / "outside.csv").exists()


def test_a_tar_that_is_damaged_in_the_middle_error_message(train, test, tmp_path):
    path, _ = tar("")(tmp_path, train, test)
    content = bytearray(path.read_bytes())
    middle = content.index(b"ustar", len(content) // 2)
    content[middle - 200] ^= 1
    path.write_bytes(content)
    assert "a file in it has no valid header" in message_of(path, labels=True)
    path.write_bytes(content[: middle - 257])
    assert "is damaged" in message_of(path, labels=True)


def test_ragged_lists_error_message(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "test.parquet"
    pq.write_table(pa.table({"pixels": pa.array([[0] * 784, [0] * 5])}), path)
    assert "row 2, column 'pixels' holds 5 values, expected 784" in message_of(path)
    pq.write_table(pa.table({"pixels": pa.array([[0] * 784, None])}), path)
    assert "row 2, column 'pixels' is blank, expected a picture" in message_of(path)
    pq.write_table(pa.table({"pixels": pa.array([["a"] * 784])}), path)
    assert "column 'pixels' holds string, expected lists of pixels" in message_of(path)
    pq.write_table(pa.table({"image": pa.array([b"no picture"])}), path)
    assert "row 1, column 'image': is text, expected a picture" in message_of(path)


@pytest.mark.parametrize("name", ["npz", "IDX", "tar.gz", "Parquet, lists", "Feather", "zip"])
def test_damage_is_a_sentence(train, test, tmp_path, name):
    """A byte changed or a file cut short is a DataError, or reads as other digits do."""
    path = FILES[name](tmp_path, train, test)[0]
    intact = path.read_bytes()
    random = np.random.default_rng(0)
    messages = []
    for attempt in range(60):
        damaged = bytearray(intact)
        if attempt % 3:
            for _ in range(attempt % 7 + 1):
                at = random.integers(len(damaged))
                at = at if attempt % 2 else at % 400 - 200  # the ends hold the headers
                damaged[at] = random.integers(256)
        else:
            del damaged[random.integers(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            read(path, labels=True)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 15
    assert not any("\n" in message for message in messages)
