"""A network of fewer than 10,000 weights."""

from collections import OrderedDict

from torch import nn

from tenfold.networks.layers import conv_norm_relu


def pocket(image_size: int, n_classes: int, *, width: int = 8) -> nn.Sequential:
    """Build the pocket network: float [N, 1, S, S] to logits [N, n_classes].

    Where weights are scarce and time is not, they are best used at many places: two convolutions
    at full resolution, two at half and two at a quarter, with `width`, 2 × and 2 × `width`
    filters. At width 8 and ten classes it has 9,042 weights. Any S from 4.
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
