"""Figures, one function each, that are understandable by their title and note alone.

`save` writes a figure as PNG.
"""

from tenfold.report.figures.data import (
    augmentation_preview,
    class_balance,
    class_ink,
    predicted_classes,
    sample_sheet,
)
from tenfold.report.figures.errors import (
    confusion_matrix,
    reliability,
    risk_coverage,
    scores,
)
from tenfold.report.figures.experiments import (
    disagreement,
    ensemble_size,
    method_comparison,
    search_coordinates,
    search_history,
    search_importance,
    search_slices,
)
from tenfold.report.figures.style import as_png, save
from tenfold.report.figures.training import (
    attribution,
    feature_maps,
    responses,
    training_curves,
)

__all__ = [
    "as_png",
    "attribution",
    "augmentation_preview",
    "class_balance",
    "class_ink",
    "confusion_matrix",
    "disagreement",
    "ensemble_size",
    "feature_maps",
    "method_comparison",
    "predicted_classes",
    "reliability",
    "responses",
    "risk_coverage",
    "sample_sheet",
    "save",
    "scores",
    "search_coordinates",
    "search_history",
    "search_importance",
    "search_slices",
    "training_curves",
]
