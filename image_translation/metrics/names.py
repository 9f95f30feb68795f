"""The metrics' names, and the one place that says which direction is better. Imports nothing, for fast commands."""

HIGHER_IS_BETTER = {"mse": False, "psnr": True, "ssim": True}
METRICS = tuple(HIGHER_IS_BETTER)
PROTOCOLS = ("standard", "report")


def title(metric: str) -> str:
    """How a table is headed: ``PSNR ↑``."""
    return f"{metric.upper()} {'↑' if HIGHER_IS_BETTER[metric] else '↓'}"
