"""Against scikit-image on PNG files, and by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from image_translation.metrics.image_scores import ImageScores, Scores, mean_metrics

NAMES = [f"image {i} ä" for i in range(7)]


def images(seed: int, size: tuple[int, int] = (40, 56)) -> tuple[Tensor, Tensor]:
    """Seven smooth color images with more and more noise, and the images themselves. The first has no noise."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 256, (7, 3, 6, 6), generator=generator).float()
    target = torch.nn.functional.interpolate(target, size, mode="bicubic").clamp(0, 255).round()
    noise = torch.randn(target.shape, generator=generator) * torch.arange(7).reshape(-1, 1, 1, 1) * 8
    return (target + noise).clamp(0, 255).to(torch.uint8), target.to(torch.uint8)


def scores_of(output: Tensor, target: Tensor, batch_size: int = 7, protocol: str = "standard") -> dict[str, Scores]:
    """Of all images, and as where a distributed sampler has padded its part, of the first one again."""
    metrics = ImageScores(protocol)
    for i in range(0, len(NAMES), batch_size):
        metrics.update(output[i : i + batch_size], target[i : i + batch_size], NAMES[i : i + batch_size])
    metrics.update(output[:1], target[:1], NAMES[:1])
    return metrics.compute()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(67, 45), (256, 256)])
def test_equal_to_scikit_image_on_png_files(size: tuple[int, int], mode: str, tmp_path: Path) -> None:
    """Also where float32 is least exact: the SSIM of nearly white images differs by 5e-4, the PSNR by 2e-6 dB."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rng = np.random.default_rng(0)
    patterns = {
        "noise": rng.integers(0, 256, y.shape),
        "dark": rng.integers(0, 4, y.shape),
        "bright": rng.integers(252, 256, y.shape),
        "black": np.zeros_like(y),
        "white": np.full_like(y, 255),
        "checkerboard": (x + y) % 2 * 255,
        "edge": (x > width // 2) * 255,
        "ramp": x * 255 // width,
    }
    arrays = {}
    for name, pattern in patterns.items():
        image = Image.fromarray(pattern.astype(np.uint8))
        (image if mode == "L" else Image.merge("RGB", [image, image.rotate(180), image])).save(tmp_path / "it.png")
        arrays[name] = np.array(Image.open(tmp_path / "it.png"))
    batch = torch.stack([torch.from_numpy(np.atleast_3d(array)).permute(2, 0, 1) for array in arrays.values()])
    options = {"channel_axis": None if mode == "L" else -1, "gaussian_weights": True, "sigma": 1.5}
    for target, image in zip(arrays.values(), batch, strict=True):
        metrics = ImageScores()
        metrics.update(batch, image.expand_as(batch), list(arrays))
        for name, scores in metrics.compute().items():
            output = arrays[name]
            if output is target:
                assert scores == {"mse": 0, "psnr": 100, "ssim": pytest.approx(1, abs=1e-6)}
                continue
            ssim = structural_similarity(target, output, use_sample_covariance=False, **options)
            assert scores == {
                "mse": pytest.approx(mean_squared_error(target, output), abs=1e-6),
                "psnr": pytest.approx(peak_signal_noise_ratio(target, output), abs=1e-4),
                "ssim": pytest.approx(ssim, abs=1e-3),
            }, name


def test_scores_depend_neither_on_the_batch_size_nor_on_autocast() -> None:
    output, target = images(1)
    expected = scores_of(output, target)
    with torch.autocast("cpu", torch.bfloat16):
        others = [scores_of(output, target, batch_size) for batch_size in (1, 3, 7)]
    for other in others:
        assert list(other) == NAMES  # each once
        for name in NAMES:
            assert other[name] == pytest.approx(expected[name], abs=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [1, 3])
def test_cuda_gives_the_numbers_of_the_cpu(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where convolutions and products in float32 are rounded to TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    pair = [batch[:, :channels] for batch in images(2)]
    expected, found = scores_of(*pair), scores_of(*(batch.cuda() for batch in pair))
    for name in NAMES:
        assert found[name] == pytest.approx(expected[name], abs=1e-4)


def test_the_report_protocol_by_hand() -> None:
    """The study's formulas in numpy: pooled MSE, its PSNR, and an SSIM of whole images without a covariance."""
    output, target = images(5)
    scores = scores_of(output, target, 2, protocol="report")
    means = mean_metrics(scores)
    assert means["psnr"] == pytest.approx(np.mean([each["psnr"] for each in scores.values()]))
    x, y = output.numpy().astype(float), target.numpy().astype(float)
    pooled = ((x - y) ** 2).mean()
    assert means["report/mse"] == pytest.approx(pooled)
    assert means["report/psnr"] == pytest.approx(10 * np.log10(255**2 / pooled))
    c1, c2 = 0.0049, 0.0441
    each = []
    for a, b in zip(x / 255, y / 255, strict=True):
        luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
        each.append(luminance * (2 * a.std() * b.std() + c2) / (a.var() + b.var() + c2))
    assert means["report/ssim"] == pytest.approx(np.mean(each))
    blind = mean_metrics(scores_of(target[:, :, torch.randperm(40)], target, protocol="report"))
    assert blind["report/ssim"] == pytest.approx(1, abs=1e-6)
    assert blind["ssim"] < 0.6
    assert mean_metrics(scores_of(target, target, protocol="report"))["report/psnr"] == 100
