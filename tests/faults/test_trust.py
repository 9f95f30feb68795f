"""Files from strangers: nothing in them is run, nothing of them is believed, and damage ends in one clear error."""

import json
import os
import pickle
import resource
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import TINY_PIX2PIX, Command, make_comic_root, succeeded
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import image_translation
from image_translation.cli.errors import UserError
from image_translation.inference.checkpoints import read_checkpoint
from image_translation.models import Pix2Pix
from image_translation.runs.files import read_json, write_json
from image_translation.runs.folder import read_config, read_manifest

GIB = 2**30


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(Pix2Pix(image_size=32, base_channels=2))
    path = tmp_path_factory.mktemp("sound") / "a.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, made by the command; the tests that change it put back what they changed."""
    import subprocess
    import sys

    from conftest import PROJECT

    folder = tmp_path_factory.mktemp("run")
    root = make_comic_root(folder / "pairs")
    done = subprocess.run(
        [sys.executable, "-m", "image_translation.train", *TINY_PIX2PIX, f"data.root={root}",
         f"hydra.run.dir={folder / 'run'}"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), length=st.integers(1, 50))
def test_any_damage_to_a_checkpoint_is_noticed(checkpoint: Path, place: float, bit: int, length: int) -> None:
    content = bytearray(checkpoint.read_bytes())
    start = int(place * len(content))
    for index in range(start, min(start + length, len(content))):
        content[index] ^= 1 << bit
    damaged = checkpoint.with_name("damaged.ckpt")
    damaged.write_bytes(content)
    try:
        model = image_translation.load(damaged)
    except UserError:
        return
    # What is not covered by a checksum, such as a date in the archive, may differ if the weights do not.
    for name, value in image_translation.load(checkpoint).state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@settings(max_examples=50, deadline=None)
@given(keep=st.floats(0, 1, exclude_max=True))
def test_any_cut_of_a_checkpoint_is_noticed(checkpoint: Path, keep: float) -> None:
    content = checkpoint.read_bytes()
    cut = checkpoint.with_name("cut.ckpt")
    cut.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"cut\.ckpt: (damaged|refused)"):
        image_translation.load(cut)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300))
@example(content=b"0")
@example(content=b"null")
def test_any_bytes_are_no_checkpoint_or_manifest(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / ".hydra").mkdir()
    for name in ("a.ckpt", "a.safetensors", "run.json", ".hydra/config.yaml"):
        (folder / name).write_bytes(content)
    for read in (
        lambda: image_translation.load(folder / "a.ckpt"),
        lambda: image_translation.load(folder / "a.safetensors"),
        lambda: read_manifest(folder),
        lambda: read_config(folder),
    ):
        with pytest.raises(UserError):
            read()


@settings(max_examples=40, deadline=None)
@given(
    place=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    file=st.sampled_from(
        [
            "run.json",
            ".hydra/config.yaml",
            "metrics.csv",
            "test/per_image.csv",
            "test/metrics.json",
            "test/identity.csv",
        ]
    ),
)
def test_any_damage_to_a_run_folder_ends_in_words(finished: Path, place: float, byte: int, file: str) -> None:
    """``compare`` takes the run or names it; what it raises is a message."""
    from image_translation.comparison.collect import collect

    path = finished / file
    before = path.read_bytes()
    content = bytearray(before)
    content[int(place * len(content))] = byte
    path.write_bytes(content)
    try:
        with suppress(UserError):
            collect([finished], [])
    finally:
        path.write_bytes(before)


def rewritten(checkpoint: Path, **changes: Any) -> Path:
    path = checkpoint.with_name("changed.ckpt")
    torch.save(torch.load(checkpoint, weights_only=True) | changes, path)
    return path


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"base_channels": 10**5, "image_size": 32},
            r"is \(\(2, 3, 4, 4\), torch.float32\), expected \(\(100000, 3, 4, 4\)",
        ),
        ({"base_channels": 10**12}, "can't be built"),
        ({"image_size": 2**60}, "can't be built"),
        ({"image_size": [32]}, "can't be built"),
        ({"unknown": 1}, "can't be built"),
        ({"__class__": 1}, "can't be built"),
    ],
)
def test_sizes_are_compared_before_memory_is_taken(checkpoint: Path, options: dict[str, Any], reason: str) -> None:
    """A generator 100,000 channels wide would take terabytes; the process may take 8 GiB more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 8 * GIB, before[1]))
    try:
        with pytest.raises(UserError, match=reason):
            image_translation.load(rewritten(checkpoint, hyper_parameters=options))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_tensors_that_claim_to_be_larger_than_they_are_are_refused(checkpoint: Path) -> None:
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    huge = torch.zeros(1).expand(2**40)
    with pytest.raises(UserError, match="claims to be larger than its numbers"):
        read_checkpoint(rewritten(checkpoint, state_dict=weights | {"generator.encoder.0.weight": huge}))


def test_an_archive_that_unpacks_into_more_is_refused(checkpoint: Path) -> None:
    bomb = checkpoint.with_name("bomb.ckpt")
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, bytes(2**24))
    with pytest.raises(UserError, match=r"bomb\.ckpt: refused"):
        read_checkpoint(bomb)


@pytest.mark.parametrize(
    ("part", "target"),
    [
        ("data", "os.system"),
        ("data.derive", "builtins.eval"),
        ("model", "os.system"),
        ("callbacks.panels", "image_translation.models.pix2pix.frozen"),
    ],
)
def test_a_config_cannot_name_what_is_called(part: str, target: str, finished: Path, command: Command) -> None:
    path = finished / ".hydra" / "config.yaml"
    manifest = (finished / "run.json").read_text()
    before = path.read_text()
    config = read_config(finished)
    trace = finished / "trace"
    from omegaconf import OmegaConf

    OmegaConf.update(config, part, {"_target_": target, "command": f"touch {trace}"}, merge=False, force_add=True)
    path.write_text(OmegaConf.to_yaml(config))
    try:
        for arguments in (("evaluate", f"run={finished}", f"output={finished.parent / 'there'}"),
                          ("train", f"resume={finished}", "trainer.max_epochs=5")):  # fmt: skip
            result = command(*arguments)
            assert result.returncode == 1
            assert f"names '{target}', which is no part of this project, so nothing was run" in result.stderr
            assert "Traceback" not in result.stderr
        assert not trace.exists()
        assert (finished / "run.json").read_text() == manifest
    finally:
        path.write_text(before)


def test_a_config_cannot_name_where_to_write(finished: Path, command: Command, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    path, precious = finished / ".hydra" / "config.yaml", tmp_path / "precious.txt"
    precious.write_text("mine")
    before, manifest = path.read_text(), (finished / "run.json").read_text()
    config = read_config(finished)
    for key, place in {"metrics_csv.path": precious, "panels.folder": tmp_path / "a", "last.folder": tmp_path / "b",
                       "best.dirpath": tmp_path / "c", "results.folder": tmp_path / "d"}.items():  # fmt: skip
        OmegaConf.update(config, f"callbacks.{key}", str(place))
    OmegaConf.update(config, "data.cache_folder", str(tmp_path / "e"))
    path.write_text(OmegaConf.to_yaml(config))
    try:
        there = sorted(tmp_path.iterdir())
        succeeded(command("train", f"resume={finished}", "trainer.max_epochs=2", "data.cache=disk"))
        assert precious.read_text() == "mine"
        assert sorted(p for p in tmp_path.iterdir() if p.suffix != ".txt") == [p for p in there if p.suffix != ".txt"]
        assert len((finished / "metrics.csv").read_text().splitlines()) == 3
        OmegaConf.update(config, "callbacks.more", {"_target_": "image_translation.callbacks.MetricsCSV", "path": "x"},
                         force_add=True)  # fmt: skip
        path.write_text(OmegaConf.to_yaml(config))
        refused = command("train", f"resume={finished}", "trainer.max_epochs=3")
        assert refused.returncode == 1
        assert "callbacks.more, which is no part of this project" in refused.stderr
    finally:
        path.write_text(before)
        (finished / "run.json").write_text(manifest)


@pytest.mark.parametrize("changes", [{"device": []}, {"wall_time_s": "x"}, {"data": 5}, {"seed": "x"}, {"process": 1},
                                     {"data": {}}, {"device": {"count": "x"}}])  # fmt: skip
def test_a_manifest_of_other_kinds_is_damaged(changes: dict[str, Any], finished: Path) -> None:
    path = finished / "run.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | changes))
    try:
        with pytest.raises(UserError, match=rf"is damaged: {next(iter(changes))}(\.\w+)? is "):
            read_manifest(finished)
    finally:
        path.write_text(before)


def test_an_exported_generator_is_the_runs(finished: Path, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "generator.safetensors"
    result = succeeded(command("export", f"run={finished}", f"output={file}"))
    assert "the generator of a Pix2Pix" in result.stdout
    best = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    with safe_open(file, "pt") as content:
        assert {f"generator.{name}" for name in content.keys()} == {n for n in best if n.startswith("generator.")}  # noqa: SIM118
        for name in content.keys():  # noqa: SIM118
            assert torch.equal(content.get_tensor(name), best[f"generator.{name}"])
        assert json.loads(content.metadata()["image_translation"])["model"] == "Pix2Pix"
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    one, other = image_translation.load(finished), image_translation.load(file)
    assert np.array_equal(one.predict(image), other.predict(image))

    again = command("export", f"run={finished}", f"output={file}")
    assert again.returncode == 1
    assert "exists, and nothing is overwritten" in again.stderr
    assert "must end in .safetensors" in command("export", f"run={finished}", f"output={tmp_path / 'a.pt'}").stderr
    assert "run is not set" in command("export").stderr


def test_a_pickle_of_another_kind_is_not_opened(tmp_path: Path) -> None:
    for name, content in {"list.ckpt": pickle.dumps([1]), "deep.ckpt": b"(" * 10**5}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="no checkpoint"):
            read_checkpoint(tmp_path / name)
    (tmp_path / "deep.json").write_text("[" * 10**5)
    with pytest.raises(ValueError, match="nested"):
        read_json(tmp_path / "deep.json")


TAMPERED: dict[str, tuple[str, Any]] = {
    "callbacks.best.filename": ("", "../../../victim/model"),
    "callbacks.metrics_csv._args_": ("callbacks.metrics_csv._args_ is no option", ["{victim}/notes.csv"]),
    "callbacks.last._args_": ("callbacks.last._args_ is no option", ["{victim}"]),
    "callbacks.throughput._partial_": ("callbacks.throughput._partial_ is no option", True),
    "callbacks.throughput": ("config has callbacks.throughput, which is no part of this project", "hello"),
    "callbacks.odd": ("config has callbacks.odd, which is no part of this project", {"folder": "{victim}"}),
    "data._target_": (
        "config has data, which is no part",
        "image_translation.callbacks.MetricsCSV",
    ),
    "data.zzz": (
        "data.zzz._target_ is no option",
        {"_target_": "image_translation.loggers.wandb.wandb_logger", "save_dir": "{victim}"},
    ),
    "data.table": ("data.table is", "${run.x}"),
    "model.norm": ("model.norm is", "${oc.${data.task}:HOME}"),
    "trainer.default_root_dir": ("", "{victim}"),
}


@pytest.mark.parametrize("key", [pytest.param(k, marks=[pytest.mark.slow] if "_args_" in k else []) for k in TAMPERED])
def test_a_config_gives_plain_values_only(key: str, finished: Path, command: Command) -> None:
    from omegaconf import OmegaConf

    victim, path = finished.parent / "victim", finished / ".hydra" / "config.yaml"
    victim.mkdir(exist_ok=True)
    (victim / "notes.csv").write_text("mine")
    (victim / "step_00000001.ckpt").write_text("mine")
    message, value = TAMPERED[key]
    before, manifest = path.read_text(), (finished / "run.json").read_text()
    config = read_config(finished)
    if isinstance(value, dict):
        value = {name: text.format(victim=victim) for name, text in value.items()}
    elif isinstance(value, list):
        value = [text.format(victim=victim) for text in value]
    elif value == "{victim}":
        value = str(victim)
    OmegaConf.update(config, key, value, merge=False, force_add=True)
    OmegaConf.update(config, "run.x", "${oc.env:SECRET}", force_add=True)
    path.write_text(OmegaConf.to_yaml(config))
    try:
        result = command("train", f"resume={finished}", "trainer.max_epochs=2", SECRET="hunter2")
        if message:
            assert result.returncode == 1
            assert message in result.stderr
            assert len(result.stderr.splitlines()) == 1
            assert (finished / "run.json").read_text() == manifest
        else:
            succeeded(result)
        assert sorted(p.name for p in victim.iterdir()) == ["notes.csv", "step_00000001.ckpt"]
        assert {p.read_text() for p in victim.iterdir()} == {"mine"}
        assert "hunter2" not in path.read_text() + result.stdout + result.stderr
    finally:
        path.write_text(before)
        (finished / "run.json").write_text(manifest)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: [*b,*b]\n",
        "a: &a [*a]\n",
        "[" * 3000,
        "a: !!python/object/apply:os.getcwd []",
    ],
)
def test_a_config_that_would_unpack_into_more(text: str, tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml is damaged"):
        read_config(tmp_path)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(UserError, match="no ordinary file"):
        read_manifest(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="no ordinary file"):
        read_manifest(tmp_path)


def test_a_link_in_a_run_folder_leads_nowhere_else(finished: Path, command: Command, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    (run / "checkpoints" / ".last.ckpt.tmp").symlink_to(precious)
    result = command("train", f"resume={run}", "trainer.max_epochs=2")
    assert result.returncode == 1
    assert ".last.ckpt.tmp is a link that leads out of the run folder" in result.stderr
    (run / "checkpoints" / ".last.ckpt.tmp").unlink()
    (run / ".run.json.tmp").symlink_to(precious)
    write_json(run / "run.json", {"a": 1})
    assert precious.read_text() == "mine"
    assert read_json(run / "run.json") == {"a": 1}


HUGE: list[Any] = ["x"]
for _ in range(60):
    HUGE = [HUGE, HUGE]
ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize("content", [HUGE, ITSELF], ids=["huge", "itself"])
def test_lists_that_unpack_into_more_are_no_matter(content: list[Any], checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True) | {"more": content}
    torch.save(state, tmp_path / "a.ckpt")
    image_translation.load(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": bytearray(10)}, "holds more than tensors and plain values"),
        ({"image_translation": {"model": ["Pix2Pix"]}}, "is not known here"),
        ({"hyper_parameters": {"image_size": 32, "base_channels": torch.tensor(2)}}, "no plain values"),
    ],
)
def test_odd_parts_of_a_checkpoint(change: dict[str, Any], message: str, checkpoint: Path, tmp_path: Path) -> None:
    torch.save(torch.load(checkpoint, weights_only=True) | change, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=message):
        image_translation.load(tmp_path / "a.ckpt")
