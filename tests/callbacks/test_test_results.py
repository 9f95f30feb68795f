"""What a test writes, against scikit-image on the written files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import comic_of, image
from helpers.training import fit, make_data, make_model
from PIL import Image
from skimage.metrics import mean_squared_error

from image_translation.callbacks import TestResultsWriter
from image_translation.metrics.image_scores import mean_metrics


@pytest.mark.parametrize("pairs", [True, False])
def test_images_and_scores_of_each_split(pairs: bool, comic_root: Path, tmp_path: Path) -> None:
    model, data = make_model("autoencoder"), make_data(comic_root, eval_batch_size=3)
    writer = TestResultsWriter(str(tmp_path / "run"), others=str(tmp_path / "others"), pairs=pairs)
    trainer = fit(model, data, max_steps=0, callbacks=[writer])
    model.set_protocol("report")
    for split, folder, first in (("test", tmp_path / "run", 9), ("val", tmp_path / "others", 7)):
        model.test_split = data.test_split = split
        trainer.test(model, datamodule=data, verbose=False)
        folder = folder / split
        kinds = ["images", "inputs", "targets"] if pairs else ["images"]
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == kinds
        rows, identity = (
            list(csv.DictReader((folder / name).read_text().splitlines())) for name in ("per_image.csv", "identity.csv")
        )
        names = [f"{split}{index}" for index in range(len(data.datasets[split]))]
        assert [row["name"] for row in rows] == [row["name"] for row in identity] == names
        for index, row in enumerate(rows):
            source = image(first + index)
            output = np.asarray(Image.open(folder / "images" / f"{row['name']}.png"))
            assert float(row["mse"]) == pytest.approx(mean_squared_error(output, np.asarray(comic_of(source))), abs=1e-3)
            if pairs:
                assert np.array_equal(Image.open(folder / "inputs" / f"{row['name']}.png"), source)
                assert np.array_equal(Image.open(folder / "targets" / f"{row['name']}.png"), comic_of(source))
        written = json.loads((folder / "metrics.json").read_text())
        means, of_identity = mean_metrics(model.results[split]), mean_metrics(model.results["identity"])
        assert written == pytest.approx(
            {n if "/" in n else f"{split}/{n}": value for n, value in means.items()}
            | {f"identity/{n}": value for n, value in of_identity.items()} | {"images": len(names)}
        )  # fmt: skip
        assert written[f"{split}/psnr"] == pytest.approx(np.mean([float(row["psnr"]) for row in rows]))
