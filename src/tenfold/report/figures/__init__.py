"""Pictures, one function each: a figure that says in its title what is seen, and stands alone.

Ink is dark on white paper. `save` writes a figure as PNG.
"""

from tenfold.report.figures.answers import confusion_matrix, gallery, mistakes
from tenfold.report.figures.compare import methods
from tenfold.report.figures.data import (
    augmentation_preview,
    class_balance,
    ink_of_classes,
    sample_sheet,
)
from tenfold.report.figures.ensemble import disagreement, growth_with_members
from tenfold.report.figures.network import attribution, feature_maps, filters
from tenfold.report.figures.search import (
    search_coordinates,
    search_history,
    search_importance,
    search_slices,
)
from tenfold.report.figures.style import as_png, save
from tenfold.report.figures.training import training_curves
from tenfold.report.figures.trust import reliability, risk_coverage, scores

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
    "growth_with_members",
    "ink_of_classes",
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
