"""What makes training fast changes nothing that it computes: torch.compile, and never waiting for the device."""

from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE
from helpers.training import SGD, fit, make_data, make_model, moved_alike, without_dropout
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from image_translation.callbacks import EpochProgress, GANMonitor, Throughput, TrainingMetrics

SMALL = {"image_size": 32}  # fewer layers compile in less time
NEEDS_COMPILER = pytest.mark.skipif(which("g++") is None, reason="torch.compile needs a C++ compiler")


@pytest.fixture(autouse=True)
def _torchs_own_compiler_afterwards() -> Iterator[None]:
    yield
    torch.compiler.reset()


def compile_by(backend: str | Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let networks be compiled by another backend than torch's own, which takes a minute."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))


def test_compiling_leaves_no_mark(name: str, comic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    compile_by(backend, monkeypatch)
    data, model = make_data(comic_root, batch_size=3), make_model(name, compile="default")
    fit(model, data).save_checkpoint(tmp_path / "last.ckpt")
    assert graphs
    trainer = fit(make_model(name), data, max_epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert trainer.global_step == 4
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert state.keys() == make_model(name).state_dict().keys()  # without "_orig_mod."
    # Evaluation, at whatever size and batch, is not compiled.
    count = len(graphs)
    with torch.inference_mode():
        model.eval()(torch.rand(3, 3, 2 * SIZE, 2 * SIZE))
    assert len(graphs) == count


@pytest.mark.parametrize(("name", "backend"), [
    ("pix2pix", "aot_eager"), pytest.param("autoencoder", "inductor", marks=NEEDS_COMPILER),
    pytest.param("pix2pix", "inductor", marks=[NEEDS_COMPILER, pytest.mark.slow]),
])  # fmt: skip
def test_compiled_gradients_agree(name: str, backend: str, comic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_by(backend, monkeypatch)
    models = [without_dropout(name, optimizer=SGD, compile=mode, **SMALL) for mode in ("off", "default", "off")]
    for model in models[:2]:
        fit(model, make_data(comic_root, image_size=32, batch_size=6), limit_val_batches=0)
    moved_alike(*models)


@pytest.mark.parametrize(("batches", "mode"), [(1, "max-autotune"), (2, "max-autotune-no-cudagraphs")])
def test_no_cuda_graph_accumulates(batches: int, mode: str, comic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda network, **options: compiled.append((network, options)))
    model = make_model("pix2pix", compile="max", accumulate_grad_batches=batches)
    fit(model, make_data(comic_root, batch_size=6), limit_val_batches=0)
    options = {"dynamic": False, "mode": mode}
    assert compiled == [(model.generator, options), (model.discriminator, options)]


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_compiled_networks_use_gradient_checkpointing_too(norm: str) -> None:
    x = torch.rand(2, 3, 32, 32)

    def backward(gradient_checkpointing: bool) -> tuple[int, list[Tensor]]:
        """The bytes that are kept for the backward pass, and what it ends with."""
        options = SMALL | {"norm": norm, "gradient_checkpointing": gradient_checkpointing}
        network, held = without_dropout("pix2pix", **options).generator.train(), dict[int, int]()
        network.compile(dynamic=False, fullgraph=True, backend="aot_eager")  # fails if it breaks into parts

        def hold(tensor: Tensor) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            y = network(x)
        y.square().mean().backward()
        return sum(held.values()), [*network.buffers(), *(p.grad for p in network.parameters())]

    (kept, results), (kept_less, again) = backward(False), backward(True)
    assert kept_less < 0.7 * kept
    for one, other in zip(results, again, strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-6)


class FetchedValues(TorchDispatchMode, pl.Callback):
    """Counts the values that are fetched from a device between the first step of an epoch and its last."""

    def __init__(self) -> None:
        super().__init__()
        self.counting, self.steps, self.fetched = False, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.fetched += self.counting and func == torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))

    def on_train_batch_start(self, *_: Any) -> None:
        self.counting = True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.steps += 1
        self.counting = not trainer.is_last_batch


class Strict(pl.Callback):
    """Fails at a step that waits for the GPU, in the second epoch, once every image and kernel has been there."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("error" if trainer.current_epoch else "default")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.is_last_batch:
            torch.cuda.set_sync_debug_mode("default")


def train_watched(name: str, watches: list[pl.Callback], root: Path, folder: Path, **options: Any) -> None:
    metrics = TrainingMetrics(str(folder / "metrics.csv"))
    callbacks = [*watches, EpochProgress("bar"), Throughput(), GANMonitor(), metrics]
    fit(make_model(name), make_data(root, batch_size=2), max_epochs=2, callbacks=callbacks, enable_progress_bar=True,
        logger=CSVLogger(folder), **options)  # fmt: skip


def test_no_step_waits_for_values(name: str, comic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, copies, tensor = FetchedValues(), [], torch.tensor

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        if count.counting and "device" in kwargs:  # on a GPU this would wait for it too
            copies.append(args)
        return tensor(*args, **kwargs)

    monkeypatch.setattr(torch, "tensor", watched)
    with count:
        train_watched(name, [count], comic_root, tmp_path)
        # On a CPU it is asked after each step whether the losses are finite.
        assert (count.steps, count.fetched, copies) == (6, 4, [])
        count.counting = True
        torch.rand(1).item()
        assert count.fetched == 5  # it would have been seen


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_step_waits_for_the_gpu(name: str, precision: str, comic_root: Path, tmp_path: Path) -> None:
    try:
        train_watched(name, [Strict()], comic_root, tmp_path, accelerator="gpu", devices=1,
                      precision=precision)  # fmt: skip
    finally:
        torch.cuda.set_sync_debug_mode("default")
