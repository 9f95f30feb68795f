"""All that this project uses of Lightning without its promise to keep it. Tested with pytorch-lightning 2.6.

1. ``checkpoint["loops"]["fit_loop"]``: the layout of the loops' progress in a checkpoint. What Lightning itself writes
   there depends on the hook that saves: resumed from some hooks it repeats a batch or the end of an epoch.
2. ``FitLoop._combined_loader``: ``Trainer.estimated_stepping_batches`` makes the training loader before the progress of
   a resumed run is restored, so that it would start at the first image again.
3. ``WeightAveraging._average_model``: it is made before the model is on its device, and before its curve is fitted.

``tests/training/test_lightning_private.py`` fails when one of them moves.
"""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging


def set_progress(loops: dict[str, Any], trainer: Trainer, epoch_ended: bool) -> None:
    """Make the progress in a checkpoint say exactly where training is, so that Lightning resumes there.

    Args:
        loops: ``checkpoint["loops"]["fit_loop"]``, changed in place.
        trainer: it saves just before a batch, just before an epoch, or at the end of training.
        epoch_ended: True before an epoch and at the end.
    """
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    for count in ("total", "current"):
        ended = epochs[count]["completed"] if epoch_ended else epochs[count]["processed"]
        started = ended if epoch_ended else ended + 1
        epochs[count].update(ready=ended + 1, started=started, processed=ended, completed=ended)
        done = batches[count]["completed"]
        batches[count].update(ready=done, started=done, processed=done)
    batches["is_last_batch"] = False
    if epoch_ended:
        optimizers = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
        for progress in (batches, loops["epoch_loop.scheduler_progress"], optimizers["step"], optimizers["zero_grad"]):
            progress["current"] = dict.fromkeys(progress["current"], 0)
    # Where Lightning might have validated after this batch, it passes over that first and counts a step for loggers.
    every, count = trainer.check_val_every_n_epoch, "total" if trainer.check_val_every_n_epoch is None else "current"
    if not batches[count]["ready"] % trainer.val_check_batch and not epochs["total"]["ready"] % (every or 1):
        loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def count_steps(trainer: Trainer, batches_per_step: int) -> float:
    """``Trainer.estimated_stepping_batches``, also of a model that accumulates batches by itself.

    The training loader is made anew when training starts.
    """
    own, trainer.accumulate_grad_batches = trainer.accumulate_grad_batches, batches_per_step
    steps = trainer.estimated_stepping_batches
    trainer.accumulate_grad_batches = own
    trainer.fit_loop._combined_loader = None
    return steps


def start_average(callback: WeightAveraging, model: LightningModule) -> None:
    """Move the averaged weights to the device of the model; before the first average they are the model's own."""
    average = callback._average_model
    assert average is not None
    is_new = not average.n_averaged
    average.to(model.device)
    if is_new:
        average.module.load_state_dict(model.state_dict())
