"""Train a model on pairs, test its best checkpoint, and leave everything in a run folder.

python -m image_translation.train task=comic model=autoencoder data.root=…
"""

import logging
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from image_translation.command import command, instantiate
from image_translation.runs import Run, print_results

log = logging.getLogger(__name__)


@command("train")
def main(cfg: DictConfig) -> None:
    # Imported here, because --help and --cfg must not wait for torch.
    from image_translation.checkpoints import read_checkpoint
    from image_translation.loggers import opened, wandb_id
    from image_translation.metrics import summarise
    from image_translation.session import check_trainer, describe, own_processes, quieten, seed_all

    quieten()
    folder = Path(cfg.run.dir)
    with own_processes(folder), Run(folder, cfg, task=cfg.run.task, model=cfg.run.model) as run:
        run.update(seed=seed_all(cfg.seed))

        datamodule = instantiate(cfg.data)
        model = instantiate(cfg.model)
        callbacks = [instantiate(callback) for callback in cfg.callbacks.values()]
        trainer = instantiate(
            cfg.trainer,
            advice=" Mend the option, or choose another trainer: trainer=default, trainer=cpu …",
            callbacks=callbacks,
            **({} if model.trains else {"max_epochs": 0}),
        )
        check_trainer(trainer)
        datamodule.setup()
        datamodule.require(*(["train", "val", "test"] if model.trains else ["val", "test"]))
        run.update(data=datamodule.description, **describe(trainer, model))

        with opened(partial(instantiate, node) for node in cfg.logger.values()) as trainer.loggers:
            run.update(wandb_id=wandb_id(trainer.loggers))
            for logger in trainer.loggers:
                logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
            trainer.fit(model, datamodule=datamodule)
            best = folder / "checkpoints" / "best.ckpt"
            if not best.exists():
                if model.trains:
                    log.warning("No validation took place, so best.ckpt is the last state.")
                trainer.save_checkpoint(best, weights_only=True)
            model.load_state_dict(read_checkpoint(best)["state_dict"])
            trainer.test(model, datamodule=datamodule, verbose=False)

        scores = {cfg.run.model: summarise(model.scores["test"]), "identity": summarise(model.scores["identity"])}
        run.update(epochs=trainer.current_epoch, steps=trainer.global_step, test=scores[cfg.run.model])
        print_results(scores, "test", folder)


if __name__ == "__main__":
    main()
