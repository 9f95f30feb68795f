"""The base of all models: everything but the training objective."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, TypedDict, Unpack

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer, do_nothing_closure
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from image_translation import __version__
from image_translation.cli.errors import UserError, at_least, one_of
from image_translation.data.images import to_srgb
from image_translation.data.transforms import to_float, to_uint8
from image_translation.metrics.image_scores import ImageScores, Scores, mean_metrics
from image_translation.training.means import MeanMetric

Batch = dict[str, Any]


class Optimization(TypedDict, total=False):
    """Options that every trained model has, with the study's defaults."""

    learning_rate: float  # of Adam, 2e-4
    beta1: float  # of Adam, 0.5
    lr_decay_epochs: int  # let the learning rate fall linearly to zero over the last so many epochs, 0
    gradient_clip_val: float  # largest norm of an optimizer's gradient, 0 for no limit
    accumulate_grad_batches: int  # batches whose gradients are averaged for one update, 1
    compile: str  # train by torch.compile: off, default, or max (tries kernels, and CUDA graphs); off


COMPILE: dict[str, dict[str, Any] | None] = {"off": None, "default": {}, "max": {"mode": "max-autotune"}}


class ImageTranslationModule(LightningModule):
    """A model that translates images: (N, 3, H, W) in [-1, 1] → the same.

    A subclass sets ``generator``, and implements ``optimize`` and, if it trains, ``trained_networks``. Optimization is
    manual for all of them, and one batch is one step: Lightning itself would count every optimizer's updates
    (Lightning-AI/pytorch-lightning issue 17958).

    Raises:
        UserError: an option is out of range.
    """

    registry: ClassVar[dict[str, type["ImageTranslationModule"]]] = {}
    generator: nn.Module

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ImageTranslationModule.registry[cls.__name__] = cls

    def __init__(self, **optimization: Unpack[Optimization]) -> None:
        super().__init__()
        for name in optimization:
            one_of("option of a model", name, Optimization.__annotations__)
        self.automatic_optimization = False
        self.learning_rate = optimization.get("learning_rate", 2e-4)
        self.beta1 = optimization.get("beta1", 0.5)
        self.lr_decay_epochs = optimization.get("lr_decay_epochs", 0)
        self.gradient_clip_val = optimization.get("gradient_clip_val", 0.0)
        self.accumulate_grad_batches = optimization.get("accumulate_grad_batches", 1)
        self.compile_mode = one_of("model.compile", optimization.get("compile", "off"), COMPILE)
        at_least("model.learning_rate", self.learning_rate, 0, exclusive=True)
        at_least("model.beta1", self.beta1, 0)
        if self.beta1 >= 1:
            raise UserError(f"model.beta1 must be below 1, got {self.beta1}.")
        at_least("model.lr_decay_epochs", self.lr_decay_epochs, 0, whole=True)
        at_least("model.gradient_clip_val", self.gradient_clip_val, 0)
        at_least("model.accumulate_grad_batches", self.accumulate_grad_batches, 1, whole=True)
        self.test_split = "test"
        self.metrics, self.baseline = ImageScores(), ImageScores()
        self.averaged: Callable[[], AbstractContextManager[None]] = nullcontext  # uses the weights' average, if any
        self.means = MeanMetric()  # of what training logs
        self.gradient_norms: dict[str, Tensor] = {}  # of this batch's updates
        self.finite: Tensor | bool = True  # whether all of an epoch's evaluated outputs were
        self.scores: dict[str, dict[str, Scores]] = {}  # by split; "identity" has the test inputs' own scores

    def setup(self, stage: str) -> None:
        self.means = MeanMetric(self.global_rank)
        # The images are channels_last on every device. On a CPU the weights are not: its convolutions put them into
        # an order of their own at each step, and its fused Adam would copy them back and forth.
        if self.trainer.strategy.root_device.type != "cpu":
            self.to(memory_format=torch.channels_last)
        options = COMPILE[self.compile_mode]
        if stage == "fit" and options is not None:
            torch._dynamo.reset()  # what earlier jobs of a sweep compiled counts against the limit of this one
            if self.accumulate_grad_batches > 1 and "mode" in options:
                options = {"mode": "max-autotune-no-cudagraphs"}  # a graph would write over the gradients so far
            for network in self.trained_networks():
                network.compile(dynamic=False, **options)  # in place: names of weights stay as they are

    def on_train_start(self) -> None:
        # A state that comes from another kind of device has another layout, which fused Adam would not notice.
        for optimizer in self._optimizers() if self.trains else []:
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if isinstance(value, Tensor) and value.dim():
                        if value.shape != parameter.shape:  # fused Adam would write beyond it
                            raise UserError(f"{self.trainer.ckpt_path}: an optimizer's state is of another size.")
                        state[name] = torch.empty_like(parameter).copy_(value)

    # Training

    def optimize(self, batch: Batch) -> dict[str, Tensor]:
        """Compute this batch's losses, hand each to ``descend``, and return what is to be logged."""
        raise UserError(f"{type(self).__name__} has nothing to train.")

    def trained_networks(self) -> list[nn.Module]:
        """The networks that have an optimizer, in the optimizers' order."""
        return []

    @property
    def trains(self) -> bool:
        return bool(self.trained_networks())

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        # Fused Adam would unscale scaled gradients (of float16) itself, after they have been clipped.
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        fused = self.device.type in ("cpu", "cuda") and scaler is None
        optimizers = self.make_optimizers(fused)
        epochs = self.trainer.max_epochs or 0
        if self.lr_decay_epochs and epochs < self.lr_decay_epochs:
            raise UserError(
                f"model.lr_decay_epochs={self.lr_decay_epochs} needs at least as many trainer.max_epochs, got {epochs}."
            )

        def factor(epoch: int) -> float:
            return min(1.0, (epochs - epoch) / (self.lr_decay_epochs + 1)) if self.lr_decay_epochs else 1.0

        return optimizers, [LambdaLR(optimizer, factor) for optimizer in optimizers]

    def make_optimizers(self, fused: bool) -> list[Optimizer]:
        """One for each of ``trained_networks``."""
        return [
            Adam(network.parameters(), self.learning_rate, betas=(self.beta1, 0.999), fused=fused)
            for network in self.trained_networks()
        ]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Train on a batch; the losses, and the norms of the gradients if it completed an update."""
        self.gradient_norms.clear()
        for optimizer in self._optimizers():
            optimizer._on_before_step = optimizer._on_after_step = do_nothing_closure
        if self.compile_mode == "max":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with compile_errors_named(self.compile_mode):
            losses = {f"train/{name}": value.detach() for name, value in self.optimize(batch).items()}
        vitals = losses | self.gradient_norms
        at_step = {f"{name}_step": value for name, value in vitals.items()}
        steps = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        steps.increment_ready()
        steps.increment_completed()

        count = len(batch["name"])
        self.log_dict(at_step, on_step=True, on_epoch=False, batch_size=count)
        rate = torch.full((), self._optimizers()[0].param_groups[0]["lr"], device=self.device)
        self.means.add(losses | {"train/learning_rate": rate}, count)
        if self.gradient_norms:
            self.means.add(self.gradient_norms, count)
        self._log_progress(on_step=True, on_epoch=False, batch_size=count)
        return vitals

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def descend(self, index: int, loss: Tensor) -> None:
        """Backpropagate ``loss``, and let the optimizer of the network ``index`` step if the accumulation is full."""
        optimizer = self._optimizers()[index]
        wrapped = self.trainer.model
        # Gradients are averaged over the devices below, once an update and for the parameters that have one.
        with wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext():
            self.manual_backward(loss / self.accumulate_grad_batches)
        done = self.trainer.fit_loop.epoch_loop.batch_idx + 1
        if done % self.accumulate_grad_batches and not self.trainer.is_last_batch:
            return
        if self.trainer.world_size > 1:
            self._average([p.grad for p in self.trained_networks()[index].parameters() if p.grad is not None])
        optimizer.step()
        optimizer.zero_grad()

    def _average(self, gradients: list[Tensor]) -> None:
        """Over the devices, in one exchange."""
        together = self.trainer.strategy.reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
        for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        # Here, because the gradients are unscaled by now if they were scaled. Lightning's own clip_gradients refuses
        # every fused optimizer under autocast.
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        name = next(name for name, parameter in self.named_parameters() if parameter is parameters[0]).partition(".")[0]
        if self.gradient_clip_val:
            norm = nn.utils.clip_grad_norm_(parameters, self.gradient_clip_val)
        else:
            norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self.gradient_norms[f"train/gradient_{name}"] = norm

    def _log_progress(self, **options: Any) -> None:
        """The x-axis of what is logged along with it: batches done (Lightning would count from 0), and epochs done."""
        ending = self.trainer.state.fn == TrainerFn.FITTING and not options.get("on_step")
        epochs = self.trainer.current_epoch + ending
        # Filled on the device, because to copy a number there would wait for it.
        counts = {"step": self.trainer.global_step, "epoch": epochs}
        progress = {name: torch.full((), float(count), device=self.device) for name, count in counts.items()}
        self.log_dict(progress, sync_dist=not options.get("on_step"), **options)  # no exchange at every step

    def epoch_means(self) -> dict[str, float]:
        """The means of what training has logged in this epoch; to be called on every device."""
        return self.means.compute(self.trainer.strategy)

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.epoch_means())  # equal on every device already
        self.means.reset()
        self._log_progress()
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if isinstance(scheduler, LRScheduler):
                scheduler.step()

    # Evaluation

    def forward(self, x: Tensor) -> Tensor:
        # Not by __call__, which would be compiled: batches of many sizes come here, and each would be compiled anew.
        return self.generator.forward(x)  # type: ignore[no-any-return]

    def _evaluate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Measure a batch; its outputs and targets as uint8."""
        raw, target = self(batch["input"]), to_uint8(batch["target"])
        self.finite = self.finite & raw.isfinite().all()  # looked at once an epoch: no waiting for the device here
        output = to_uint8(raw)
        self.metrics.update(output, target, batch["name"])
        return output, target

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the images (N, 3, H, W) as uint8."""
        return self._evaluate(batch)[0]

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the images (N, 3, H, W) as uint8, as they are saved and measured."""
        output, target = self._evaluate(batch)
        self.baseline.update(to_uint8(batch["input"]), target, batch["name"])
        return output

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the images (N, 3, H, W) as uint8."""
        return to_uint8(self(batch["input"]))

    def on_validation_epoch_end(self) -> None:
        self._conclude(self.metrics, "val", prog_bar=True)

    def on_test_epoch_end(self) -> None:
        self._conclude(self.metrics, self.test_split)
        self._conclude(self.baseline, "identity")

    def _conclude(self, metrics: ImageScores, split: str, prog_bar: bool = False) -> None:
        finite, self.finite = bool(self.finite), True
        if not finite and self.trainer.state.fn == TrainerFn.TESTING:
            raise UserError(
                "Outputs of the model are not finite: its training had diverged, or its weights are damaged."
            )
        if not finite:
            raise UserError(
                f"Training has diverged: after step {self.trainer.global_step} outputs of the model are not finite. "
                "Try a lower model.learning_rate, model.gradient_clip_val=1 or trainer.precision=32-true."
            )
        self.scores[split] = metrics.compute()
        metrics.reset()
        for name, value in mean_metrics(self.scores[split]).items():
            # Equal on every device already; sync_dist says so to Lightning.
            self.log(self._log_name(name, split), value, prog_bar=prog_bar, sync_dist=True)
        self._log_progress()

    def _log_name(self, name: str, split: str) -> str:
        """``test/psnr``, ``report/psnr``, ``identity/psnr``; of another split ``train/report/psnr`` and so on."""
        if split == "identity":
            split = "identity" if self.test_split == "test" else f"{self.test_split}/identity"
        return name if split == "test" and "/" in name else f"{split}/{name}"

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients, in the trainer's precision, for a forward pass outside of its loops."""
        training = self.training
        self.eval()
        with self.averaged(), torch.inference_mode(), self.trainer.precision_plugin.forward_context():
            yield
        self.train(training)

    # Use

    def predict(self, image: Image.Image | np.ndarray[Any, Any]) -> Image.Image | np.ndarray[Any, Any]:
        """Translate one image of any size.

        A size that the network cannot take is padded by reflection at the right and bottom, and cut back.

        Args:
            image: a PIL image, or a uint8 array (H, W, 3).

        Returns:
            The translation, of the same kind and size.

        Raises:
            UserError: the array is of another kind, or the image has more than 8 bits a channel.
        """
        array = np.asarray(to_srgb(image) if isinstance(image, Image.Image) else image)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            raise UserError(f"image must be a PIL image or a uint8 array (H, W, 3), got {array.dtype} {array.shape}.")
        height, width, _ = array.shape
        stride = getattr(self.generator, "size_divisibility", 1)
        padded = np.pad(array, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="symmetric")
        x = to_float(torch.tensor(padded, device=self.device).permute(2, 0, 1)[None])
        training = self.training
        self.eval()
        with torch.inference_mode():
            output = to_uint8(self(x))[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
        self.train(training)
        return Image.fromarray(output) if isinstance(image, Image.Image) else output

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.averaged is not nullcontext and "optimizer_states" not in checkpoint:  # the best state, not the last
            with self.averaged():
                checkpoint["state_dict"] = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        checkpoint.setdefault("hyper_parameters", {})  # a model without options has none
        checkpoint["image_translation"] = {"model": type(self).__name__, "version": __version__}


@contextmanager
def compile_errors_named(mode: str) -> Iterator[None]:
    """Say what to do where torch.compile fails, as it does without a C++ compiler.

    Raises:
        UserError: it failed.
    """
    if mode == "off":
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"model.compile={mode} failed: {reason} Use model.compile=off.") from error
