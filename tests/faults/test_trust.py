"""Run folders of strangers: nothing that their files name is run, and any damage ends in one message."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY_AUTOENCODER, Command, succeeded
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import image_translation
from image_translation.cli.errors import UserError
from image_translation.runs.folder import read_config, read_manifest, read_overrides

FILES = {"a.ckpt": image_translation.load, "a.safetensors": image_translation.load, "run.json": read_manifest,
         ".hydra/config.yaml": read_config}  # fmt: skip


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def options_of(node: str, trace: Path) -> list[str]:
    options = ("_target_=pathlib.Path.touch", "self._target_=pathlib.Path", f"self._args_=[{trace}]")
    return [f"+{node}.{option}" for option in options]


def refused(command: Command, run: Path, trace: Path, *, message: str) -> None:
    """Check that neither resuming nor evaluating takes the run, makes the trace, or changes the manifest."""
    manifest = (run / "run.json").read_bytes()
    for arguments in (["evaluate", f"run={run}", f"output={run.parent / 'out'}"],
                      ["train", f"resume={run}", "trainer.max_epochs=3"]):  # fmt: skip
        result = command(*arguments)
        assert result.returncode == 1
        assert result.stderr.count("Error: ") == 1
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    assert not trace.exists()
    assert (run / "run.json").read_bytes() == manifest


def test_the_trace_would_be_made(command: Command, tmp_path: Path) -> None:
    """Typed by the user, the same options do run."""
    trace = tmp_path / "trace"
    command("train", *TINY_AUTOENCODER, *options_of("callbacks.x", trace), f"hydra.run.dir={tmp_path / 'run'}")
    assert trace.exists()


@pytest.mark.parametrize("node", ["data.derive", "model.optimizer", "callbacks.x", "logger.x", "hydra.callbacks.x"])
def test_an_override_that_names_a_class_is_refused(node: str, run: Path, command: Command, tmp_path: Path) -> None:
    path, trace = run / ".hydra" / "overrides.yaml", tmp_path / "trace"
    path.write_text(yaml.safe_dump([*read_overrides(run), *options_of(node, trace)]))
    refused(command, run, trace, message="overrides.yaml names a class")


@pytest.mark.parametrize("node", ["data", "model", "model.optimizer", "callbacks.x"])
def test_a_class_in_the_config_is_not_constructed(node: str, run: Path, command: Command, tmp_path: Path) -> None:
    path, trace = run / ".hydra" / "config.yaml", tmp_path / "trace"
    config = OmegaConf.load(path)
    named = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(trace)]}}
    OmegaConf.update(config, node, named, force_add=True)
    path.write_text(OmegaConf.to_yaml(config))
    if node.startswith("callbacks"):
        assert f"{node}._target_" in command("train", f"resume={run}", "trainer.max_epochs=3").stderr
        succeeded(command("evaluate", f"run={run}"))  # which has callbacks of its own
        assert not trace.exists()
    else:
        refused(command, run, trace, message=f"{node}._target_: was pathlib.Path.touch, now ")


def test_code_in_a_checkpoint_is_not_run(run: Path, command: Command, tmp_path: Path) -> None:
    trace, best = tmp_path / "trace", run / "checkpoints" / "best.ckpt"
    for path in (run / "checkpoints").glob("*.ckpt"):
        torch.save(torch.load(path, weights_only=True) | {"more": Touch(trace)}, path)
    refused(command, run, trace, message="it holds more than tensors and plain values. Nothing was run.")
    torch.load(best, weights_only=False)
    assert trace.exists()  # it would have run
    trace.unlink()
    best.write_bytes(pickle.dumps({"more": Touch(trace)}))  # as torch wrote them long ago
    with pytest.raises(UserError, match=r"best\.ckpt: damaged, or no checkpoint"):
        image_translation.load(run)
    assert not trace.exists()


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), length=st.integers(1, 50), cut=st.booleans())
def test_any_damage_to_a_checkpoint_is_noticed(
    finished_run: Path, place: float, bit: int, length: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sound, damaged = finished_run / "checkpoints" / "best.ckpt", tmp_path_factory.mktemp("a") / "damaged.ckpt"
    content = bytearray(sound.read_bytes())
    start = int(place * len(content))
    for index in range(start, min(start + length, len(content))):
        content[index] ^= 1 << bit
    damaged.write_bytes(content[:start] if cut else content)
    try:
        model = image_translation.load(damaged)
    except UserError:
        return
    # What has no checksum, such as a date in the archive, may differ if the weights do not.
    assert not cut
    for name, value in image_translation.load(sound).state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300))
@example(content=b"0")
@example(content=b"null")
@example(content=b"{}")
def test_any_bytes_are_no_run_and_no_checkpoint(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / ".hydra").mkdir()
    for name, read in FILES.items():
        (folder / name).write_bytes(content)
        with pytest.raises(UserError):
            read(folder / name if name.startswith("a.") else folder)
