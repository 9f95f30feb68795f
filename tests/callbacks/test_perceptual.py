"""LPIPS, FID and KID, with random weights, because the real ones cannot be downloaded here, and without any."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Command, make_comic_root, succeeded, train
from scipy import linalg
from torchmetrics import Metric
from torchvision.models import AlexNet_Weights, alexnet

pytest.importorskip("torch_fidelity")
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from image_translation.callbacks.perceptual import KINDS, perceptual_metric
from image_translation.cli.errors import UserError

WEIGHTS = {"lpips": Path(AlexNet_Weights.IMAGENET1K_V1.url).name, "fid": Path(URL_INCEPTION_V3).name}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without training: identity has no weights to learn."""
    folder = tmp_path_factory.mktemp("perceptual")
    root = make_comic_root(folder / "pairs", {"train": 2, "val": 2, "test": 6})
    train(folder, "model=identity", *TINY, f"data.root={root}", "hydra.run.dir=run")
    return folder / "run"


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, in the files that the real ones would be in."""
    home = tmp_path_factory.mktemp("torch")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), home / "hub" / "checkpoints" / WEIGHTS["lpips"])
    torch.save(torch_fidelity_state(), home / "hub" / "checkpoints" / WEIGHTS["fid"])
    return home


def torch_fidelity_state() -> dict[str, torch.Tensor]:
    """A state for torch-fidelity's Inception, whose constructor insists on loading one."""
    made: dict[str, torch.Tensor] = {}

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object, **__: object) -> None:  # type: ignore[override]
            made.update(self.state_dict())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.load", lambda *_, **__: {})
        Unloaded("inception-v3-compat", ["2048"], feature_extractor_weights_path="nowhere")
    return made


def test_evaluate_adds_them(run: Path, torch_home: Path, command: Command, tmp_path: Path) -> None:
    succeeded(
        command("evaluate", f"run={run}", "perceptual=[lpips,fid,kid]", f"output={tmp_path / 'out'}",
                TORCH_HOME=str(torch_home))
    )  # fmt: skip
    metrics = json.loads((tmp_path / "out" / "test" / "metrics.json").read_text())
    assert {"perceptual/lpips", "perceptual/fid", "perceptual/kid", "test/psnr"} <= set(metrics)
    assert metrics["perceptual/lpips"] > 0


def test_lpips_is_zero_for_equal_images_only(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    images = torch.rand(2, 3, 64, 64)
    assert float(perceptual_metric("lpips")(images, images)) == pytest.approx(0, abs=1e-6)
    assert float(perceptual_metric("lpips")(images, images.flip(2))) > 1e-6


def test_fid_is_the_frechet_distance(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    metric = perceptual_metric("fid")
    a, b = (torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8, generator=torch.manual_seed(i)) for i in (0, 1))
    metric.update(a, real=True)
    metric.update(b // 2, real=False)
    with torch.no_grad():
        features = [metric.inception(x).double().numpy() for x in (a, b // 2)]  # type: ignore[operator]
    means, covariances = [f.mean(0) for f in features], [np.cov(f, rowvar=False) for f in features]
    traces = sum(np.trace(covariance) for covariance in covariances)
    roots = np.sqrt(linalg.eigvals(covariances[0] @ covariances[1]) + 0j).real.sum()
    expected = np.sum((means[0] - means[1]) ** 2) + traces - 2 * roots
    assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-2)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_missing_weights_end_with_a_message_that_names_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    file = tmp_path / "hub" / "checkpoints" / WEIGHTS[kind]
    with pytest.raises(UserError, match=rf"{file}, which can come from another machine"):
        perceptual_metric(kind)


def test_a_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch_fidelity() -> Metric:
        raise ModuleNotFoundError  # as torchmetrics documents it

    monkeypatch.setitem(KINDS, "fid", (without_torch_fidelity, {}, ""))
    with pytest.raises(UserError, match=r"pip install '\.\[perceptual\]'"):
        perceptual_metric("fid")
