"""The metrics' names and the direction of each. Imports nothing, so that commands which need only these start fast."""

from collections.abc import Iterable

METRICS = ("mse", "psnr", "ssim")
MASK_METRICS = ("accuracy", "miou")  # of targets that are masks, instead
HIGHER_IS_BETTER = {name: name != "mse" for name in (*METRICS, *MASK_METRICS)}
LEADERS = ("psnr", "ssim", "miou")  # what curves show; a model below the color curve in them has learned no structure
TITLES = {"accuracy": "Accuracy", "miou": "Mean IoU"}
IDENTITY = "identity"  # the unchanged input
MEAN_TARGET = "mean_target"  # where an input can't be a target: the mean color of the training targets
BASELINES = ("color_curve", IDENTITY, MEAN_TARGET)  # the first, and one of the others, stand beside every model
SSIM_WINDOW = 11  # pixels
PROTOCOLS = ("standard", "report")
FURTHER = {"sharpness": "Sharpness → 1", "msssim": "MS-SSIM ↑", "vif": "VIF ↑", "lpips": "LPIPS ↓", "fid": "FID ↓",
           "kid": "KID ↓"}  # fmt: skip
SHARPNESS = "perceptual/sharpness"


def title(metric: str) -> str:
    """The heading of a table's column: ``PSNR ↑``."""
    if metric not in HIGHER_IS_BETTER:
        return FURTHER.get(metric.rpartition("/")[2], metric)
    return f"{TITLES.get(metric, metric.upper())} {'↑' if HIGHER_IS_BETTER[metric] else '↓'}"


def metrics_of(names: Iterable[str]) -> list[str]:
    """Those among some names that are scores of each image, in their usual order."""
    return [metric for metric in HIGHER_IS_BETTER if metric in names]


def leading(names: Iterable[str]) -> str:
    """The metric by which models are ranked."""
    return "miou" if "miou" in names else "psnr"
