"""Pictures, one function each: a figure that says in its title what is seen, and stands alone.

Ink is dark on white paper. `save` writes a figure as PNG.
"""

from tenfold.report.figures.answers import confusion_matrix, mistakes
from tenfold.report.figures.data import augmentation_preview, class_balance, sample_sheet
from tenfold.report.figures.network import feature_maps, filters
from tenfold.report.figures.style import save
from tenfold.report.figures.training import training_curves

__all__ = [
    "augmentation_preview",
    "class_balance",
    "confusion_matrix",
    "feature_maps",
    "filters",
    "mistakes",
    "sample_sheet",
    "save",
    "training_curves",
]
