"""What makes training fast changes nothing that it computes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from image_translation.callbacks import MetricsCSV, ProgressBar, Throughput
from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.models import ImageTranslationModule, Pix2Pix, UNetAutoencoder
from image_translation.models.base import COMPILE
from image_translation.training.batch_size import BareLoop

MODELS = {"pix2pix": Pix2Pix, "autoencoder": UNetAutoencoder}
CPU = torch.device("cpu")


def make_model(name: str, **options: Any) -> ImageTranslationModule:
    torch.manual_seed(0)
    return MODELS[name](**({"image_size": SIZE, "base_channels": 4} | options))


def train(model: ImageTranslationModule, root: Path, **options: Any) -> pl.Trainer:
    """Two epochs of three batches."""
    pl.seed_everything(0, verbose=False)
    data = PairedImageDataModule("comic", str(root), input_folder="face", target_folder="comics", image_size=SIZE,
                                 num_workers=0, batch_size=2)  # fmt: skip
    resume = options.pop("ckpt_path", None)
    defaults = {"max_epochs": 2, "enable_progress_bar": False, "enable_model_summary": False, "logger": False,
                "enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0}  # fmt: skip
    trainer = pl.Trainer(**(defaults | options))
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer


def batch_of(count: int) -> dict[str, Any]:
    x, y = torch.rand(2, count, 3, SIZE, SIZE) * 2 - 1
    return {"input": x, "target": y, "name": [""] * count}


def calls_of(network: torch.nn.Module) -> list[list[Tensor]]:
    """The outputs of a network that are to come, each with the inputs before it."""
    calls: list[list[Tensor]] = []
    network.register_forward_hook(lambda _, inputs, output: calls.append([*inputs, output]))
    return calls


# Fewer operations


def test_a_step_runs_the_generator_once_and_the_discriminator_twice() -> None:
    model = make_model("pix2pix")
    assert isinstance(model, Pix2Pix)
    loop = BareLoop(model, CPU, "32-true")
    generated, judged = calls_of(model.generator), calls_of(model.discriminator)
    loop.step(batch_of(2))
    assert len(generated) == 1
    assert [len(x) for x, *_ in judged] == [4, 2]  # real and fake in one pass, then fake for the generator
    assert [p.grad for p in model.parameters() if p.grad is not None] == []


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_one_pass_judges_as_two_do(norm: str) -> None:
    model = make_model("pix2pix", norm=norm)
    assert isinstance(model, Pix2Pix)
    model.double()
    x, y, fake = torch.rand(3, 3, 3, SIZE, SIZE, dtype=torch.float64) * 2 - 1
    together = model.judge(x, y, fake)
    apart = model.discriminator(x, y), model.discriminator(x, fake)
    for one, other in zip(together, apart, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_the_generator_is_judged_by_the_discriminator_just_updated() -> None:
    """In bfloat16 too, where autocast keeps its copies of weights that it has seen."""
    model = make_model("pix2pix", learning_rate=0.01)
    assert isinstance(model, Pix2Pix)
    loop = BareLoop(model, CPU, "bf16-mixed")
    judged = calls_of(model.discriminator)
    loop.step(batch_of(1))
    x, fake, logits = judged[1]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        after = model.discriminator(x, fake)
    before = judged[0][2][1:]  # of the fake, by the weights before the update
    assert torch.allclose(logits, after, atol=1e-2)
    assert not torch.allclose(logits, before, atol=0.1)


# No waiting for the device


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


@pytest.mark.parametrize("name", MODELS)
def test_no_step_waits_for_a_value(
    name: str, comic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = FetchedValues()
    callbacks = [count, ProgressBar(), Throughput(), MetricsCSV(str(tmp_path / "metrics.csv"))]
    options: dict[str, Any] = {"callbacks": callbacks, "enable_progress_bar": True, "logger": CSVLogger(tmp_path)}
    copies, tensor = [], torch.tensor

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        if count.counting and "device" in kwargs:  # on a GPU this would wait for it too
            copies.append(args)
        return tensor(*args, **kwargs)

    monkeypatch.setattr(torch, "tensor", watched)
    with count:
        train(make_model(name), comic_root, **options)
        assert count.steps == 6
        assert count.fetched == 0
        assert copies == []
        count.counting = True
        torch.rand(1).item()
        assert count.fetched == 1  # it would have been seen


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", MODELS)
def test_no_step_waits_for_the_gpu(name: str, precision: str, comic_root: Path, tmp_path: Path) -> None:
    class Strict(pl.Callback):
        """In the second epoch, once every image and kernel has been there."""

        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            torch.cuda.set_sync_debug_mode("error" if trainer.current_epoch else "default")

        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.is_last_batch:
                torch.cuda.set_sync_debug_mode("default")

    callbacks = [Strict(), ProgressBar(), Throughput(), MetricsCSV(str(tmp_path / "metrics.csv"))]
    options: dict[str, Any] = {"callbacks": callbacks, "enable_progress_bar": True, "logger": CSVLogger(tmp_path)}
    try:
        train(make_model(name), comic_root, accelerator="gpu", devices=1, precision=precision, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# torch.compile

NEEDS_COMPILER = pytest.mark.skipif(which("g++") is None, reason="torch.compile needs a C++ compiler")


@contextmanager
def compiled_by(backend: str | Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``model.compile=default`` by another backend than torch's, which takes a minute."""
    torch._dynamo.reset()
    with monkeypatch.context() as patch:
        patch.setitem(COMPILE, "default", {"backend": backend})
        yield
    torch._dynamo.reset()


def moved_alike(one: ImageTranslationModule, other: ImageTranslationModule, start: ImageTranslationModule) -> None:
    for (name, a), b, before in zip(one.named_parameters(), other.parameters(), start.parameters(), strict=True):
        assert (a - b).norm() <= 0.02 * (a - before).norm() + 1e-6, name


@pytest.mark.parametrize("name", MODELS)
def test_compiling_leaves_no_trace_in_checkpoints(
    name: str, comic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        calls.append(graph)
        return graph.forward

    compiled = make_model(name, compile="default")
    with compiled_by(backend, monkeypatch):
        first = train(compiled, comic_root)
        first.save_checkpoint(tmp_path / "last.ckpt")
        assert calls
        resumed = make_model(name, compile="default")
        trainer = train(resumed, comic_root, max_epochs=4, ckpt_path=tmp_path / "last.ckpt")
    assert trainer.global_step == 12
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert state.keys() == make_model(name).state_dict().keys()  # without "_orig_mod."
    # Evaluation, at whatever size and batch, is not compiled.
    count = len(calls)
    with torch.inference_mode():
        compiled.eval()(torch.rand(3, 3, 2 * SIZE, 2 * SIZE))
    assert len(calls) == count


@pytest.mark.parametrize("name", MODELS)
def test_compiled_gradients_are_equal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"dropout": 0.0} if name == "pix2pix" else {}
    batch = batch_of(2)
    with compiled_by("aot_eager", monkeypatch):
        models = [make_model(name, **options) for _ in range(3)]
        for network in models[1].trained_networks():
            network.compile(dynamic=False, **COMPILE["default"] or {})
        for model in models[:2]:
            model.learning_rate = 1e-3
            loop = BareLoop(model, CPU, "32-true")
            loop.optimizers = [torch.optim.SGD(n.parameters(), 0.01) for n in model.trained_networks()]
            loop.step(batch)
    moved_alike(*models)


@NEEDS_COMPILER
@pytest.mark.parametrize("name", [pytest.param("pix2pix", marks=pytest.mark.slow), "autoencoder"])
def test_torchs_own_compiler(name: str, comic_root: Path) -> None:
    torch._dynamo.reset()
    plain, compiled, start = (make_model(name, compile=mode) for mode in ("off", "default", "off"))
    losses = []
    for model in (plain, compiled):
        trainer = train(model, comic_root, max_epochs=1)
        losses.append(trainer.callback_metrics["train/l1"].item())
    assert losses[0] == pytest.approx(losses[1], rel=0.05)  # other dropout
    assert all((a != b).any() for a, b in zip(compiled.parameters(), start.parameters(), strict=True))


def test_a_compiler_that_fails_is_named(comic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no working C++ compiler")

    with compiled_by(broken, monkeypatch), pytest.raises(UserError, match=r"model.compile=default failed:.*=off"):
        train(make_model("autoencoder", compile="default"), comic_root)


def test_an_unknown_way_to_compile_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.compile.*max.*got 'fast'"):
        make_model("autoencoder", compile="fast")


# Gradient checkpointing


@pytest.mark.parametrize("name", MODELS)
def test_recomputing_trains_to_the_same_weights(name: str, comic_root: Path) -> None:
    """Dropout included: what is computed again draws the same random numbers."""
    models = [
        make_model(name, gradient_checkpointing=gradient_checkpointing)
        for gradient_checkpointing in (False, True, False)
    ]
    for model in models[:2]:
        train(model, comic_root)
    moved_alike(*models)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_compiled_networks_are_recomputed_too(norm: str) -> None:
    x, kept, results = torch.rand(2, 3, SIZE, SIZE), [], []
    variants: list[dict[str, Any]] = [{}, {"gradient_checkpointing": True}]
    for options in variants:
        torch._dynamo.reset()
        network = make_model("pix2pix", norm=norm, dropout=0.0, **options).generator.train()
        network.compile(dynamic=False, fullgraph=True, backend="aot_eager")  # fails if it breaks into parts
        held: dict[int, int] = {}

        def hold(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            if not isinstance(tensor, torch.nn.Parameter):
                held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            y = network(x)
        y.square().mean().backward()
        kept.append(sum(held.values()))
        results.append([*network.buffers(), *(p.grad for p in network.parameters())])
    torch._dynamo.reset()
    assert kept[1] < 0.7 * kept[0]
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-6)


# From one device to another


@pytest.mark.parametrize("name", MODELS)
def test_a_run_goes_on_from_a_state_of_another_layout(name: str, comic_root: Path, tmp_path: Path) -> None:
    """As it comes from a GPU, whose weights are channels_last: the values count, not where they stand."""
    file = tmp_path / "last.ckpt"
    train(make_model(name), comic_root, max_epochs=1).save_checkpoint(file)
    weights = []
    for layout in (torch.contiguous_format, torch.channels_last):
        checkpoint = torch.load(file, weights_only=True)
        for optimizer in checkpoint["optimizer_states"]:
            for state in optimizer["state"].values():
                state.update({k: v.contiguous(memory_format=layout) for k, v in state.items() if v.ndim == 4})
        torch.save(checkpoint, file)
        model = make_model(name)
        train(model, comic_root, ckpt_path=file)
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
