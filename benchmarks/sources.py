"""The files that robustness.py reads and that are not part of tenfold, with their checksums."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Source:
    """A file that you bring.

    Attributes:
        sha256: of its content, decompressed.
        where: where it can be had, as a phrase.
        path: where its package installs it, if there is one.
    """

    sha256: str
    where: str
    path: Path | None = None

    def found(self) -> Path | None:
        """Return where it is installed, or None."""
        return self.path if self.path and self.path.exists() else None

    def read(self, path: Path) -> bytes:
        """Return the content of the file, plain or .gz, if it is the one that is meant."""
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise SystemExit(f"{path} has sha256 {found}, expected {self.sha256}: {self.where}")
        return content

    def read_images(self, path: Path) -> NDArray[np.uint8]:
        """Return the images of an IDX file: uint8 [N, 28, 28]."""
        return np.frombuffer(self.read(path), np.uint8, offset=16).reshape(-1, 28, 28).copy()


SOURCES = {
    "usps": Source(
        "6bde17b4f1cd68e0630cd2751d6495b5795d9165ab2dc4a0be8b7002b732f4cc",
        "zip.test of The Elements of Statistical Learning (hastie.su.domains/ElemStatLearn), also "
        "in github.com/dgkim5360/the-elements-of-statistical-learning-notebooks",
    ),
    "chars74k": Source(
        "2603e6fa7845c845899919bae44c09886a63a977ff9b21c72ef9c9613c31224d",
        "char74k.json of github.com/aparrish/chars74k-json-dump, the handwritten part of Chars74K",
    ),
    "notmnist": Source(
        "8e7f38ae95cc8f48e0986175ffc9137e5007ebcf3d8fdf6656c904eb9dab198b",
        "t10k-images-idx3-ubyte.gz of github.com/davidflanagan/notMNIST-to-MNIST",
    ),
    "fashion": Source(
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-images-idx3-ubyte.gz of Fashion-MNIST, in Debian: apt-get install "
        "dataset-fashion-mnist",
        Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"),
    ),
}
