"""A run's config: resolved, flattened, and composed anew to resume or evaluate the run."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import DictConfig, OmegaConf

from image_translation.cli.errors import UserError
from image_translation.runs.files import write_text
from image_translation.runs.folder import CONFIG, OVERRIDES, read_config, read_manifest, read_overrides

# Options that change nothing in the results.
WITHOUT_EFFECT = ("if_exists", "resume", "debug", "progress", "optimized_metric", "logger", "run", "data.num_workers",
                  "data.eval_batch_size", "data.cache", "data.cache_folder", "trainer.default_root_dir",
                  "model.gradient_checkpointing", "model.compile")  # fmt: skip
LIMITS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
# What a resumed run may change as well: how long and where it trains, and what it writes.
CHANGEABLE = (*LIMITS, "trainer.accelerator", "trainer.devices", "checkpoint", "callbacks.panels",
              "callbacks.perceptual", "callbacks.test_results", "data.root", "evaluate", "protocol",
              *WITHOUT_EFFECT)  # fmt: skip


def save_config(folder: Path, config: DictConfig, overrides: list[str]) -> None:
    """Write a run's config, and the overrides that it is composed of."""
    (folder / CONFIG).parent.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, OmegaConf.to_yaml(resolve_config(config)))
    write_text(folder / OVERRIDES, yaml.safe_dump(overrides))


def resolve_config(config: DictConfig) -> DictConfig:
    """A config as it is saved: what makes the results is resolved, so that equal texts are equal options."""
    saved = config.copy()
    resolved = OmegaConf.to_container(config, resolve=True)
    for part in ("data", "model", "trainer", "seed"):
        OmegaConf.update(saved, part, resolved[part], merge=False, force_add=True)  # type: ignore[call-overload,index]
    return saved


def flatten_config(config: DictConfig) -> dict[str, Any]:
    """A config's options by their names on the command line."""

    def walk(node: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from walk(value, f"{name}.{key}" if name else str(key))
        else:
            yield name, node

    return dict(walk(OmegaConf.to_container(config), ""))


def differences(folder: Path, config: DictConfig, ignored: Iterable[str], given: Iterable[str] = ()) -> list[str]:
    """What a config has otherwise than the one saved in a run folder, a line each.

    An option that a run from an earlier version doesn't know is one only if it is ``given``, an override.
    """
    before, now = flatten_config(read_config(folder)), flatten_config(resolve_config(config))
    known = {*before, *(key for key in map(_key, given) if "." in key)}  # and no choices of groups
    changed = [name for name in sorted(before.keys() | now.keys())
               if before.get(name) != now.get(name) and is_one_of(name, known)]  # fmt: skip
    return [f"{name}: was {before.get(name)}, now {now.get(name)}" for name in changed if not is_one_of(name, ignored)]


def is_one_of(name: str, options: Iterable[str]) -> bool:
    """Whether an option is one of some, or a part of one."""
    return any(name == option or name.startswith(f"{option}.") for option in options)


def compose_saved(folder: Path, changes: Sequence[str] = ()) -> tuple[DictConfig, list[str]]:
    """A run's config, composed anew from its saved overrides with this project's and the user's own configs.

    So no class is constructed because a file of the run names it: UserError if an override does. ``changes`` are
    overrides that come after the saved ones. Returns the config, and the overrides that it is composed of.
    """
    changed = {_key(override) for override in changes}
    saved = [override for override in read_overrides(folder) if _key(override) not in changed]
    for override in saved:
        if "_target_" in override or _key(override).startswith("hydra"):
            raise UserError(f"{folder / OVERRIDES} names a class: {override}. If it is yours, give it again.")
    try:
        config = hydra.compose("train", [*saved, *changes])
    except Exception as error:
        advice = "If they need configs of your own, name their folder: --config-dir=…"
        raise UserError(f"{folder}: the run's options can't be composed ({error}). {advice}") from error
    manifest = read_manifest(folder)
    OmegaConf.set_struct(config, False)
    config.run = {"dir": str(folder), "task": manifest["task"], "model": manifest["model"]}
    return config, [*saved, *changes]


def require_unchanged(folder: Path, config: DictConfig, parts: Sequence[str] = (), given: Sequence[str] = ()) -> None:
    """Check that a composed config is the run's, or some ``parts`` of it are, but for what may change.

    ``given`` are the overrides of now.

    Raises:
        UserError: it is not; the text lists the options.
    """
    # An option that takes its value from one that may change, as the length of a schedule does, may change with it.
    follow = [name for name, value in flatten_config(config).items()
              if is_one_of(str(value).removeprefix("${").removesuffix("}"), CHANGEABLE)]  # fmt: skip
    found = differences(folder, config, (*CHANGEABLE, *follow), given)
    if parts:
        found = [line for line in found if is_one_of(line.partition(":")[0], parts)]
    if found:
        lines = "".join(f"\n  - {line}" for line in found[:20])
        raise UserError(
            f"{folder}: a run keeps its own options, and these, given now or changed in the configs, would change its "
            f"results:{lines}\nWhat may be changed: {', '.join(CHANGEABLE)}. For anything else start a new run."
        )


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition("@")[0]
