"""Train a model on pairs, test its best checkpoint, and leave everything in a run folder.

python -m image_translation.train task=comic model=autoencoder data.root=path/to/pairs
python -m image_translation.train -m task=coloring,monet,comic model=pix2pix,autoencoder
"""

import logging
from functools import partial

from omegaconf import DictConfig, OmegaConf

from image_translation.cli.app import command, instantiate
from image_translation.cli.console import print_next_steps
from image_translation.cli.values import chosen_splits
from image_translation.runs.folder import BEST_CHECKPOINT
from image_translation.runs.redact import redact
from image_translation.runs.run import Run

log = logging.getLogger(__name__)


@command("train")
def main(cfg: DictConfig) -> float | None:
    with Run.open(cfg) as run:  # a refused value must not wait for torch, which is imported here
        from image_translation.training.trainer import child_processes, silence_lightning

        silence_lightning()
        with child_processes(run):
            return train(run.config, run)


def train(cfg: DictConfig, run: Run) -> float | None:
    """Train, test, and keep the run's manifest true meanwhile; returns what a sweeper maximizes."""
    from pytorch_lightning.callbacks import LambdaCallback

    from image_translation.callbacks import Throughput
    from image_translation.loggers.wandb import log_best, open_loggers, wandb_id
    from image_translation.training.batch_size import find_batch_size, out_of_memory_hint
    from image_translation.training.evaluation import evaluate, load_best, validate
    from image_translation.training.initialization import fitting_weights
    from image_translation.training.seeding import seed_everything
    from image_translation.training.trainer import describe, make_trainer

    seed = seed_everything(run.facts.get("seed", cfg.seed))  # a resumed run keeps a seed that it drew
    splits = chosen_splits("evaluate", cfg.evaluate)
    datamodule = instantiate(cfg.data, "data")
    datamodule.setup()
    run.require_same_data(datamodule.description)
    if run.skipped:
        log.info("%s: finished already, with the same options and data.", run.folder)
        return run.earlier.get("optimized_metric")

    model = instantiate(cfg.model, "model", **datamodule.channels)
    model.trained_on = datamodule.facts  # callbacks want to know before it is set up
    start = fitting_weights(model, cfg.init_from, cfg.init_strict) if cfg.init_from and not run.resume_from else {}
    callbacks = [instantiate(node, f"callbacks.{name}") for name, node in cfg.callbacks.items()]
    first = LambdaCallback(on_fit_start=lambda *_: model.load_state_dict(start, strict=False),
                           on_train_batch_end=lambda *_, **__: run.keep())  # fmt: skip
    trainer = make_trainer(cfg.trainer, [first, *callbacks], model.trains, streams=datamodule.source.streaming)
    run.require_same_devices(trainer.world_size)
    datamodule.require(*(["train", "val"] if model.trains else ["val"]), *splits)
    if datamodule.batch_size == "auto":
        datamodule.batch_size = run.facts.get("batch_size") or find_batch_size(trainer, model, datamodule)
    if not run.resume_from:
        run.begin()
    run.update(seed=seed, data=datamodule.description, batch_size=datamodule.batch_size, **describe(trainer, model))

    if "wandb" in cfg.logger and "wandb_id" in run.facts:
        cfg.logger.wandb.id = run.facts["wandb_id"]
    nodes = {} if cfg.trainer.fast_dev_run else cfg.logger
    with open_loggers(partial(instantiate, node, f"logger.{name}") for name, node in nodes.items()) as loggers:
        trainer.loggers = loggers
        run.update(wandb_id=wandb_id(loggers) or run.facts.get("wandb_id"))
        for logger in loggers:
            logger.log_hyperparams(redact(OmegaConf.to_container(cfg, resolve=True)))
        with out_of_memory_hint(datamodule.batch_size, datamodule.image_size):
            trainer.fit(model, datamodule=datamodule, ckpt_path=run.resume_from, weights_only=True)
        if cfg.trainer.fast_dev_run:
            trainer.test(model, datamodule=datamodule, verbose=False)
            log.info("fast_dev_run: a batch of each split works. Nothing is kept.")
            run.discard()
            return None
        run.keep()

        cost = next((callback.facts for callback in callbacks if isinstance(callback, Throughput)), None)
        run.update(epochs=trainer.current_epoch, steps=trainer.global_step, cost=cost)
        found = log_best(trainer)
        load_best(trainer, model, run.folder / "checkpoints" / BEST_CHECKPOINT)
        scores = evaluate(trainer, model, datamodule, cfg.run.model, splits, cfg.protocol)
        found |= {f"{split}/{name}": value for split, means in scores.items() for name, value in means.items()}
        if (wanted := model.known_metric(cfg.optimized_metric)) not in found:
            found |= validate(trainer, model, datamodule)
    run.update(test=scores.get("test", {}), optimized_metric=found.get(wanted))
    if datamodule.description["sample"]:
        print_next_steps(run.folder, cfg.run.task)
    return found.get(wanted)  # None for a model without a validation


if __name__ == "__main__":
    main()
