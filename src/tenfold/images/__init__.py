"""From any picture of digits to the 28 × 28 pixels that MNIST would have made of each."""

from tenfold.images.decode import Picture, decode, decode_all
from tenfold.images.explain import explain
from tenfold.images.ink import InkMap, find_ink
from tenfold.images.normalize import normalize, stroke_width, to_mnist
from tenfold.images.regroup import Classify
from tenfold.images.segment import Digit, Segmentation, segment

__all__ = [
    "Classify",
    "Digit",
    "InkMap",
    "Picture",
    "Segmentation",
    "decode",
    "decode_all",
    "explain",
    "find_ink",
    "normalize",
    "segment",
    "stroke_width",
    "to_mnist",
]
