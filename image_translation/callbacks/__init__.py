"""What a run leaves behind: curves, panels, cost, test results."""

from image_translation.callbacks.divergence import Divergence
from image_translation.callbacks.ema import EMA
from image_translation.callbacks.gan_monitor import GANMonitor
from image_translation.callbacks.last_checkpoint import LastCheckpoint
from image_translation.callbacks.metrics_csv import MetricsCSV
from image_translation.callbacks.panels import Panels
from image_translation.callbacks.progress import ProgressBar
from image_translation.callbacks.test_results import TestResultsWriter
from image_translation.callbacks.throughput import Throughput

__all__ = [
    "EMA",
    "Divergence",
    "GANMonitor",
    "LastCheckpoint",
    "MetricsCSV",
    "Panels",
    "ProgressBar",
    "TestResultsWriter",
    "Throughput",
]
