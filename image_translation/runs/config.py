"""A run's config: resolved, and flattened to the names that options have on the command line."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Options that change nothing in the results.
WITHOUT_EFFECT = ("if_exists", "debug", "logger", "run.dir", "trainer.default_root_dir", "data.num_workers",
                  "data.eval_batch_size", "data.cache", "data.cache_folder", "model.gradient_checkpointing",
                  "model.compile")  # fmt: skip


def resolve_config(config: DictConfig) -> DictConfig:
    """A config as it is kept: what makes the results is resolved, so that equal texts are equal options."""
    kept = config.copy()
    for part in ("data", "model", "trainer", "seed"):
        resolved = OmegaConf.to_container(config, resolve=True)[part]  # type: ignore[call-overload,index]
        OmegaConf.update(kept, part, resolved, merge=False, force_add=True)
    return kept


def flatten_config(config: DictConfig) -> dict[str, Any]:
    """A config's options by their names on the command line."""

    def walk(node: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from walk(value, f"{name}.{key}" if name else str(key))
        else:
            yield name, node

    return dict(walk(OmegaConf.to_container(config), ""))
