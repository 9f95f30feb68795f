"""LPIPS, FID and KID, with random weights, because the real ones cannot be downloaded here, and without any."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import Command, read_json, succeeded
from PIL import Image
from torchvision.models import AlexNet_Weights, alexnet
from torchvision.transforms.functional import pil_to_tensor

pytest.importorskip("torch_fidelity")
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from image_translation.callbacks.perceptual import KINDS, perceptual_metric
from image_translation.cli.errors import UserError

WEIGHTS = {"lpips": Path(AlexNet_Weights.IMAGENET1K_V1.url).name, "fid": Path(URL_INCEPTION_V3).name}


def torch_fidelity_state() -> dict[str, torch.Tensor]:
    """A state for torch-fidelity's Inception, whose constructor insists on loading one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.load", Mock())
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", Mock())
        return FeatureExtractorInceptionV3("", ["2048"], feature_extractor_weights_path="nowhere").state_dict()


def test_evaluate_adds_the_distances_between_outputs_and_targets(
    finished_run: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FID by the formula of the Fréchet distance; LPIPS image by image."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), folder / WEIGHTS["lpips"])
    torch.save(torch_fidelity_state(), folder / WEIGHTS["fid"])
    succeeded(command("evaluate", f"run={finished_run}", "perceptual=[lpips,fid,kid]", f"output={tmp_path / 'out'}"))
    found = read_json(tmp_path / "out" / "test" / "metrics.json")
    outputs, targets = (
        torch.stack([pil_to_tensor(Image.open(path)) for path in sorted((finished_run / "test" / kind).iterdir())])
        for kind in ("images", "targets")
    )
    inception = perceptual_metric("fid").inception
    with torch.no_grad():
        features = [inception(x).double().numpy() for x in (outputs, targets)]
    # With the factors of both covariances, the trace of their product's root is a sum of singular values.
    means, factors = [f.mean(0) for f in features], [(f - f.mean(0)) / 3**0.5 for f in features]  # of four images
    root = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum(np.square(factors)) - 2 * root
    assert found["perceptual/fid"] == pytest.approx(float(expected), rel=1e-2, abs=0)
    lpips = perceptual_metric("lpips")
    distances = [float(lpips(*(image[None] / 255 for image in pair))) for pair in zip(outputs, targets, strict=True)]
    assert found["perceptual/lpips"] == pytest.approx(np.mean(distances), rel=1e-3)
    assert min(distances) > 1e-6
    assert float(lpips(targets / 255, targets / 255)) == pytest.approx(0, abs=1e-6)
    assert found.keys() >= {"perceptual/kid", "test/psnr"}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_the_message_names_missing_weights(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    file = tmp_path / "hub" / "checkpoints" / WEIGHTS[kind]
    with pytest.raises(UserError, match=rf"{file}, which can come from another machine"):
        perceptual_metric(kind)


def test_a_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "fid", (Mock(side_effect=ModuleNotFoundError), {}, ""))  # as torchmetrics documents it
    with pytest.raises(UserError, match=r"pip install '\.\[perceptual\]'"):
        perceptual_metric("fid")
