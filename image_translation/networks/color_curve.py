"""A polynomial of the colors: what can be done to an image without looking at its structure."""

from collections.abc import Iterable
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn

MOST_CHANNELS = {3: 8, 2: 20}  # up to which a degree has at most some 200 terms; three channels have 20
RIDGE = 1e-6  # a pixel, towards the unchanged color: few colors leave terms undetermined


class ColorCurve(nn.Module):
    """Each output channel is a polynomial of the input channels, the same at every pixel: cubic, or lower for many.

    ``fit`` finds the coefficients, a buffer, in closed form. Until then the output is the input.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        degrees = range(1 + next((d for d, most in MOST_CHANNELS.items() if in_channels <= most), 1))
        self.monomials = [m for d in degrees for m in combinations_with_replacement(range(in_channels), d)]
        unchanged = torch.eye(in_channels + 1, len(self.monomials))[1:]  # without the constant
        self.register_buffer("coefficients", unchanged[torch.arange(out_channels) % in_channels])
        self.coefficients: Tensor  # (out_channels, terms)

    def terms(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) → their monomials (N, terms, H, W): 1, r, g, b, r², r·g …"""
        values: dict[tuple[int, ...], Tensor] = {(): torch.ones_like(x[:, :1])}
        for monomial in self.monomials[1:]:
            channel = monomial[-1]
            values[monomial] = values[monomial[:-1]] * x[:, channel : channel + 1]
        return torch.cat([*values.values()], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] → (N, out_channels, H, W), unbounded, float32."""
        with torch.autocast(x.device.type, enabled=False):
            colors = self.coefficients @ self.terms(x.float()).flatten(2)  # a convolution takes six times as long
            return colors.view(x.shape[0], -1, *x.shape[2:])

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Find the least mean squared error over all pixels of inputs and targets (N, C, H, W).

        The normal equations are summed batch by batch, so any number of images will do.
        """
        out_channels, count = self.coefficients.shape
        # On the CPU, because not every device has float64, which the sums need.
        gram = torch.zeros(count, count, dtype=torch.float64)
        moment = torch.zeros(count, out_channels, dtype=torch.float64)
        pixels = 0
        for x, y in batches:
            terms, targets = (images.float().transpose(0, 1).flatten(1) for images in (self.terms(x), y))
            gram += (terms @ terms.T).cpu()
            moment += (terms @ targets.T).cpu()
            pixels += terms.shape[1]
        start = self.coefficients.T.cpu().double()
        ridge = pixels * RIDGE * torch.eye(count, dtype=torch.float64)
        self.coefficients.copy_((start + torch.linalg.solve(gram + ridge, moment - gram @ start)).T)
