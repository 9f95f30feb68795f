"""The metrics' names and the direction of each. Imports nothing, so that commands which need only these start fast."""

HIGHER_IS_BETTER = {"mse": False, "psnr": True, "ssim": True}
METRICS = tuple(HIGHER_IS_BETTER)
IDENTITY = "identity"  # the unchanged input
BASELINES = ("color_curve", IDENTITY)  # what stands beside every model
PROTOCOLS = ("standard", "report")


def title(metric: str) -> str:
    """The heading of a table's column: ``PSNR ↑``."""
    return f"{metric.upper()} {'↑' if HIGHER_IS_BETTER[metric] else '↓'}"
