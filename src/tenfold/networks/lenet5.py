"""LeNet-5, the network that read cheques: LeCun et al., 'Gradient-based learning applied to
document recognition', Proceedings of the IEEE 86 (1998), figure 2.
"""  # noqa: D205 - a title is not a sentence

from collections import OrderedDict

from torch import nn


def lenet5(image_size: int, n_classes: int) -> nn.Sequential:
    """Build LeNet-5: float [N, 1, S, S] to logits [N, n_classes], S at least 12.

    As in the paper: two rounds of 5 × 5 convolution, tanh and average pooling, then dense layers
    of 120 and 84. Simplified as everyone does today: every second-layer filter sees all six
    maps, pooling has no weights, and the output is linear instead of radial.
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
