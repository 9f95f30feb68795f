"""LPIPS, FID and KID by torchmetrics: distances between features of pretrained networks."""

from collections.abc import Callable
from functools import partial

import torch
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from image_translation.cli.errors import UserError, one_of

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
KINDS: dict[str, tuple[Callable[[], Metric], str]] = {  # how to build each, and the file of its network's weights
    "lpips": (
        partial(LearnedPerceptualImagePatchSimilarity, net_type="alex", normalize=True),  # Zhang et al. 2018
        "alexnet-owt-7be5be79.pth",
    ),
    "fid": (FrechetInceptionDistance, INCEPTION),  # Heusel et al. 2017
    "kid": (partial(KernelInceptionDistance, subset_size=100), INCEPTION),  # Bińkowski et al. 2018
}


def perceptual_metric(kind: str) -> Metric:
    """Build the metric ``lpips``, ``fid`` or ``kid``.

    Raises:
        UserError: the kind is unknown, or the package torch-fidelity or the network's weights are missing.
    """
    build, weights = KINDS[one_of("perceptual", kind, KINDS)]
    try:
        return build()
    except ImportError as error:
        raise UserError(f"{kind} needs the package torch-fidelity: pip install '.[perceptual]'") from error
    except (OSError, EOFError, RuntimeError) as error:  # no network, or a damaged file
        raise UserError(
            f"{kind} needs the weights {torch.hub.get_dir()}/checkpoints/{weights}. They are missing or damaged and "
            f"cannot be downloaded ({error}). Copy the file there from a machine with a network."
        ) from error
