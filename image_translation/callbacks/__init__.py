"""What a run leaves behind: curves, panels, cost, test results."""

from image_translation.callbacks.cost import Cost
from image_translation.callbacks.metrics_csv import MetricsCSV
from image_translation.callbacks.panels import Panels
from image_translation.callbacks.progress import ProgressBar
from image_translation.callbacks.results import Results
from image_translation.callbacks.stop import StopBetweenBatches

__all__ = ["Cost", "MetricsCSV", "Panels", "ProgressBar", "Results", "StopBetweenBatches"]
