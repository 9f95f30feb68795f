"""Train a model on pairs, test its best checkpoint, and leave everything in a run folder.

python -m image_translation.train task=comic model=autoencoder data.root=…
"""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from image_translation.cli.app import command, instantiate
from image_translation.cli.console import print_results
from image_translation.cli.process import is_main_process
from image_translation.runs.files import file_lock
from image_translation.runs.redact import redact
from image_translation.runs.run import Run
from image_translation.training.resuming import earlier_run, require_stopped, resumed, same_data, same_devices

if TYPE_CHECKING:
    from image_translation.inference.checkpoints import State

log = logging.getLogger(__name__)


@command("train")
def main(cfg: DictConfig) -> None:
    # Imported here, because --help and --cfg must not wait for torch.
    from image_translation.training.session import silence_lightning

    silence_lightning()
    folder = Path(cfg.run.dir)
    if not is_main_process():  # what the main process may do, it may too
        begin_or_go_on(cfg, folder)
        return
    require_stopped(folder)
    with file_lock(folder):
        begin_or_go_on(cfg, folder)


def begin_or_go_on(cfg: DictConfig, folder: Path) -> None:
    """Train in a new run folder, or in that of an earlier run."""
    from image_translation.training.session import own_processes

    config, before, state = cfg, None, None
    if cfg.resume is None:
        before = earlier_run(folder, cfg, cfg.if_exists)
    else:
        config, before = resumed(cfg, folder)
    if before and is_main_process():
        state = state_of(config, folder, before, required=cfg.resume is not None)
        if before["status"] == "finished" and cfg.resume is None:
            log.info("%s: finished already, with the same options and data.", folder)
            return
        how = f"goes on from {state.path.name}, step {state.step}" if state else "starts again"
        status = "killed" if before["status"] == "running" else before["status"]
        log.info("%s: %s earlier, %s.", folder, status, how)
        if state and "wandb" in config.logger:
            config.logger.wandb.id = before.get("wandb_id")
    names = {"task": config.run.task, "model": config.run.model}
    with own_processes(folder), Run(folder, config, before, state and state.path, **names) as run:
        train(config, folder, run)


def state_of(cfg: DictConfig, folder: Path, before: dict[str, Any], required: bool) -> "State | None":
    """What an earlier run can go on from. Whatever is wrong, nothing of it is touched.

    Raises:
        UserError: the data is other data, or there is no sound state and one is ``required``.
    """
    from image_translation.inference.checkpoints import find_resume_checkpoint

    datamodule = instantiate(cfg.data)
    datamodule.setup()
    instead = "Give the place of the same images: data.root=…" if required else None
    same_data(folder, before, datamodule.description, instead)
    return find_resume_checkpoint(folder / "checkpoints", required)


def train(cfg: DictConfig, folder: Path, run: Run) -> None:
    """Train, test, and keep the run's manifest true meanwhile."""
    from pytorch_lightning.callbacks import LambdaCallback

    from image_translation.callbacks import Throughput
    from image_translation.callbacks.last_checkpoint import state_named
    from image_translation.cli.errors import one_of
    from image_translation.data.sources.base import SPLITS
    from image_translation.inference.checkpoints import read_checkpoint
    from image_translation.loggers.wandb import log_best, opened, wandb_id
    from image_translation.metrics.image_scores import ImageScores, mean_metrics
    from image_translation.metrics.names import PROTOCOLS
    from image_translation.training.batch_size import chosen_batch, fitting_named
    from image_translation.training.checkpoint_io import SafeCheckpointIO
    from image_translation.training.device import choose_precision, prepare_device
    from image_translation.training.session import check_trainer, describe, seed_all

    earlier_seed = run.before.get("seed") if run.before and run.checkpoint else None  # the run may have drawn it
    seed = seed_all(cfg.seed if earlier_seed is None else earlier_seed)
    run.update(seed=seed)
    wanted = [cfg.evaluate] if isinstance(cfg.evaluate, str) else cfg.evaluate
    splits = [one_of("evaluate", split, SPLITS) for split in wanted]
    protocol = one_of("protocol", cfg.protocol, PROTOCOLS)  # said now, not after training

    datamodule = instantiate(cfg.data)
    model = instantiate(cfg.model)
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values()]
    prepare_device(cfg.trainer.accelerator)
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    trainer = instantiate(
        cfg.trainer,
        advice=" Mend the option, or choose another trainer: trainer=default, trainer=cpu …",
        callbacks=[*callbacks, LambdaCallback(on_train_batch_end=lambda *_, **__: run.has_begun())],
        plugins=[SafeCheckpointIO()],
        **({} if model.trains else {"max_epochs": 0}),
    )
    check_trainer(trainer)
    if run.checkpoint:
        same_devices(folder, run.before, trainer.world_size)
    datamodule.setup()
    size = datamodule.image_size
    automatic = datamodule.batch_size == "auto"
    if automatic:
        datamodule.batch_size = 1
    datamodule.require(*(["train", "val"] if model.trains else ["val"]), *splits)
    if automatic and model.trains:
        make, most = partial(instantiate, cfg.model), len(datamodule.datasets["train"])
        earlier = run.before.get("batch_size") if run.before and run.checkpoint else None
        cached = datamodule.cached_bytes(trainer.strategy.root_device)
        datamodule.batch_size = earlier or chosen_batch(make, size, trainer, most, cached)
        log.info("data.batch_size=auto: %d", datamodule.batch_size)
    run.update(data=datamodule.description, batch_size=datamodule.batch_size, **describe(trainer, model))

    with opened(partial(instantiate, node) for node in cfg.logger.values()) as trainer.loggers:
        run.update(wandb_id=wandb_id(trainer.loggers) or run.facts.get("wandb_id"))
        for logger in trainer.loggers:
            logger.log_hyperparams(redact(OmegaConf.to_container(cfg, resolve=True)))
        fitting = fitting_named(partial(instantiate, cfg.model), datamodule.batch_size, size, trainer)
        with state_named(run.checkpoint, trainer), fitting:
            trainer.fit(model, datamodule=datamodule, ckpt_path=run.checkpoint, weights_only=True)
        best = folder / "checkpoints" / "best.ckpt"
        if not best.exists():
            if model.trains:
                since = " since the run went on" if run.checkpoint else ""
                log.warning("No validation took place%s, so best.ckpt is the last state.", since)
            trainer.save_checkpoint(best, weights_only=True)
        run.update(
            epochs=trainer.current_epoch,
            steps=trainer.global_step,
            cost=next((callback.facts for callback in callbacks if isinstance(callback, Throughput)), None),
        )
        run.has_begun()
        run.forget_results()
        model.load_state_dict(read_checkpoint(best)["state_dict"])
        log_best(trainer)
        model.metrics, model.baseline = ImageScores(protocol), ImageScores(protocol)
        for split in splits:
            model.test_split = datamodule.test_split = split
            trainer.test(model, datamodule=datamodule, verbose=False)
            scores = {
                cfg.run.model: mean_metrics(model.scores[split]),
                "identity": mean_metrics(model.scores["identity"]),
            }
            if split == "test":
                run.update(test=scores[cfg.run.model])
            print_results(scores, split, folder / "panels", folder / split, folder / "evaluate" / split)


if __name__ == "__main__":
    main()
