"""What all commands share: Hydra's grammar, one clear message for a user's mistake, and the exit status."""

import errno
import functools
import io
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from image_translation.cli.errors import UserError, nearest
from image_translation.cli.process import TERMINATED, exit_status, is_main_process

log = logging.getLogger(__name__)  # goes to the run's log file only, see conf/hydra/job_logging
log.addHandler(logging.NullHandler())
OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # errors that don't always say where
_PACKAGE = Path(__file__).parents[1]
# A wheel carries its conf in the package; a checkout has it beside the package.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a function of a config into a Hydra application with the config ``conf/<config_name>.yaml``.

    A user's mistake ends with one message and status 1, a signal with 130 or 143. In a sweep a job that fails is
    reported at once and the next one starts; ``SweepTable`` sets the status.
    """

    def decorate(function: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(function)
        def job(cfg: DictConfig) -> None:
            try:
                function(cfg)
            except Exception as error:
                mistake = _mistake(error, config_name) if isinstance(error, OmegaConfBaseException) else error
                report(mistake, debug=bool(cfg.get("debug")))
                if HydraConfig.get().mode != RunMode.MULTIRUN:
                    raise SystemExit(1) from None

        application = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)

        @functools.wraps(function)
        def main() -> None:
            for stream in (sys.stdout, sys.stderr):  # a file name may hold what the terminal cannot show
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors="backslashreplace")
            logging.raiseExceptions = False  # no traceback where a log can't be written: the disk is full, say
            os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to here
            for name in ("SIGTERM", "SIGUSR1"):  # the second is what queues send before their limit
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), _terminate)
            try:
                application()
            except BrokenPipeError:  # who reads our output has seen enough: --help | head
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(1)
            except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:  # before or beside the job
                report(_mistake(error, config_name), debug="debug=true" in sys.argv)
                sys.exit(1)
            except (KeyboardInterrupt, SystemExit) as error:
                sys.exit(exit_status(error) if exit_status(error) > 1 else getattr(error, "code", 1))

        return main

    return decorate


def instantiate(node: DictConfig, advice: str = "", **kwargs: Any) -> Any:
    """``hydra.utils.instantiate`` that hands the constructor's own complaint on, with ``advice`` if it is a library's.

    Raises:
        UserError: the constructor refused an argument.
    """
    if not isinstance(node, DictConfig):
        raise UserError(f"{node!r} stands where something is constructed. Name its options one by one.")
    try:
        return hydra.utils.instantiate(node, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{node.get('_target_', 'config')}: {str(cause).strip()}{advice}") from error


def folder_of(option: str, value: Any) -> Path:
    """The folder that an option names.

    Raises:
        UserError: the option's value is no name.
    """
    # Hydra hands over a number where a folder is called by one; a fraction may have lost a digit on the way.
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise UserError(f"{option} must be the name of a folder, got {value!r}. Quote unusual names: '{option}=\"…\"'.")
    return Path(str(value)).expanduser()


def report(error: BaseException, debug: bool = False) -> None:
    """Say what went wrong: one message for a user's mistake, the traceback for anything else; both to the run's log."""
    if not is_main_process():
        return
    is_mistake = isinstance(error, UserError) or (
        isinstance(error, OSError) and (error.filename or error.errno in OF_A_DISK)
    )
    if debug or not is_mistake:
        traceback.print_exception(error)
    text = _describe_os_error(error) if isinstance(error, OSError) else str(error)
    if is_mistake:
        print(f"Error: {text}", file=sys.stderr)
    log.error(text, exc_info=error)


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def _describe_os_error(error: OSError) -> str:
    return f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."


def _mistake(error: Exception, config_name: str) -> UserError:
    mistake = UserError(_explain(error, config_name))
    mistake.__cause__ = error  # for the log, and for debug=true
    return mistake


def _explain(error: Exception, config_name: str) -> str:
    """A mistake on the command line, in words, with the nearest names that exist."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return f"unknown {group} {name!r}; there are {', '.join(error.options)}.{nearest(name, error.options)}"
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
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"{error.override!r} cannot be read ({text.splitlines()[0]}). Quote unusual values: '{key}=\"{value}\"'."
    if match := re.search(r"Could not override '([^'@]+)", text):
        known = list(_known_options(config_name))
        if match[1] in known:
            return f"the option {match[1]!r} does not exist with these choices, only with the default ones."
        return f"unknown option {match[1]!r}.{nearest(match[1], known)} --cfg job lists all; +{match[1]}=… adds one."
    return text


def _causes(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__ or error.__context__) is not None:
        yield cause
        error = cause


def _known_options(config_name: str) -> Iterator[str]:
    """Every option and group of a command, as on the command line."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        yield from _keys(hydra.compose(config_name))
    yield from (folder.name for folder in CONF.iterdir() if folder.is_dir())


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            child = node[key]
            if isinstance(child, DictConfig):
                yield from _keys(child, f"{prefix}{key}.")
