"""Where a test writes its results. That they are right is tested on runs of the command line."""

from pathlib import Path

import numpy as np
import pytest
from conftest import comic_of, image, read_csv, read_json
from helpers.training import fit, make_data, make_model
from PIL import Image

from image_translation.callbacks import TestResultsWriter


@pytest.mark.parametrize("pairs", [True, False])
def test_each_split_has_a_folder(pairs: bool, comic_root: Path, tmp_path: Path) -> None:
    model, data = make_model("autoencoder"), make_data(comic_root, eval_batch_size=3)
    writer = TestResultsWriter(str(tmp_path / "run"), others=str(tmp_path / "others"), pairs=pairs)
    trainer = fit(model, data, max_steps=0, callbacks=[writer])
    for split, folder, seeds in (("test", "run", range(9, 13)), ("val", "others", range(7, 9))):
        model.test_split = data.test_split = split
        trainer.test(model, datamodule=data, verbose=False)
        place = tmp_path / folder / split
        kinds = {"images": None, "inputs": image, "targets": lambda seed: comic_of(image(seed))}
        assert {path.name for path in place.iterdir() if path.is_dir()} == set(kinds if pairs else ["images"])
        names = [f"{split}{index}" for index in range(len(seeds))]
        for kind, made in kinds.items() if pairs else ():
            assert sorted(path.stem for path in (place / kind).iterdir()) == names
            for name, seed in zip(names, seeds, strict=True) if made else ():
                assert np.array_equal(Image.open(place / kind / f"{name}.png"), made(seed))
        rows, means = read_csv(place / "per_image.csv"), read_json(place / "metrics.json")
        assert [row["name"] for row in rows] == names
        assert means[f"{split}/psnr"] == pytest.approx(np.mean([float(row["psnr"]) for row in rows]))
        assert means["images"] == len(names)
