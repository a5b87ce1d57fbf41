"""Our own networks: `compact` spares a CPU's memory bus, `pocket` spares weights."""

from collections import OrderedDict

from torch import nn

from tenfold.networks.layers import conv_norm_relu


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
