"""The base of all models: everything but the losses."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from image_translation import __version__
from image_translation.cli.errors import one_of
from image_translation.inference.predictor import predict
from image_translation.models import optimization
from image_translation.models.compiling import COMPILE, compile_networks
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory
from image_translation.models.scoring import Batch, ScoredModule
from image_translation.networks.sizes import require_fitting


class ImageTranslationModule(ScoredModule):
    """Maps images (N, C, H, W) in [-1, 1] to images (N, C', H, W) in [-1, 1].

    A subclass sets ``generator`` and implements ``losses``. Lightning's automatic optimization then trains it. A model
    with several optimizers overrides ``training_step`` and ``configure_optimizers``, as ``Pix2Pix`` does.

    The constructor's arguments are saved in checkpoints, so they must be plain values; only ``optimizer`` and
    ``scheduler`` are left out.

    Args:
        optimizer: makes an optimizer of parameters, such as a ``partial``; None for the study's Adam (2e-4, β1 0.5).
        scheduler: makes a learning rate schedule of an optimizer; None for a constant rate. One with an argument
            ``total_steps`` gets the number of steps and advances every step, any other advances every epoch.
        compile: train with torch.compile: ``off``, ``default``, or ``max`` (tries kernels, and CUDA graphs).
        in_channels, out_channels: channels of inputs and targets, which ``train`` takes from the data.
    """

    best_by: str | None = "auto"  # which val metric the best checkpoint is chosen by; None: it is the last

    def __init__(
        self,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        compile: str = "off",  # noqa: A002
        in_channels: int = 3,
        out_channels: int = 3,
    ) -> None:
        super().__init__(in_channels, out_channels)
        frame = inspect.currentframe()
        while frame and frame.f_back and frame.f_back.f_locals.get("self") is self:
            frame = frame.f_back  # of the outermost subclass's constructor: its arguments make the model again
        self.save_hyperparameters(ignore=["optimizer", "scheduler"], frame=frame, logger=False)
        self.optimizer_factory, self.scheduler_factory = optimizer or optimization.STUDY_OPTIMIZER, scheduler
        self.schedule_interval = optimization.schedule_interval(scheduler)
        self.compile_mode = one_of("compile", compile, COMPILE)
        self.initial_schedules: list[dict[str, Any]] = []  # before a checkpoint is restored
        self.gradient_norms: dict[str, Tensor] = {}  # of the latest update
        self.averaged_weights: Callable[[], AbstractContextManager[None]] = nullcontext  # see callbacks.EMA

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """What is logged as ``train/…``; ``loss`` among it is minimized."""
        raise NotImplementedError(f"{type(self).__name__} has no losses.")

    @property
    def trains(self) -> bool:
        return any(True for _ in self.parameters())

    @property
    def batches_per_step(self) -> int:
        """Batches whose gradients are averaged for one update."""
        return int(self.trainer.accumulate_grad_batches)

    # Before training

    def setup(self, stage: str) -> None:
        self.trained_on = getattr(self.trainer.datamodule, "facts", self.trained_on)  # type: ignore[attr-defined]
        self.set_protocol(self.protocol)  # of the kind of these targets
        if stage == "fit":
            require_fitting(self.generator, *self.trainer.datamodule.sides)  # type: ignore[attr-defined]
        # On a CPU, convolutions choose a layout of their own, and fused Adam would copy channels_last weights.
        if self.trainer.strategy.root_device.type != "cpu":
            self.to(memory_format=torch.channels_last)
        if stage == "fit" and self.trainer.ckpt_path is None:
            self.baselines.fit(self.trainer)
        if stage == "fit" and self.compile_mode != "off":
            compile_networks(self, self.compile_mode, self.batches_per_step)

    def configure_optimizers(self) -> Any:
        optimizer = optimization.make_optimizer(self, self.parameters())
        if self.scheduler_factory is None:
            return optimizer
        schedule = optimization.make_schedule(self, optimizer)
        config = {"scheduler": schedule, "interval": self.schedule_interval, "monitor": self.leading_metric}
        return [optimizer], [config]

    def on_fit_start(self) -> None:
        self.initial_schedules = [config.scheduler.state_dict() for config in self.trainer.lr_scheduler_configs]

    def on_train_start(self) -> None:
        optimization.match_layouts(self.trainer.optimizers)
        for config, initial in zip(self.trainer.lr_scheduler_configs, self.initial_schedules, strict=False):
            optimization.replay_schedule(config.scheduler, initial)

    # Training

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.compile_mode == "max":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.losses(batch)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        parameters = optimization.parameters_of(optimizer)
        network = next(name for name, p in self.named_parameters() if p is parameters[0]).partition(".")[0]
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.gradient_norms[f"gradient_{network}"] = nn.utils.get_total_norm(gradients)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if gradient_clip_val:
            optimization.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def predict(self, image: Any, **options: Any) -> Any:
        """The output for a PIL image, an array (H, W, 3), a path or a list of these; see ``inference.predictor``."""
        return predict(self, image, **options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "optimizer_states" not in checkpoint and self.averaged_weights is not nullcontext:  # the best checkpoint
            with self.averaged_weights():
                checkpoint["state_dict"] = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        checkpoint.setdefault("hyper_parameters", {})  # a model without arguments has none
        model = f"{type(self).__module__}:{type(self).__qualname__}"
        checkpoint["image_translation"] = {"model": model, "version": __version__, "trained_on": self.trained_on}
