"""``results.png``: the curves of a run, and its best, median and worst test image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import read_csv
from helpers.training import make_data, make_model, make_trainer
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from image_translation.callbacks.overview import draw_curves, draw_results, stack, val_baselines


def test_a_finished_run_has_one(finished_run: Path) -> None:
    overview = Image.open(finished_run / "results.png")
    rows = read_csv(finished_run / "test" / "per_image.csv")
    scores = {row["name"]: {name: float(row[name]) for name in ("psnr", "ssim")} for row in rows}
    strip = draw_results(finished_run / "test", scores)
    left = (overview.width - strip.width) // 2
    below = overview.crop((left, overview.height - strip.height, left + strip.width, overview.height))
    assert np.array_equal(below, strip)
    above = np.asarray(overview)[: overview.height - strip.height]
    assert above.shape[0] == 300
    assert (above < 128).any()


def test_the_baselines_of_val(comic_root: Path) -> None:
    """By scikit-image on the files."""
    model, data = make_model("autoencoder"), make_data(comic_root)
    data.setup()
    trainer = make_trainer(max_epochs=0)
    trainer.fit(model, datamodule=data)
    folder = comic_root / "val"
    pairs = [(folder / "face" / f"val{i}.png", folder / "comics" / f"val{i}.png") for i in range(2)]
    images = [tuple(np.asarray(Image.open(path)) for path in pair) for pair in pairs]
    found = val_baselines(model, trainer)
    assert found["identity"]["psnr"] == pytest.approx(
        np.mean([peak_signal_noise_ratio(target, source) for source, target in images]), abs=1e-3
    )
    assert found["color_curve"]["psnr"] > 30  # the targets are a curve of the inputs
    data.eval_batch_size = trainer.limit_val_batches = 1
    assert val_baselines(model, trainer)["identity"]["psnr"] == pytest.approx(
        peak_signal_noise_ratio(*reversed(images[0])), abs=1e-3
    )


@pytest.mark.filterwarnings("error")
def test_curves_of_few_values(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,train/gan,val/psnr,val/ssim\n1,5,0.5,0.0,,\n2,10,0.4,-0.2,12.5,0.3\n")
    curves = draw_curves(path, {"identity": {"psnr": 11.0, "ssim": 0.2}}, "PSNR 12.5 $")
    assert curves.size == (1000, 300)
    assert stack(curves, Image.new("RGB", (50, 20))).size == (1000, 320)
    assert torch.tensor(np.asarray(curves)).float().std() > 1
