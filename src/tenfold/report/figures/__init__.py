"""Pictures, one function each: a figure that says in its title what is seen, and stands alone.

Ink is dark on white paper. `save` writes a figure as PNG.
"""

from tenfold.report.figures.data import (
    augmentation_preview,
    class_balance,
    class_ink,
    sample_sheet,
)
from tenfold.report.figures.errors import (
    confusion_matrix,
    gallery,
    mistakes,
    reliability,
    risk_coverage,
    scores,
)
from tenfold.report.figures.experiments import (
    disagreement,
    ensemble_size,
    methods,
    search_coordinates,
    search_history,
    search_importance,
    search_slices,
)
from tenfold.report.figures.style import as_png, save
from tenfold.report.figures.training import attribution, feature_maps, filters, training_curves

__all__ = [
    "as_png",
    "attribution",
    "augmentation_preview",
    "class_balance",
    "confusion_matrix",
    "disagreement",
    "feature_maps",
    "filters",
    "gallery",
    "ensemble_size",
    "class_ink",
    "methods",
    "mistakes",
    "reliability",
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
