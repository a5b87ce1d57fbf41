"""Distillation: a small network learns the probabilities that a better recognizer gives.

G. Hinton, O. Vinyals and J. Dean, 'Distilling the knowledge in a neural network',
arXiv 1503.02531. Teacher and student see an image under the same random distortion, each at its
own size and zoom (L. Beyer et al., 'Knowledge distillation: a good teacher is patient and
consistent', arXiv 2106.05237).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.config import DistillationConfig
from tenfold.device import Device
from tenfold.recognizer import Recognizer
from tenfold.training.loader import Batch


class Teacher:
    """A trained recognizer whose probabilities are targets.

    Args:
        recognizer: one network or several.
        device: where to compute.
        config: its temperature divides the logarithms of the teacher's probabilities, and the
            student's logits; its weight is that of this loss against the one of the labels.
    """

    def __init__(self, recognizer: Recognizer, device: Device, config: DistillationConfig) -> None:
        self._members = [member.fused(device) for member in recognizer.members]
        self._device, self._config = device, config

    @torch.no_grad()
    def soft_targets(self, batch: Batch) -> Tensor:
        """Return softened probabilities of the batch's images, float32 [N, classes]."""
        inputs = [
            member.preprocessing(batch.images, batch.grid(member.preprocessing.size))
            for member in self._members
        ]
        with self._device.autocast():
            outputs = [
                member.model(each) for member, each in zip(self._members, inputs, strict=True)
            ]
        mean = torch.stack([logits.float().softmax(dim=1) for logits in outputs]).mean(dim=0)
        return (mean.clamp_min(1e-12).log() / self._config.temperature).softmax(dim=1)

    def loss(self, logits: Tensor, soft_targets: Tensor) -> Tensor:
        """Return the cross-entropy of the student's softened predictions with `soft_targets`.

        Times the temperature squared, which keeps gradients at the size of the labels' loss.
        """
        temperature = self._config.temperature
        return F.cross_entropy(logits / temperature, soft_targets) * temperature**2

    def distill(self, labels_loss: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the weighted mean of `labels_loss` and the loss against the teacher."""
        teacher_loss = self.loss(logits, self.soft_targets(batch))
        return torch.lerp(labels_loss, teacher_loss, self._config.weight)
