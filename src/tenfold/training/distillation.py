"""Distillation: a small network learns what a good recognizer says of the very same pictures.

G. Hinton, O. Vinyals and J. Dean, 'Distilling the knowledge in a neural network',
arXiv 1503.02531. Teacher and student see an image under the same random warp, each at its own
size and zoom (L. Beyer et al., 'Knowledge distillation: a good teacher is patient and
consistent', arXiv 2106.05237).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.device import Device
from tenfold.networks.layers import fuse_conv_bn
from tenfold.recognizer import Recognizer


class Teacher:
    """A trained recognizer that is asked about augmented images.

    Args:
        recognizer: one network or several.
        machine: where to compute.
        temperature: divides the logarithms of its probabilities, and the student's logits; above
            1 it tells more of what else a digit might have been.
    """

    def __init__(self, recognizer: Recognizer, device: Device, temperature: float) -> None:
        self._members = [
            replace(member, model=device.to_device(fuse_conv_bn(member.model)))
            for member in recognizer.members
        ]
        self._machine, self._temperature = device, temperature

    @torch.no_grad()
    def says(self, images: Tensor, warp: Callable[[int | None], Tensor | None]) -> Tensor:
        """Return softened probabilities, float32 [N, classes].

        Args:
            images: uint8 [N, S, S].
            warp: gives the batch's sampling grid for a size of view, as `augment.warp` does.
        """
        seen = [
            member.preprocessing(images, warp(member.preprocessing.size))
            for member in self._members
        ]
        with self._machine.autocast():
            votes = [member.model(view) for member, view in zip(self._members, seen, strict=True)]
        mean = torch.stack([logits.float().softmax(dim=1) for logits in votes]).mean(dim=0)
        return (mean.clamp_min(1e-12).log() / self._temperature).softmax(dim=1)

    def loss(self, logits: Tensor, said: Tensor) -> Tensor:
        """Return the cross-entropy of the student's softened answers with what was `said`.

        Times the temperature squared, which keeps gradients at the size of the plain loss's.
        """
        return F.cross_entropy(logits / self._temperature, said) * self._temperature**2
