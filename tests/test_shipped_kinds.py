"""Every kind of image goes all the way by the real command line: train, resume, evaluate, predict, export, compare."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, image, read_csv, read_json, succeeded
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

SIZE = 32
CASES: dict[str, tuple[str, str, list[str]]] = {  # what the input and the target are, and further options
    "mask": ("rgb", "mask", ["data.classes=3", "data.ignore=255"]),
    "raw": ("raw", "raw", ["data.range=[-1,2]", "data.show=[4,0,2]"]),
    "grey16": ("grey16", "grey16", []),
    "rgb16": ("rgb16", "rgb16", []),
    "grey": ("rgba", "grey", []),
    "rgba": ("mask", "rgba", ["data.classes=3", "data.ignore=255"]),
}
USUAL = ("mask",)  # the others take as long again
SUFFIX = {"raw": ".npy"}  # of files; others are PNG


def drawn(kind: str, seed: int) -> Any:
    """An image (H, W, C) of a kind."""
    photo = np.asarray(image(seed, (SIZE, SIZE)))
    match kind:
        case "grey":
            return photo[..., :1]
        case "rgba":
            return np.dstack([photo, photo[..., 0]])
        case "mask":
            return np.where(photo[..., 1:2] > 200, 255, photo[..., :1] // 86).astype(np.uint8)
        case "grey16":
            return photo[..., 1:2].astype(np.uint16) * 250 + 7
        case "rgb16":
            return photo.astype(np.uint16) * 250 + 7
        case "raw":
            return np.dstack([photo, photo[..., ::-1]])[..., :5].astype(np.float32) / 100 - 0.7
    return photo


def write(kind: str, path: Path, array: Any) -> None:
    if kind == "raw":
        np.save(path, array)
    elif kind == "rgb16":
        path.write_bytes(pytest.importorskip("imagecodecs").png_encode(array))
    else:
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(path)


def load(kind: str, path: Path) -> Any:
    if kind == "raw":
        array = np.load(path)
    elif kind == "rgb16":
        array = pytest.importorskip("imagecodecs").imread(path)
    else:
        array = np.asarray(Image.open(path))
    return array[..., None] if array.ndim == 2 else array


def make_root(root: Path, kinds: tuple[str, str]) -> Path:
    for seed, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        for folder, kind in zip(("face", "comics"), kinds, strict=True):
            path = root / split / folder / f"{seed}{SUFFIX.get(kind, '.png')}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(kind, path, drawn(kind, seed))
    return root


def mean_iou(output: Any, target: Any) -> float:
    """Over the classes that either has, and the pixels that are of a class."""
    output, target = output[target != 255], target[target != 255]
    there = np.union1d(output, target)
    return float(
        np.mean([((output == c) & (target == c)).sum() / ((output == c) | (target == c)).sum() for c in there])
    )


def score(kind: str, output: Any, target: Any) -> dict[str, float]:
    """By numpy and scikit-image."""
    if kind == "mask":
        right = (output == target)[target != 255]
        return {"accuracy": float(right.mean()), "miou": mean_iou(output, target)}
    peak = {"raw": 3.0, "grey16": 65535.0, "rgb16": 65535.0}.get(kind, 255.0)
    one, other = output.astype(np.float64), target.astype(np.float64)
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return {
        "mse": float(((one - other) ** 2).mean()),
        "psnr": peak_signal_noise_ratio(other, one, data_range=peak),
        "ssim": structural_similarity(other, one, data_range=peak, channel_axis=-1, **options),
    }


@pytest.mark.parametrize("case", [c if c in USUAL else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def test_from_files_to_files(case: str, command: Command, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source, target, options = CASES[case]
    root, run = make_root(tmp_path / "pairs", (source, target)), tmp_path / "run"
    kinds = [f"data.input={source}", f"data.target={target}", *options]
    tiny = [f"data.image_size={SIZE}", "data.batch_size=2", "data.num_workers=0", "trainer.accelerator=cpu",
            "trainer.max_epochs=1", "logger=none", "model=autoencoder", "model.base_channels=2"]  # fmt: skip
    succeeded(command("train", "task=comic", f"data.root={root}", *kinds, *tiny, f"hydra.run.dir={run}"))
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    said = succeeded(command("evaluate", f"run={run}", "split=all")).stdout
    assert ("Mean IoU" if target == "mask" else "PSNR") in said
    assert read_json(run / "run.json")["steps"] == 4

    is_deep = target in ("raw", "grey16", "rgb16")
    folder, suffix = run / "test" / ("values" if is_deep else "images"), SUFFIX.get(target, ".png")
    outputs = {path.stem: load(target, path) for path in folder.glob(f"*{suffix}")}
    rows = {row["name"]: row for row in read_csv(run / "test" / "per_image.csv")}
    assert outputs.keys() == rows.keys() == {"6", "7"}
    for name, output in outputs.items():
        truth = drawn(target, int(name))
        assert (output.dtype, output.shape) == (truth.dtype, truth.shape)
        assert (
            target != "mask" or output.max() < 3 <= truth.max() == load("mask", run / f"test/targets/{name}.png").max()
        )
        for metric, value in score(target, output, truth).items():
            assert float(rows[name][metric]) == pytest.approx(value, rel=1e-4, abs=1e-3), metric
        with Image.open(run / "test" / "images" / f"{name}.png") as shown:  # for eyes
            assert shown.size == (SIZE, SIZE)

    succeeded(command("predict", f"run={run}", f"input={root / 'test' / 'face'}", f"output={tmp_path / 'out'}"))
    for name, output in outputs.items():
        found = load(target, tmp_path / "out" / f"{name}{suffix}")
        assert np.abs(found.astype(np.float64) - output).max() <= (1e-5 if target == "raw" else 1)
    succeeded(command("predict", f"run={run}", f"input={root / 'test' / 'face'}", f"output={tmp_path / 'side'}",
                      "side_by_side=true"))  # fmt: skip
    assert Image.open(tmp_path / "side" / "6.png").size == (2 * SIZE, SIZE)
    succeeded(command("compare", f"runs={run}", f"output={tmp_path / 'compared'}"))
    metric = "miou" if target == "mask" else "psnr"
    row = next(row for row in read_csv(tmp_path / "compared" / "table.csv") if row["metric"] == metric)
    assert float(row["mean"]) == pytest.approx(np.mean([float(row[metric]) for row in rows.values()]), abs=1e-6)

    if request.node.get_closest_marker("slow"):
        succeeded(command("export", f"run={run}", "format=onnx", f"output={tmp_path / 'model.onnx'}"))
        succeeded(command("evaluate", f"run={tmp_path / 'model.onnx'}", f"output={tmp_path / 'again'}"))
        again = read_json(tmp_path / "again" / "test" / "metrics.json")
        before = read_json(run / "test" / "metrics.json")
        assert again[f"test/{metric}"] == pytest.approx(before[f"test/{metric}"], abs=0.01)


@pytest.mark.slow
def test_a_model_of_several_inputs_predicts_from_several_folders(command: Command, tmp_path: Path) -> None:
    root, run = tmp_path / "pairs", tmp_path / "run"
    for seed, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        for folder in ("photo", "depth", "drawing"):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
            image(seed + len(folder), (SIZE, SIZE)).save(root / split / folder / f"{seed}.png")
    succeeded(command("train", "task=comic", f"data.root={root}", "data.input_folder=[photo,depth]",
                      "data.target_folder=drawing", "model=color_curve", f"data.image_size={SIZE}",
                      "data.num_workers=0", "logger=none", f"hydra.run.dir={run}"))  # fmt: skip
    folders = f"[{root / 'test' / 'photo'},{root / 'test' / 'depth'}]"
    succeeded(command("predict", f"run={run}", f"input={folders}", f"output={tmp_path / 'out'}"))
    for name in ("6", "7"):
        assert np.array_equal(
            load("rgb", tmp_path / "out" / f"{name}.png"), load("rgb", run / f"test/images/{name}.png")
        )
    result = command("predict", f"run={run}", f"input={root / 'test' / 'photo'}", f"output={tmp_path / 'one'}")
    assert result.returncode == 1
    assert "The model joins 2 images for an input: input=[first,second,…]" in result.stderr
