"""What a user is told when a command fails."""

import difflib
import errno
import logging
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from image_translation.cli.errors import UserError, hydra_value, nearest
from image_translation.cli.process import is_main_process

log = logging.getLogger(__name__)  # goes to the run's log file only, see conf/hydra/job_logging
log.addHandler(logging.NullHandler())
HYDRA_FLAGS = ("help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun", "shell-completion",
               "config-path", "config-name", "config-dir", "info")  # fmt: skip
# What other tools call an option.
HABITS = dict.fromkeys(("epochs", "n_epochs", "num_epochs", "niter"), "trainer.max_epochs")
HABITS |= {"learning_rate": "model.optimizer.lr", "continue_train": "resume"}
HABITS |= dict.fromkeys(("dataroot", "data_root"), "data.root")
HABITS |= dict.fromkeys(("batch", "batchsize"), "data.batch_size")
HABITS |= dict.fromkeys(("imgsz", "img_size", "size", "load_size", "crop_size"), "data.image_size")
HABITS |= dict.fromkeys(("gpus", "gpu_ids"), "trainer.devices")
HABITS |= {"workers": "data.num_workers", "device": "trainer.accelerator"}
LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}  # their extras
NODES = ("data", "model", "trainer")  # whose options are arguments of one class
CONNECTION = "Connection closed by peer"  # what a process sees of the failure of another one
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # which don't always name a file


def report(error: BaseException, debug: bool = False) -> None:
    """Print one message for a user's mistake, the traceback of anything else; both go to the run's log."""
    is_mistake = isinstance(error, UserError) or _is_raised_by_lightning(error)
    is_mistake |= isinstance(error, OSError) and bool(error.filename or error.errno in DISK_ERRORS)
    text = _describe_os_error(error) if isinstance(error, OSError) else str(error)
    if not is_main_process() and (is_mistake or CONNECTION in text):  # the main process says it
        return
    if debug or not is_mistake:
        traceback.print_exception(error)
    if is_mistake:
        print(f"Error: {text}", file=sys.stderr)
    log.error(text, exc_info=error)


def explain(error: Exception, config_name: str) -> str:
    """A mistake on the command line of a command, with the nearest names that exist."""
    if isinstance(error, MissingConfigException) and error.options:
        file = error.missing_cfg_file or ""
        group, _, name = file.partition("/") if file.startswith("data/") else file.rpartition("/")
        hint = f" Your pairs: data.root={name}." if group == "data" else nearest(name, error.options)
        if group == "hydra/launcher" and name in LAUNCHERS:
            hint = f" It needs pip install '.[{LAUNCHERS[name]}]'."
        return f"unknown {group} {name!r}; there are {', '.join(error.options)}.{hint}"
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return _describe_os_error(error)
    for cause in _causes(error):
        if isinstance(cause, UserError):  # from a resolver of our own
            return str(cause)
    text = str(error).strip()
    if isinstance(error, MissingMandatoryValue) and error.full_key:
        return f"{error.full_key} is not set: {error.full_key}=… (--help lists the options)."
    if isinstance(error, OmegaConfBaseException):  # further lines are OmegaConf's own
        return f"{error.full_key or 'config'}: {text.splitlines()[0]}"
    if isinstance(error, OverrideParseException) and "=" not in error.override:
        return f"{error.override!r} is no option. Options are written key=value, as task=comic."
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        is_list, is_sweep = value.startswith("["), bool({"-m", "--multirun"} & {*sys.argv})
        values = value.strip("[]").split(",") if is_list or is_sweep else [value]
        meant = ",".join(hydra_value(value.strip(" '\"")) for value in values)
        quoted = shlex.quote(f"{key}=[{meant}]" if is_list else f"{key}={meant}")
        return f"{error.override!r} cannot be read ({text.splitlines()[0]}). Quote unusual values: {quoted}"
    if isinstance(error, HydraException):
        known = _known_options(config_name)
        for argument in sys.argv[1:]:
            name = argument.partition("=")[0].partition("@")[0]
            if "=" in argument and not name.startswith(("+", "~", "-", "hydra.")) and not _exists(name, known):
                return _unknown(name, known)
    return text


def refuse_flags(config_name: str) -> None:
    """UserError for options as other tools write them: ``--task comic``."""
    for argument, following in pairwise([*sys.argv[1:], "…"]):
        if config_name == "tune" and argument in ("-m", "--multirun"):
            raise UserError("tune is one search and takes no -m. For several, call it several times.")
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and name not in HYDRA_FLAGS:
            name, known = name.replace("-", "_"), _known_options(config_name)
            option = name if _exists(name, known) else next(iter(_meant(name, known)), "key")
            raise UserError(f"{argument}: options are written key=value, as {option}={value or following}.")


def config_dirs(words: Sequence[str]) -> list[Path]:
    """The user's own folders of configs, which a command line names."""
    flags = [word.partition("=")[::2] for word in words]
    return [Path(value or following) for (flag, value), (following, _) in pairwise([*flags, ("", "")])
            if flag in ("--config-dir", "-cd")]  # fmt: skip


def refuse_new_keys(config_name: str) -> None:
    """UserError for ``+epochs=3``, which nothing reads, and for ``+trainer.max_epoch=3``, nearly an option."""
    own = config_dirs(sys.argv)
    known = _known_options(config_name) if any(word.startswith("+") for word in sys.argv[1:]) else []
    for word in sys.argv[1:]:
        name = word.lstrip("+").partition("=")[0].partition("@")[0]
        is_group = any((folder / name).is_dir() for folder in own)
        if word.startswith("+") and not name.startswith("hydra.") and not is_group:
            node = name.partition(".")[0]
            near = node in NODES and difflib.get_close_matches(name, known, 1, cutoff=0.9)
            if not _exists(name, known) and (node == name or node in ("run", "checkpoint") or near):
                raise UserError(_unknown(name, known))


def _unknown(name: str, known: list[str]) -> str:
    meant = " or ".join(f"{option}=…" for option in _meant(name, known)[:3])
    adding = f"; +{name}=… adds one" if "." in name else ""
    hint = f" Use {meant} instead." if meant else nearest(name, known)
    return f"unknown option {name!r}.{hint} --cfg job lists all{adding}."


def _meant(name: str, known: list[str]) -> list[str]:
    """The options of that name, wherever they stand, or what other tools call so."""
    name = HABITS.get(name.lower(), name)
    return [name] if name in known else [option for option in known if option.rpartition(".")[2] == name]


def _exists(name: str, known: list[str]) -> bool:
    return any(option == name or option.startswith(f"{name}.") for option in known)


def _known_options(config_name: str) -> list[str]:
    """Every option and group of a command, as on the command line."""
    from image_translation.cli.app import CONF
    from image_translation.runs.config import flatten_config

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        options = flatten_config(hydra.compose(config_name))
    return [*options, *(str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir())]


def _causes(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__ or error.__context__) is not None:
        yield cause
        error = cause


def _is_raised_by_lightning(error: BaseException) -> bool:
    """Whether it is a complaint of Lightning's own about an option."""
    if type(error).__name__ == "MisconfigurationException":
        return True
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = frames and frames[-1].startswith(("pytorch_lightning.", "lightning_fabric."))
    return bool(own) and isinstance(error, ValueError | RuntimeError)


def _describe_os_error(error: OSError) -> str:
    return f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."
