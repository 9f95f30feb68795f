"""What a run leaves behind: curves, panels, cost, test results."""

from image_translation.callbacks.cost import Cost
from image_translation.callbacks.divergence import Divergence
from image_translation.callbacks.ema import EMA
from image_translation.callbacks.gan_health import GANHealth
from image_translation.callbacks.last_state import LastState
from image_translation.callbacks.metrics_csv import MetricsCSV
from image_translation.callbacks.panels import Panels
from image_translation.callbacks.progress import ProgressBar
from image_translation.callbacks.results import Results

__all__ = ["EMA", "Cost", "Divergence", "GANHealth", "LastState", "MetricsCSV", "Panels", "ProgressBar", "Results"]
