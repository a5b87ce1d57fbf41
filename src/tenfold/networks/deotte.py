"""One of the fifteen networks behind the best honest Kaggle score that we know of, 0.99757.

C. Deotte, '25 Million Images! [0.99757] MNIST' (2018), github.com/cdeotte/MNIST-CNN-99.75.
"""

from torch import nn

from tenfold.networks.layers import initialize_like_keras


def deotte(
    image_size: int, n_classes: int, *, width: int = 32, dropout: float = 0.4
) -> nn.Sequential:
    """Build Deotte's network: float [N, 1, S, S] to logits [N, n_classes], S at least 25.

    Learned downsampling (5 × 5, stride 2) takes the place of pooling; the last convolution
    leaves a single place. Normalisation comes after the activation, as he has it. 326,410
    parameters at 28 × 28 and ten classes.
    """
    network = nn.Sequential()

    def add(name: str, inputs: int, outputs: int, kernel: int, *, halve: bool = False) -> None:
        stride, padding = (2, 2) if halve else (1, 0)
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        network.add_module(f"conv{name}", convolution)
        network.add_module(f"relu{name}", nn.ReLU())
        network.add_module(f"norm{name}", nn.BatchNorm2d(outputs))

    inputs = 1
    for stage, outputs in enumerate([width, 2 * width], start=1):
        add(f"{stage}a", inputs, outputs, 3)
        add(f"{stage}b", outputs, outputs, 3)
        add(f"{stage}c", outputs, outputs, 5, halve=True)
        network.add_module(f"dropout{stage}", nn.Dropout(dropout))
        inputs = outputs
    add("3", inputs, 4 * width, 4)
    network.add_module("flatten", nn.Flatten())
    network.add_module("dropout3", nn.Dropout(dropout))
    side = ((image_size - 3) // 2 - 3) // 2 - 3
    network.add_module("classes", nn.Linear(4 * width * side**2, n_classes))
    initialize_like_keras(network)
    return network
