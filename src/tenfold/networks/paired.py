"""Two convolutions, pool, two convolutions, pool, dense: the shape of the popular notebooks.

G. Surma, 'Digit Recognizer - Introduction to Kaggle Competitions with Image Classification Task
(0.995)' (2018; layer table in the README of github.com/gsurma/digit_recognizer), and thelastdev,
'Digit Recognizer (Kaggle), 0.991 Accuracy with Keras' (2018).
"""

from collections.abc import Sequence

from torch import nn

from tenfold.networks.layers import initialize_like_keras


def surma(
    image_size: int,
    n_classes: int,
    *,
    hidden: Sequence[int] = (8192, 2048),
    dropout: float = 0.5,
) -> nn.Sequential:
    """Build Surma's network: float [N, 1, S, S] to logits [N, n_classes].

    42,579,946 parameters at 28 × 28 and ten classes, of which all but 82 thousand sit in the
    dense layers.
    """
    return _paired(image_size, n_classes, kernels=(5, 3), hidden=hidden, dropout=dropout)


def thelastdev(
    image_size: int, n_classes: int, *, hidden: Sequence[int] = (256,), dropout: float = 0.25
) -> nn.Sequential:
    """Build thelastdev's network: float [N, 1, S, S] to logits [N, n_classes].

    A stand-in: the copy of the article that we could read ends before its layers. What stands
    here is the usual shape of such a network, pairs of 3 × 3 convolutions and one dense layer of
    256: 870,634 parameters at 28 × 28 and ten classes.
    """
    return _paired(image_size, n_classes, kernels=(3, 3), hidden=hidden, dropout=dropout)


def _paired(
    image_size: int,
    n_classes: int,
    *,
    kernels: tuple[int, int],
    hidden: Sequence[int],
    dropout: float,
) -> nn.Sequential:
    network = nn.Sequential()
    inputs = 1
    for stage, (filters, kernel) in enumerate(zip((32, 64), kernels, strict=True), start=1):
        for half in "ab":
            conv = nn.Conv2d(inputs, filters, kernel, padding="same")
            network.add_module(f"conv{stage}{half}", conv)
            network.add_module(f"relu{stage}{half}", nn.ReLU())
            inputs = filters
        network.add_module(f"pool{stage}", nn.MaxPool2d(2))
        network.add_module(f"dropout{stage}", nn.Dropout(dropout))
    network.add_module("flatten", nn.Flatten())
    inputs *= (image_size // 4) ** 2
    for index, units in enumerate(hidden, start=3):
        network.add_module(f"dense{index}", nn.Linear(inputs, units))
        network.add_module(f"relu{index}", nn.ReLU())
        network.add_module(f"dropout{index}", nn.Dropout(dropout))
        inputs = units
    network.add_module("classes", nn.Linear(inputs, n_classes))
    initialize_like_keras(network)
    return network
