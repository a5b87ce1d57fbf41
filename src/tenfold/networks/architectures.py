"""The architectures: a function for each, from image size and classes to a network.

Published by others: `mlp`, `lenet5`, and from Kaggle `surma`, `thelastdev` and `deotte`. All but
`lenet5` start from the weights that Keras draws, as their authors had them.
Our own: `compact` and `pocket`.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from tenfold.networks.layers import conv_norm_relu, initialize_like_keras


def mlp(
    image_size: int, n_classes: int, *, hidden: Sequence[int] = (128, 128), dropout: float = 0.0
) -> nn.Sequential:
    """Build a multilayer perceptron: float [N, 1, S, S] to logits [N, n_classes].

    The first network of most courses, and of the logbook that recipe `logbook-mlp` follows
    (128-128-10).
    """
    model = nn.Sequential()
    model.add_module("flatten", nn.Flatten())
    inputs = image_size**2
    for index, units in enumerate(hidden, start=1):
        model.add_module(f"dense{index}", nn.Linear(inputs, units))
        model.add_module(f"relu{index}", nn.ReLU())
        if dropout:
            model.add_module(f"dropout{index}", nn.Dropout(dropout))
        inputs = units
    model.add_module("classes", nn.Linear(inputs, n_classes))
    initialize_like_keras(model)
    return model


def lenet5(image_size: int, n_classes: int) -> nn.Sequential:
    """Build LeNet-5: float [N, 1, S, S] to logits [N, n_classes], S at least 12.

    LeCun et al., 'Gradient-based learning applied to document recognition', Proceedings of the
    IEEE 86 (1998), figure 2: two rounds of 5 × 5 convolution, tanh and average pooling, then
    dense layers of 120 and 84. Simplified as everyone does today: every second-layer filter sees
    all six maps, pooling has no weights, and the output is linear instead of radial.
    """
    side = ((image_size // 2) - 4) // 2
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            tanh1=nn.Tanh(),
            pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            tanh2=nn.Tanh(),
            pool2=nn.AvgPool2d(2),
            flatten=nn.Flatten(),
            dense3=nn.Linear(16 * side**2, 120),
            tanh3=nn.Tanh(),
            dense4=nn.Linear(120, 84),
            tanh4=nn.Tanh(),
            classes=nn.Linear(84, n_classes),
        )
    )


def surma(
    image_size: int,
    n_classes: int,
    *,
    hidden: Sequence[int] = (8192, 2048),
    dropout: float = 0.5,
) -> nn.Sequential:
    """Build Surma's network: float [N, 1, S, S] to logits [N, n_classes].

    G. Surma, 'Digit Recognizer - Introduction to Kaggle Competitions with Image Classification
    Task (0.995)' (2018; layer table in the README of github.com/gsurma/digit_recognizer).
    42,579,946 parameters at 28 × 28 and ten classes, of which all but 82 thousand are in the
    dense layers.
    """
    return _two_stage_cnn(image_size, n_classes, kernels=(5, 3), hidden=hidden, dropout=dropout)


def thelastdev(
    image_size: int, n_classes: int, *, hidden: Sequence[int] = (256,), dropout: float = 0.25
) -> nn.Sequential:
    """Build thelastdev's network: float [N, 1, S, S] to logits [N, n_classes].

    A stand-in for thelastdev, 'Digit Recognizer (Kaggle), 0.991 Accuracy with Keras' (2018): the
    copy of the article that we could read ends before its layers. This is the usual shape of
    such a network, pairs of 3 × 3 convolutions and one dense layer of 256: 870,634 parameters at
    28 × 28 and ten classes.
    """
    return _two_stage_cnn(image_size, n_classes, kernels=(3, 3), hidden=hidden, dropout=dropout)


def deotte(
    image_size: int, n_classes: int, *, width: int = 32, dropout: float = 0.4
) -> nn.Sequential:
    """Build Deotte's network: float [N, 1, S, S] to logits [N, n_classes], S at least 25.

    One of the fifteen networks behind the best Kaggle score without test-label leakage that we
    know of: C. Deotte, '25 Million Images! [0.99757] MNIST' (2018),
    github.com/cdeotte/MNIST-CNN-99.75. Learned downsampling (5 × 5, stride 2) takes the place of
    pooling; the last convolution leaves a single position. Normalisation comes after the
    activation, as he has it. 326,410 parameters at 28 × 28 and ten classes.
    """
    model = nn.Sequential()

    def add(name: str, inputs: int, outputs: int, kernel: int, *, halve: bool = False) -> None:
        stride, padding = (2, 2) if halve else (1, 0)
        model.add_module(f"conv{name}", nn.Conv2d(inputs, outputs, kernel, stride, padding))
        model.add_module(f"relu{name}", nn.ReLU())
        model.add_module(f"norm{name}", nn.BatchNorm2d(outputs))

    inputs = 1
    for stage, outputs in enumerate([width, 2 * width], start=1):
        add(f"{stage}a", inputs, outputs, 3)
        add(f"{stage}b", outputs, outputs, 3)
        add(f"{stage}c", outputs, outputs, 5, halve=True)
        model.add_module(f"dropout{stage}", nn.Dropout(dropout))
        inputs = outputs
    add("3", inputs, 4 * width, 4)
    model.add_module("flatten", nn.Flatten())
    model.add_module("dropout3", nn.Dropout(dropout))
    side = ((image_size - 3) // 2 - 3) // 2 - 3
    model.add_module("classes", nn.Linear(4 * width * side**2, n_classes))
    initialize_like_keras(model)
    return model


def _two_stage_cnn(
    image_size: int,
    n_classes: int,
    *,
    kernels: tuple[int, int],
    hidden: Sequence[int],
    dropout: float,
) -> nn.Sequential:
    """Two convolutions and a pool, twice, then dense layers: the shape of popular notebooks."""
    model = nn.Sequential()
    inputs = 1
    for stage, (filters, kernel) in enumerate(zip((32, 64), kernels, strict=True), start=1):
        for half in "ab":
            conv = nn.Conv2d(inputs, filters, kernel, padding="same")
            model.add_module(f"conv{stage}{half}", conv)
            model.add_module(f"relu{stage}{half}", nn.ReLU())
            inputs = filters
        model.add_module(f"pool{stage}", nn.MaxPool2d(2))
        model.add_module(f"dropout{stage}", nn.Dropout(dropout))
    model.add_module("flatten", nn.Flatten())
    inputs *= (image_size // 4) ** 2
    for index, units in enumerate(hidden, start=3):
        model.add_module(f"dense{index}", nn.Linear(inputs, units))
        model.add_module(f"relu{index}", nn.ReLU())
        model.add_module(f"dropout{index}", nn.Dropout(dropout))
        inputs = units
    model.add_module("classes", nn.Linear(inputs, n_classes))
    initialize_like_keras(model)
    return model


def compact(
    image_size: int, n_classes: int, *, width: int = 32, dropout: float = 0.0
) -> nn.Sequential:
    """Build the compact network: float [N, 1, S, S] to logits [N, n_classes]. Any S from 4.

    At full resolution a CPU moves memory more than it computes. So the first convolution already
    halves the image, and the only pooling is the global maximum at the end, which asks of each
    filter only whether its stroke is there, not where.

    Two convolutions at half the resolution have `width` and 1.5 × `width` filters; three at a
    quarter have 3, 3 and 4 × `width`. For the same time that was more accurate than three and
    three (docs/decisions/0007). The second halving is a 2 × 2 convolution whose patches do not
    overlap: the backward pass of a 3 × 3 one of stride 2 runs at two fifths of the machine's
    matrix-product rate (docs/performance.md).
    """
    del image_size  # the global maximum makes it fit any
    model = nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=conv_norm_relu(1, width, 4, stride=2, padding=1),
            conv2=conv_norm_relu(width, 3 * width // 2, 3, padding=1),
            conv3=conv_norm_relu(3 * width // 2, 3 * width, 2, stride=2),
            conv4=conv_norm_relu(3 * width, 3 * width, 3, padding=1),
            conv5=conv_norm_relu(3 * width, 4 * width, 3, padding=1),
            maximum=nn.AdaptiveMaxPool2d(1),
            flatten=nn.Flatten(),
        )
    )
    if dropout:
        model.add_module("dropout", nn.Dropout(dropout))
    model.add_module("classes", nn.Linear(4 * width, n_classes))
    return model


def pocket(image_size: int, n_classes: int, *, width: int = 8) -> nn.Sequential:
    """Build the pocket network: float [N, 1, S, S] to logits [N, n_classes]. Any S from 4.

    Where weights are scarce and time is not, each weight is best used at many positions: two
    convolutions at full resolution, two at half and two at a quarter, with `width`, 2 × and
    2 × `width` filters. At width 8 and ten classes it has 9,042 weights.
    """
    del image_size  # the global maximum makes it fit any
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=conv_norm_relu(1, width, 3, padding=1),
            conv2=conv_norm_relu(width, width, 3, padding=1),
            pool1=nn.MaxPool2d(2),
            conv3=conv_norm_relu(width, 2 * width, 3, padding=1),
            conv4=conv_norm_relu(2 * width, 2 * width, 3, padding=1),
            pool2=nn.MaxPool2d(2),
            conv5=conv_norm_relu(2 * width, 2 * width, 3, padding=1),
            conv6=conv_norm_relu(2 * width, 2 * width, 3, padding=1),
            maximum=nn.AdaptiveMaxPool2d(1),
            flatten=nn.Flatten(),
            classes=nn.Linear(2 * width, n_classes),
        )
    )
