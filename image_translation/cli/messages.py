"""What a user is told when a command fails."""

import errno
import logging
import sys
import traceback
from collections.abc import Iterator

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from image_translation.cli.errors import UserError, nearest
from image_translation.cli.process import is_main_process

log = logging.getLogger(__name__)  # goes to the run's log file only, see conf/hydra/job_logging
log.addHandler(logging.NullHandler())
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # which don't always name a file


def report(error: BaseException, debug: bool = False) -> None:
    """Print one message for a user's mistake, the traceback of anything else; both go to the run's log."""
    if not is_main_process():
        return
    is_mistake = isinstance(error, UserError) or type(error).__name__ == "MisconfigurationException"  # Lightning's
    is_mistake |= isinstance(error, OSError) and bool(error.filename or error.errno in DISK_ERRORS)
    if debug or not is_mistake:
        traceback.print_exception(error)
    text = _describe_os_error(error) if isinstance(error, OSError) else str(error)
    if is_mistake:
        print(f"Error: {text}", file=sys.stderr)
    log.error(text, exc_info=error)


def explain(error: Exception, config_name: str) -> str:
    """A mistake on the command line of a command, with the nearest names that exist."""
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
    if isinstance(error, HydraException):
        known = _known_options(config_name)
        for argument in sys.argv[1:]:
            name = argument.partition("=")[0].partition("@")[0]
            exists = any(option == name or option.startswith(f"{name}.") for option in known)
            if "=" in argument and not name.startswith(("+", "~", "-")) and not exists:
                return f"unknown option {name!r}.{nearest(name, known)} --cfg job lists all; +{name}=… adds one."
    return text


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


def _describe_os_error(error: OSError) -> str:
    return f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."
