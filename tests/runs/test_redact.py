"""Nothing that a run leaves names the home folder or holds a secret."""

from pathlib import Path

import pytest
from conftest import TINY_AUTOENCODER, Command, make_comic_root, succeeded
from helpers.wandb_runs import read_offline_run

from image_translation.runs.redact import redact

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "MY_TOKEN": "s3cr3t-t0k3n",
    "db_password": "hunter2hunter2",
}


def test_a_run_in_a_home_folder(command: Command, tmp_path: Path) -> None:
    home = tmp_path / "alice"
    root, run = make_comic_root(home / "my pairs"), home / "outputs" / "run"
    environment = SECRETS | {"HOME": str(home), "WANDB_MODE": "offline"}
    options = [*TINY_AUTOENCODER, f"data.root={root}", f"hydra.run.dir={run}", "logger=wandb"]
    succeeded(command("train", *options, **environment))
    manifest, log = ((run / name).read_text() for name in ("run.json", "train.log"))
    logged = str(read_offline_run(run).config)
    for text in (manifest, log, logged):
        assert not [secret for secret in (str(home), *SECRETS.values()) if secret in text]
    assert "~/my pairs" in manifest
    assert "~/my pairs" in logged
    # The shortened path is still the place of the pairs.
    succeeded(command("evaluate", f"run={run}", **environment))

    (tmp_path / "cwd" / "own.py").write_text(f"""import pytorch_lightning as pl

class Failing(pl.Callback):
    def on_train_epoch_end(self, *_):
        raise ValueError("{home}/nowhere/{SECRETS["MY_TOKEN"]}")
""")
    failed = command("train", *options[:-2], f"hydra.run.dir={home / 'other'}", "logger=none",
                     "+callbacks.failing._target_=own.Failing", **environment)  # fmt: skip
    assert failed.returncode == 1
    for name in ("run.json", "train.log"):
        text = (home / "other" / name).read_text()
        assert "~/nowhere/***" in text
        assert SECRETS["MY_TOKEN"] not in text
        assert str(home) not in text


def test_what_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/al")
    monkeypatch.setenv("SOME_API_KEY", "abcdefgh")
    monkeypatch.setenv("SHORT_KEY", "a")
    before = {"a": ["/home/al/x", "/home/alice/x", "key=abcdefgh", 3, None], "b": ("/home/al",), "c": "'/home/al'"}
    after = {"a": ["~/x", "/home/alice/x", "key=***", 3, None], "b": ["~"], "c": "'~'"}
    assert redact(before) == after
