"""Fine-tuning: starting from the weights of another run; and ending early."""

from pathlib import Path

import pytest
import torch
from conftest import TINY_AUTOENCODER, TINY_PIX2PIX, Command, make_comic_root, read_csv, read_json, succeeded
from helpers.training import make_model

from image_translation.cli.errors import UserError
from image_translation.inference.checkpoints import read_checkpoint, save_generator
from image_translation.models import ResUNet, ResUNetGAN
from image_translation.training.initialization import fitting_weights


def test_a_run_starts_from_another(finished_run: Path, command: Command, tmp_path: Path) -> None:
    other, run = make_comic_root(tmp_path / "other", {"train": 2, "val": 1, "test": 1}), tmp_path / "run"
    still = ("model.optimizer.lr=0", f"init_from={finished_run}")  # what is trained stays what it was at first
    succeeded(command("train", *TINY_PIX2PIX, *still, f"data.root={other}", f"hydra.run.dir={run}"))
    before, after = (
        read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"] for folder in (finished_run, run)
    )
    networks = [name for name in before if name.startswith(("generator", "discriminator"))]
    assert networks
    assert all(torch.equal(before[name], after[name]) for name in networks)
    assert read_json(run / "run.json")["init_from"] == str(finished_run)
    refused = command("train", *TINY_AUTOENCODER, f"data.root={other}", f"init_from={finished_run}")
    assert refused.returncode == 1
    assert "these are weights of another network" in refused.stderr


def test_what_fits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    options = {"base_channels": 8, "depth": 2}
    save_generator(ResUNet(**options), path)
    with_discriminator = ResUNetGAN(**options, discriminator_channels=4)
    fitting = fitting_weights(with_discriminator, str(path), strict=True)
    own = with_discriminator.generator.state_dict()
    assert fitting.keys() == {f"generator.{name}" for name in own}  # the discriminator starts anew
    other = ResUNet(base_channels=16, depth=2)
    with pytest.raises(UserError, match=r"generator\.\S+ is \(\d+.*\), not \(\d+"):
        fitting_weights(other, str(path), strict=True)
    taken = fitting_weights(other, str(path), strict=False)
    assert "generator.curve.coefficients" in taken
    assert len(taken) < len(other.generator.state_dict())
    with pytest.raises(UserError, match="is missing in"):
        fitting_weights(make_model("autoencoder"), str(path), strict=True)


def test_a_run_that_stops_early_is_finished(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    early = (
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=2",
        "callbacks.early_stopping.min_delta=100",
    )
    options = (*TINY_AUTOENCODER, *early, f"data.root={comic_root}", f"hydra.run.dir={run}")
    succeeded(command("train", *options, "trainer.max_epochs=2"))
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=9"))  # it knows how long it has waited
    manifest = read_json(run / "run.json")
    assert (manifest["status"], manifest["epochs"]) == ("finished", 3)
    assert [row["epoch"] for row in read_csv(run / "metrics.csv")] == ["1", "2", "3"]
    assert "Stopped early: val/psnr was not better than" in (run / "train.log").read_text()
    again = succeeded(command("train", *options, "trainer.max_epochs=9", "if_exists=resume"))
    assert "finished already" in again.stdout + again.stderr
