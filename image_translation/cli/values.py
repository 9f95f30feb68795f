"""What options may be, as far as it can be said before torch is imported, which takes seconds."""

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from image_translation.cli.errors import UserError, at_least, height_and_width, one_of
from image_translation.metrics.names import HIGHER_IS_BETTER, PROTOCOLS

SPLITS = ("train", "val", "test")
SWITCH = (True, False)
KINDS = ("rgb", "grey", "rgba", "grey16", "rgb16", "mask", "raw")
CHOICES: dict[str, tuple[Any, ...]] = {
    "data.layout": ("folders", "aligned", "derived", "table", "hub"),
    "data.input": KINDS,
    "data.target": KINDS,
    "data.direction": ("AtoB", "BtoA"),
    "data.resize": ("crop", "stretch", "pad", "random_crop"),
    "data.jitter": SWITCH,
    "data.hflip": SWITCH,
    "data.cache": ("auto", "device", "ram", "disk", "none"),
    "model.norm": ("batch", "instance"),
    "model.discriminator_norm": ("instance", "spectral"),
    "model.diff_augment": SWITCH,
    "model.upsample": ("transposed", "resize"),
    "model.gan_loss": ("bce", "lsgan", "hinge"),
    "model.gradient_checkpointing": SWITCH,
    "model.compile": ("off", "default", "max"),
    "trainer.precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),  # the weights stay in float32
    "progress": ("auto", "bar", "lines", "none"),
    "protocol": PROTOCOLS,
    "if_exists": ("refuse", "resume"),
    "strict": SWITCH,
    "init_strict": SWITCH,
    "wandb": SWITCH,
}
# Of the commands export, predict and serve alone.
EXPORT: dict[str, tuple[Any, ...]] = {"format": ("safetensors", "onnx", "torch", "openvino", "hub")}
PREDICT: dict[str, tuple[Any, ...]] = {
    "if_exists": ("refuse", "skip", "overwrite"),
    "format": ("same", "png", "jpg", "webp", "tiff"),
    "derive": SWITCH,
    "transparency": ("keep", "drop"),
    "side_by_side": SWITCH,
    "tta": ("none", "hflip"),
    "device": ("auto", "cpu", "gpu", "mps"),
    "precision": CHOICES["trainer.precision"],
}
SERVE: dict[str, tuple[Any, ...]] = {"share": SWITCH, **{name: PREDICT[name] for name in ("device", "precision")}}
LEAST: dict[str, tuple[float, bool]] = {  # the least number, and if it must be whole
    "data.batch_size": (1, True),
    "data.eval_batch_size": (1, True),
    "model.base_channels": (1, True),
    "model.accumulate_grad_batches": (1, True),
    "data.num_workers": (0, True),
    "data.val_fraction": (0, False),
    "data.folds": (2, True),
    "data.fold": (0, True),
    "data.test_fraction": (0, False),
    "alpha": (0, False),
    "port": (1, True),
    "max_megabytes": (1, True),
    "max_megapixels": (1, False),
    "trainer.max_epochs": (-1, True),
    "trainer.max_steps": (-1, True),
    "trainer.accumulate_grad_batches": (1, True),
    "trainer.check_val_every_n_epoch": (1, True),
    "trainer.val_check_interval": (1e-6, False),
    "trainer.gradient_clip_val": (0, False),  # below it training would go uphill
}
# May also be null.
OPTIONAL = ("alpha", "port", "data.num_workers", "data.folds", "trainer.max_epochs", "trainer.check_val_every_n_epoch",
            "trainer.gradient_clip_val", "trainer.precision", "trainer.max_time")  # fmt: skip


def check_values(cfg: DictConfig, own: Mapping[str, tuple[Any, ...]] | None = None) -> None:
    """Raise a UserError if an option of this project's own classes, or of a command, has a value that it can't have.

    Constructors check their arguments too, for those who call them from Python.

    Args:
        cfg: a command's config.
        own: the choices of this command alone.
    """
    all_choices = {**CHOICES, **(own or {})}
    values: dict[str, Any] = {}
    for name in (*all_choices, *LEAST, "data.image_size", "trainer.max_time"):
        above, _, last = name.rpartition(".")
        node = OmegaConf.select(cfg, above) if above else cfg
        target = str(node.get("_target_", "image_translation.")) if isinstance(node, DictConfig) else "another's"
        is_ours = target.startswith(("image_translation.", "pytorch_lightning.")) and last in node
        if is_ours and not (node[last] is None and name in OPTIONAL):
            values[name] = node[last]
    for name, choices in all_choices.items():
        if name in values:
            one_of(name, values[name], choices)
    for name, (least, whole) in LEAST.items():
        if name in values and (name, values[name]) != ("data.batch_size", "auto"):
            at_least(name, values[name], least, whole=whole)
    if "data.image_size" in values:
        height_and_width("data.image_size", values["data.image_size"])
    if not isinstance(values.get("trainer.max_time", ""), str | DictConfig):
        raise UserError("trainer.max_time is written DD:HH:MM:SS, as 00:12:00:00 for twelve hours.")
    if "optimized_metric" in cfg:
        splits = ("val", *chosen_splits("evaluate", cfg.evaluate))
        known = [f"{split}/{name}" for split in splits for name in HIGHER_IS_BETTER]
        one_of("optimized_metric", cfg.optimized_metric, known)


def chosen_splits(option: str, splits: Any) -> list[str]:
    """The splits that an option names; ``all`` is every one. Raises UserError if there is no such split."""
    names = splits if isinstance(splits, Iterable) and not isinstance(splits, str) else [splits]
    chosen = [one_of(option, name, (*SPLITS, "all")) for name in names]
    return list(SPLITS) if "all" in chosen else chosen
