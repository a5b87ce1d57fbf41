"""The file of a recognizer: its schema, and its networks built from what it holds.

Memory is taken once all names, dtypes and shapes fit, and no more than the weights need.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from tenfold.artifact import (
    ArtifactSchema,
    ClassNames,
    Count,
    StoredImageSize,
    check_arrays,
)
from tenfold.config import NETWORK_OPTIONS, ImageSize, NetworkConfig
from tenfold.decision import DecisionRuleFile
from tenfold.errors import RecipeError
from tenfold.networks import build_skeleton
from tenfold.preprocessing import Preprocessing


class PreprocessingFile(ArtifactSchema, extra="forbid"):
    """The preprocessing of a member; see `Preprocessing`."""

    mean: float
    std: Annotated[float, Field(gt=0)]
    zoom: Annotated[float, Field(ge=1, le=2)] | None
    size: ImageSize | None
    alignment: Literal["deskew", "bounding_box"] | None


class MemberFile(ArtifactSchema):
    """A member, but for its weights."""

    network: NetworkConfig
    preprocessing: PreprocessingFile

    @field_validator("network")
    @classmethod
    def _check_options(cls, network: NetworkConfig) -> NetworkConfig:
        if unknown := sorted(set(network.options) - NETWORK_OPTIONS[network.name]):
            raise ValueError(f"no option {unknown[0]}, which {network.name} does not have")
        return network


class ProvenanceFile(ArtifactSchema):
    """Where it comes from: what of it is read again."""

    epoch: Count | None = None


class RecognizerFile(ArtifactSchema):
    """The description in a recognizer's file."""

    members: Annotated[list[MemberFile], Field(min_length=1)]
    classes: ClassNames
    image_size: StoredImageSize
    temperature: Annotated[float, Field(ge=1e-3, le=1e3)]
    tta_shift: Annotated[float, Field(gt=0, le=14)] | None
    precision: Literal["auto", "bf16", "fp32"]
    weights_dtype: Literal["float32", "float16"]
    provenance: ProvenanceFile
    decision_rule: DecisionRuleFile


def read_networks(
    metadata: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> list[tuple[nn.Module, NetworkConfig, Preprocessing]]:
    """Build the network of each member, ready to predict, with its preprocessing.

    Args:
        metadata: of the schema `RecognizerFile`.
        arrays: the weights of member i, with "i." before their names.

    Raises:
        ValueError: the weights are not those of the networks described, or not finite.
    """
    described = []
    specs: dict[str, str] = {}
    for index, description in enumerate(metadata["members"]):
        config = NetworkConfig.model_validate(description["network"])
        preprocessing = Preprocessing(**description["preprocessing"])
        size, n_classes = preprocessing.size or metadata["image_size"], len(metadata["classes"])
        try:
            skeleton = build_skeleton(config, image_size=size, n_classes=n_classes)
        except RecipeError as error:
            raise ValueError(str(error)) from error
        described.append((skeleton, config, preprocessing))
        for name, tensor in skeleton.state_dict().items():
            specs[f"{index}.{name}"] = tensor_spec(tensor, metadata["weights_dtype"])
    check_arrays(arrays, specs, {})
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"the array {name} holds NaN or infinity")
    return [
        (_with_weights(skeleton, index, arrays), config, preprocessing)
        for index, (skeleton, config, preprocessing) in enumerate(described)
    ]


def tensor_spec(tensor: Tensor, weights_dtype: str | None = None) -> str:
    """Return dtype and shape as for `check_arrays`; `weights_dtype` replaces a floating one."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if weights_dtype is not None and tensor.is_floating_point():
        dtype = weights_dtype
    return f"{dtype} {list(tensor.shape)}"


def _with_weights(skeleton: nn.Module, index: int, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
    """Give the network of member `index` its memory and its weights; it is ready to predict."""
    model, prefix = skeleton.to_empty(device="cpu"), f"{index}."
    weights = {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    model.load_state_dict(weights)
    return model.eval()
