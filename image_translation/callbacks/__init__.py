"""What a run leaves behind: curves, panels, test results."""

from image_translation.callbacks.metrics_csv import MetricsCSV
from image_translation.callbacks.panels import Panels
from image_translation.callbacks.progress import ProgressBar
from image_translation.callbacks.results import Results

__all__ = ["MetricsCSV", "Panels", "ProgressBar", "Results"]
