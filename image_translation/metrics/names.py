"""The metrics' names and the direction of each. Imports nothing, so that commands which need only these start fast."""

HIGHER_IS_BETTER = {"mse": False, "psnr": True, "ssim": True}
METRICS = tuple(HIGHER_IS_BETTER)
IDENTITY = "identity"  # the unchanged input
BASELINES = ("color_curve", IDENTITY)  # what stands beside every model
PROTOCOLS = ("standard", "report")
FURTHER = {"sharpness": "Sharpness → 1", "msssim": "MS-SSIM ↑", "vif": "VIF ↑", "lpips": "LPIPS ↓", "fid": "FID ↓",
           "kid": "KID ↓"}  # fmt: skip
SHARPNESS = "perceptual/sharpness"


def title(metric: str) -> str:
    """The heading of a table's column: ``PSNR ↑``."""
    if metric not in METRICS:
        return FURTHER.get(metric.rpartition("/")[2], metric)
    return f"{metric.upper()} {'↑' if HIGHER_IS_BETTER[metric] else '↓'}"
