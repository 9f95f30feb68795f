"""What a file may name: a run's config says which classes to construct, and a stranger may have written it."""

import pydoc
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from image_translation.cli.app import CONF
from image_translation.cli.errors import UserError

# Options that are places to write to: they are the user's own, whatever a file says.
PLACES = {"dirpath", "filename", "folder", "path", "others", "save_dir", "cache_folder", "default_root_dir",
          "logger.tensorboard.name", "logger.tensorboard.version"}  # fmt: skip

GROUPS = ("data", "task", "model", "trainer", "callbacks", "logger", "experiment")  # whose choices construct something
REFERENCE = re.compile(r"\$\{(run\.(dir|task|model)|seed|checkpoint\.\w+|data\.(task|image_size))\}")


def require_known_targets(config: DictConfig, file: Path, own: Iterable[str], advice: str) -> None:
    """Check that a config read from a file names only what this project's own configs name, before it is used.

    Args:
        config: as it stands in the file.
        file: for the message.
        own: names that the user has given.
        advice: how to give one.

    Raises:
        UserError: it names something else.
    """
    known = {target for path in CONF.rglob("*.yaml") for target in targets(OmegaConf.load(path))}
    known |= {*own, *(target for group in GROUPS for path in _own(group) for target in targets(OmegaConf.load(path)))}
    for target in targets(config):
        if target not in known:
            raise UserError(
                f"{file} names {target!r}, which is no part of this project, so nothing was run. "
                f"If it is your own, {advice}."
            )


def import_own(names: Iterable[str] = ()) -> None:
    """Import what the user names, and the models of ``--config-dir``: a model is known once its class exists.

    Raises:
        UserError: there is no such thing.
    """
    for target in [*names, *(target for path in _own("model") for target in targets(OmegaConf.load(path)))]:
        try:
            found = pydoc.locate(target)
        except pydoc.ErrorDuringImport as error:
            raise UserError(f"{target} can't be imported: {error.value!r}.") from error
        if found is None:
            raise UserError(f"{target} can't be imported: is its module in this folder, or on PYTHONPATH?")


def _own(group: str) -> list[Path]:
    """The choices of a group in the user's own folder of configs, which ``--config-dir`` names."""
    sources = HydraConfig.get().runtime.config_sources
    folders = [Path(source.path) for source in sources if source.provider == "command-line"]
    return [path for folder in folders for path in sorted((folder / group).glob("*.yaml"))]


def known_data(stored: DictConfig, trusted: Iterable[str], file: Path) -> Any:
    """What ``evaluate`` takes a run's data to be: of the project, of ``--config-dir``, or what the user trusts."""
    trusted, data = set(trusted), _plain(stored, "data", file)
    derive = data.pop("derive", None)
    known = _known("data", "", OmegaConf.create(), stored.data)
    if data.get("_target_") in trusted:
        _require_plain({option: value for option, value in data.items() if option != "_target_"}, "data", file)
        known = OmegaConf.create(data)
    if known is not None and isinstance(derive, dict) and derive.get("_target_") in trusted:
        options = {option: value for option, value in derive.items() if option not in ("_target_", "_partial_")}
        _require_plain(options, "data.derive", file)
        known.derive = derive
    return known


def adopted(stored: DictConfig, own: DictConfig, file: Path) -> DictConfig:
    """The user's own config with the values of one from a file.

    What is constructed, where it writes, and all that refers to something else comes from the user's own config.

    Args:
        stored: as it stands in the file.
        own: the user's, of the same command.
        file: for messages.

    Raises:
        UserError: it has something that is no plain value, or is of another shape.
    """
    config = OmegaConf.to_container(own, resolve=False)
    assert isinstance(config, dict)
    for part in ("seed", "evaluate", "protocol", "checkpoint"):
        if part in stored:
            config[part] = _plain(stored, part, file)
            _require_plain(config[part], part, file)
    for part in ("data", "model", "trainer"):
        config[part] = arguments(stored, part, _known(part, "", own, stored.get(part)), file)
    for group in ("callbacks", "logger"):
        nodes = stored.get(group)
        if not isinstance(nodes, DictConfig):
            raise UserError(f"{file} is damaged: {group} is {nodes!r}.")
        config[group] = {
            name: arguments(nodes, name, _known(group, str(name), own, nodes.get(name)), file, f"{group}.")
            for name in nodes
        }
    return OmegaConf.create(config)


def arguments(stored: DictConfig, name: Any, known: Any, file: Path, group: str = "") -> dict[str, Any]:
    """What a config from a file gives a constructor, with the class and the places of a known config.

    Args:
        stored: a part of the config.
        name: of the node in it.
        known: the node in a config that is trusted; None if there is none.
        file: for messages.
        group: with a dot, where the part is in the config; for messages too.

    Raises:
        UserError: there is no such config, or a value is not plain.
    """
    key, node = f"{group}{name}", _plain(stored, name, file)
    if known is None:
        raise UserError(f"The run's config has {key}, which is no part of this project; "
                        "name the choice that brings it on the command line too.")  # fmt: skip
    result: Any = OmegaConf.to_container(known, resolve=False)
    if not isinstance(node, dict) or not isinstance(result, dict) or node.get("_target_") != result.get("_target_"):
        raise UserError(f"{file} is damaged: {key} is not what this project constructs there.")
    for option, value in node.items():
        if option != "_target_" and option not in PLACES and f"{key}.{option}" not in PLACES:
            if option in result and result[option] == value:
                continue
            if key == "data" and option == "derive" and isinstance(value, dict) and "_target_" in value:
                result[option] = arguments(stored[name], option, _known_derive(known, value), file, "data.")
                continue
            if str(option).startswith("_"):
                raise UserError(f"{file}: {key}.{option} is no option, so nothing was run.")
            _require_plain(value, f"{key}.{option}", file)
            result[option] = value
    return result


def _known_derive(known: DictConfig, node: dict[str, Any]) -> Any:
    """What a trusted config computes inputs with by the same function as one of a file: of a task, if there is one."""
    for path in [*sorted((CONF / "task").glob("*.yaml")), *_own("task")]:
        task = OmegaConf.load(path)
        for derive in (known.get("derive"), OmegaConf.select(task, "derive"), OmegaConf.select(task, "data.derive")):
            if isinstance(derive, DictConfig) and derive.get("_target_") == node["_target_"]:
                return derive
    return None


def _known(group: str, name: str, own: DictConfig, node: Any) -> Any:
    """The node of a trusted config that constructs the same as one of a file: the user's own, or the project's."""
    nodes = [OmegaConf.select(own, f"{group}.{name}" if name else group)]
    for path in [*sorted((CONF / group).glob("*.yaml")), *_own(group)]:
        config: Any = OmegaConf.load(path)
        config.pop("defaults", None)
        nodes.append(config.get(name) if name and name in config else config)
        if group == "logger" and path.stem != name:
            nodes.pop()
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    found = (known for known in nodes if isinstance(known, DictConfig) and known.get("_target_") == target)
    return next(found, None) if target else None


def _plain(stored: DictConfig, name: Any, file: Path) -> Any:
    node = OmegaConf.to_container(stored, resolve=False)
    if not isinstance(node, dict) or name not in node:
        raise UserError(f"{file} is damaged: {name} is missing.")
    return node[name]


def _require_plain(value: Any, key: str, file: Path) -> None:
    """Check that a value constructs nothing, and refers to nothing but plain values in the same config."""
    if isinstance(value, str) and "${" in REFERENCE.sub("", value):
        raise UserError(f"{file}: {key} is {value!r}, which could look into your surroundings, so nothing was run.")
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            if str(name).startswith("_"):
                raise UserError(f"{file}: {key}.{name} is no option, so nothing was run.")
            _require_plain(part, f"{key}.{name}", file)


def targets(node: Any) -> Iterator[str]:
    """All that a config would have constructed or called."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)
