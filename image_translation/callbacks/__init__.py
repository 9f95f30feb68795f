"""What a run leaves behind: checkpoints, curves, panels, test results."""

from image_translation.callbacks.best_checkpoint import BestCheckpoint
from image_translation.callbacks.early_stopping import EarlyStopping
from image_translation.callbacks.ema import EMA
from image_translation.callbacks.gan_monitor import GANMonitor
from image_translation.callbacks.last_checkpoint import LastCheckpoint
from image_translation.callbacks.panels import Panels
from image_translation.callbacks.perceptual import Perceptual
from image_translation.callbacks.progress import EpochProgress
from image_translation.callbacks.test_results import TestResultsWriter
from image_translation.callbacks.throughput import Throughput
from image_translation.callbacks.training_metrics import TrainingMetrics

__all__ = ["EMA", "BestCheckpoint", "EarlyStopping", "EpochProgress", "GANMonitor", "LastCheckpoint", "Panels"]
__all__ += ["Perceptual", "TestResultsWriter", "Throughput", "TrainingMetrics"]
