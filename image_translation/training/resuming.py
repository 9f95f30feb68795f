"""Going on with a run that was stopped, whatever stopped it."""

import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from image_translation.cli.app import CONF
from image_translation.cli.errors import UserError, one_of
from image_translation.cli.process import is_main_process
from image_translation.runs.config import WITHOUT_EFFECT, flatten_config, resolve_config
from image_translation.runs.folder import is_of_a_run, read_config, read_manifest
from image_translation.runs.processes import is_alive
from image_translation.training.trust import adopted, require_known_targets, targets

log = logging.getLogger(__name__)
PLACES = ("outputs", "multirun")  # where resume=last looks
LONGER = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
# What may differ from the run's own options: how long and on what it trains, and what changes nothing in its results.
ALLOWED = (*LONGER, "trainer.accelerator", "trainer.devices", "checkpoint", "callbacks.panels", "callbacks.results",
           "data.root", "evaluate", "protocol", *WITHOUT_EFFECT)  # fmt: skip
GROUPS = {"trainer": ("accelerator", "devices"), "logger": ()}  # groups that may be chosen, and what of them counts


def run_folder(resume: str | None, new: str) -> str:
    """The run folder: a new one, or that of the run to go on with.

    ``resume=last`` is the latest that was stopped: not finished, not going on, and not failed before its first state.

    Raises:
        UserError: there is no such run.
    """
    if resume is None:
        return new
    if resume != "last":
        folder = Path(str(resume)).expanduser()
        if not (folder / "run.json").is_file():
            raise UserError(f"resume={resume} is not a run folder: it has no run.json.")
        read_manifest(folder)
        return str(folder)
    stopped = [
        (str(run.get("started")), folder)
        for folder, run in _runs()
        if run["status"] != "finished" and not is_alive(run) and (run["status"] != "failed" or _has_state(folder))
    ]
    if not stopped:
        raise UserError(f"resume=last: no run in {' or '.join(PLACES)} was stopped. Name its folder: resume=…")
    return str(max(stopped)[1])


def _has_state(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("*.ckpt"))


def _runs() -> Iterator[tuple[Path, dict[str, Any]]]:
    for place in PLACES:
        for path in Path(place).rglob("run.json"):
            try:
                yield path.parent, read_manifest(path.parent)
            except UserError as error:
                log.warning("Passed over: %s", error)


OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)


def require_stopped(folder: Path) -> None:
    """Check that no run is going on in a folder, as far as this machine can tell.

    Raises:
        UserError: one is.
    """
    if not (folder / "run.json").exists():
        return
    manifest = read_manifest(folder)
    if manifest["status"] == "running" and is_alive(manifest):
        raise UserError(f"{folder}: this run is still going on (process {manifest['process']['id']}).")


def resumed(config: DictConfig, folder: Path) -> tuple[DictConfig, dict[str, Any]]:
    """The config of the run in a folder, with what the command line may change, and the run's manifest.

    Raises:
        UserError: the run can't go on, or the command line changes what makes its results.
    """
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        raise UserError("resume goes on with one run. A sweep goes on where it is, if it is typed again with "
                        "if_exists=continue hydra.sweep.dir=…")  # fmt: skip
    if is_main_process() and Path(run_folder(config.resume, "")).resolve() != folder.resolve():
        raise UserError("hydra.run.dir and resume both name the run's folder; leave hydra.run.dir out.")
    manifest, stored = read_manifest(folder), read_config(folder)
    advice = "name its folder of configs: --config-dir=…"
    require_known_targets(stored, folder / ".hydra" / "config.yaml", targets(config), advice)
    stored = adopted(stored, config, folder / ".hydra" / "config.yaml")
    refused, longer, epochs = [], False, stored.trainer.max_epochs
    for override in hydra.overrides.task:
        name, _, value = override.lstrip("+~").partition("=")
        if name == "resume":
            continue
        if name in ("task", "model"):
            if value != manifest[name]:
                refused.append(f"{override}: it is {manifest[name]}")
        elif name in GROUPS:
            chosen = OmegaConf.select(config, name)
            for part in GROUPS[name]:
                OmegaConf.update(stored, f"{name}.{part}", chosen[part], force_add=True)
            if not GROUPS[name]:
                stored[name] = chosen
        elif _is_one_of(name, ALLOWED):
            was, wanted = OmegaConf.select(stored, name), OmegaConf.select(config, name)
            if name in LONGER[:2] and _limit(wanted) < _limit(was):
                refused.append(f"{override}: it is {was}, and can only grow")
            longer |= name in LONGER and wanted != was
            OmegaConf.update(stored, name, wanted, force_add=True)
        elif (CONF / name).is_dir() or OmegaConf.select(stored, name) != OmegaConf.select(config, name):
            refused.append(f"{override}: it is {OmegaConf.select(stored, name)}")
    if refused:
        raise UserError(
            f"{folder}: the run goes on with its own options, and these would change its results:"
            + "".join(f"\n  - {line}" for line in refused)
            + f"\nWhat may be given: {', '.join(ALLOWED)}. For anything else start a new run."
        )
    OmegaConf.update(stored, "run", {"dir": config.run.dir, "task": manifest["task"], "model": manifest["model"]})
    if stored.trainer.max_epochs != epochs and (decay := stored.model.get("lr_decay_epochs")):
        log.warning("The learning rate falls over the last %s epochs, and these are later now. "
                    "If it has begun to fall, it rises again first.", decay)  # fmt: skip
    if manifest["status"] == "finished" and not longer:
        raise UserError(f"{folder}: this run is finished. To train it longer: trainer.max_epochs=… To measure it on "
                        f"other splits: python -m image_translation.evaluate run={folder} split=all")  # fmt: skip
    return stored, manifest


def _limit(value: Any) -> float:
    """A number of epochs or steps; None and -1 are no limit."""
    if value is not None and not isinstance(value, int | float):
        raise UserError(f"trainer.max_epochs and trainer.max_steps are numbers, got {value!r}.")
    return math.inf if value is None or value == -1 else float(value)


def _is_one_of(name: str, options: tuple[str, ...]) -> bool:
    return any(name == option or name.startswith(f"{option}.") for option in options)


def earlier_run(folder: Path, config: DictConfig, if_exists: str) -> dict[str, Any] | None:
    """The manifest of an earlier run of the same config in this folder; None if there was none, or to be none.

    Raises:
        UserError: it had other options, or its files are damaged.
    """
    one_of("if_exists", if_exists, ("refuse", "continue"))
    if if_exists == "refuse":
        return None
    if "RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        raise UserError(
            "if_exists=continue needs processes that Lightning starts (trainer.devices=…), not torchrun or srun."
        )
    if not is_main_process():
        return None
    if not (folder / "run.json").exists():
        # A run that was killed in its first moment has nothing but its config.
        begun = [path.name for path in folder.iterdir() if is_of_a_run(path)]
        barely_begun = ".hydra" in begun and all(name.startswith(".") for name in begun)
        return {"status": "failed"} if barely_begun else None
    manifest = read_manifest(folder)
    if manifest["status"] != "finished" and not _has_state(folder):
        return {"status": manifest["status"]}  # it has learnt nothing that other options or images could spoil
    before, now = flatten_config(read_config(folder)), flatten_config(resolve_config(config))
    changed = sorted(
        name
        for name in before.keys() | now.keys()
        if not name.startswith(WITHOUT_EFFECT) and before.get(name) != now.get(name)
    )
    if changed:
        lines = "".join(f"\n  - {name}: was {before.get(name)}, now {now.get(name)}" for name in changed[:20])
        raise UserError(
            f"{folder} holds a run with other options, and nothing is overwritten:{lines}\n"
            "Name another folder, with hydra.run.dir=… or, for a sweep, hydra.sweep.dir=…"
        )
    return manifest


def same_devices(folder: Path, manifest: Mapping[str, Any] | None, count: int) -> None:
    """Check that a run goes on with as many devices as before: they share an epoch's images between them.

    Raises:
        UserError: it does not.
    """
    was = (manifest or {}).get("device", {}).get("count", count)
    if was != count:
        raise UserError(
            f"{folder}: the run had {was} devices, and can't go on with {count}. Set trainer.devices={was}."
        )


def same_data(folder: Path, manifest: Mapping[str, Any], data: Mapping[str, Any], advice: str | None = None) -> None:
    """Check that an earlier run in this folder, if it came to read its data, had the same.

    Raises:
        UserError: it had not.
    """
    was, now = str(manifest.get("data", data).get("fingerprint")), data["fingerprint"]
    if was != now:
        raise UserError(
            f"{folder} holds a run on other images (fingerprint {was[:12]}, now {now[:12]}), and nothing is "
            f"overwritten. {advice or 'Name another folder, with hydra.run.dir=… or, for a sweep, hydra.sweep.dir=…'}"
        )
