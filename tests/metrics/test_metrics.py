"""Against scikit-image on PNG files, and by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from image_translation.cli.errors import UserError
from image_translation.metrics.image_scores import ImageScores, Scores, mean_metrics

NAMES = [f"image {i} ä" for i in range(7)]


def images(seed: int, size: tuple[int, int] = (40, 56)) -> tuple[Tensor, Tensor]:
    """Seven images and noisy copies; the first is left identical."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 256, (7, 3, 6, 6), generator=generator).float()
    target = torch.nn.functional.interpolate(target, size, mode="bicubic").clamp(0, 255)
    noise = torch.randn(target.shape, generator=generator) * torch.arange(7).reshape(-1, 1, 1, 1) * 8
    return (target.round() + noise).clamp(0, 255).to(torch.uint8), target.round().to(torch.uint8)


def scores_of(output: Tensor, target: Tensor, batch_size: int, protocol: str = "standard") -> dict[str, Scores]:
    metrics = ImageScores(protocol)
    for i in range(0, len(NAMES), batch_size):
        metrics.update(output[i : i + batch_size], target[i : i + batch_size], NAMES[i : i + batch_size])
    return metrics.compute()


def test_equal_to_scikit_image_on_png_files(tmp_path: Path) -> None:
    output, target = images(0)
    scores = scores_of(output, target, batch_size=3)
    assert list(scores) == sorted(NAMES)
    for name, out, tar in zip(NAMES, output, target, strict=True):
        for side, tensor in (("output", out), ("target", tar)):
            Image.fromarray(tensor.permute(1, 2, 0).numpy()).save(tmp_path / f"{side}.png")
        x, y = (np.asarray(Image.open(tmp_path / f"{side}.png")) for side in ("output", "target"))
        assert scores[name]["mse"] == pytest.approx(mean_squared_error(x, y), abs=1e-6)
        if name != NAMES[0]:
            assert scores[name]["psnr"] == pytest.approx(peak_signal_noise_ratio(y, x), abs=1e-6)
        expected = structural_similarity(
            y, x, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
        assert scores[name]["ssim"] == pytest.approx(expected, abs=1e-6)
    assert scores[NAMES[0]] == {"mse": 0, "psnr": 100, "ssim": pytest.approx(1)}


def test_independent_of_the_batch_size() -> None:
    output, target = images(1)
    one, three, all_at_once = (scores_of(output, target, batch_size) for batch_size in (1, 3, 7))
    for name in NAMES:
        assert one[name] == pytest.approx(three[name], abs=1e-9)
        assert one[name] == pytest.approx(all_at_once[name], abs=1e-9)


def test_means_over_images_not_over_pixels() -> None:
    rows = {"a": {"mse": 1.0, "psnr": 10.0, "ssim": 0.5}, "b": {"mse": 3.0, "psnr": 40.0, "ssim": 0.9}}
    assert mean_metrics(rows) == pytest.approx({"mse": 2.0, "psnr": 25.0, "ssim": 0.7})


def test_autocast_makes_no_difference() -> None:
    output, target = images(2)
    plain = mean_metrics(scores_of(output, target, 7))
    with torch.autocast("cpu", torch.bfloat16):
        assert mean_metrics(scores_of(output, target, 7)) == pytest.approx(plain, abs=1e-9)


def test_a_image_seen_twice_counts_once() -> None:
    output, target = images(3)
    metrics = ImageScores()
    metrics.update(output, target, NAMES)
    metrics.update(output[:2], target[:2], NAMES[:2])
    assert metrics.compute() == scores_of(output, target, 7)


def test_reset_forgets_everything() -> None:
    metrics = ImageScores()
    metrics.update(*images(4), NAMES)
    metrics.reset()
    with pytest.raises(UserError, match="no image"):
        metrics.compute()


def test_the_report_protocol_by_hand() -> None:
    """The study's formulas in numpy: pooled MSE, its PSNR, and an SSIM of whole images without a covariance."""
    output, target = images(5)
    summary = mean_metrics(scores_of(output, target, 2, protocol="report"))
    x, y = output.numpy().astype(float), target.numpy().astype(float)
    pooled = ((x - y) ** 2).mean()
    assert summary["report/mse"] == pytest.approx(pooled)
    assert summary["report/psnr"] == pytest.approx(10 * np.log10(255**2 / pooled))
    c1, c2 = 0.0049, 0.0441
    each = []
    for a, b in zip(x / 255, y / 255, strict=True):
        luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
        each.append(luminance * (2 * a.std() * b.std() + c2) / (a.var() + b.var() + c2))
    assert summary["report/ssim"] == pytest.approx(np.mean(each))
    shuffled = target[:, :, torch.randperm(40)]
    blind = mean_metrics(scores_of(shuffled, target, 7, protocol="report"))
    assert blind["report/ssim"] == pytest.approx(1, abs=1e-6)
    assert blind["ssim"] < 0.6


def _measure_a_share(rank: int, folder: str) -> None:
    """Rank 0 sees images 0, 2, 4, 6; rank 1 sees 1, 3, 5 and, as a distributed sampler pads, 0 again."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    output, target = images(6)
    metrics = ImageScores()
    for index in ((0, 2, 4, 6), (1, 3, 5, 0))[rank]:
        metrics.update(output[index : index + 1], target[index : index + 1], [NAMES[index]])
    torch.save(metrics.compute(), f"{folder}/scores{rank}")
    dist.destroy_process_group()


def test_two_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    mp.spawn(_measure_a_share, args=(str(tmp_path),), nprocs=2)
    expected = scores_of(*images(6), batch_size=7)
    for rank in range(2):
        scores = torch.load(tmp_path / f"scores{rank}")
        assert list(scores) == list(expected)
        for name in NAMES:
            assert scores[name] == pytest.approx(expected[name], abs=1e-9)
