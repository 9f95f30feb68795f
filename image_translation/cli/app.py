"""The Hydra application that all commands share: one grammar, one message for a user's mistake, one exit status."""

import atexit
import functools
import gc
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from image_translation.cli.errors import UserError
from image_translation.cli.help import help_text
from image_translation.cli.jobs import is_elsewhere, run_job
from image_translation.cli.messages import config_dirs, explain, refuse_flags, refuse_new_keys, report
from image_translation.cli.process import TERMINATED, exit_status, provide_home
from image_translation.cli.sweep import end_sweep, explain_resuming

FLAGS = ("-m", "--multirun", "-h", "--help", "--resolve")
FLAGS_WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c",
                    "--package", "-p")  # fmt: skip
_PACKAGE = Path(__file__).parents[1]
# A wheel carries its conf in the package; a checkout has it beside the package.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a function of a config into a Hydra application with the config ``conf/<config_name>.yaml``.

    What the function returns reaches Hydra, so that sweepers can use it. A user's mistake ends with one message and
    status 1, a signal with 130 or 143. In a sweep a job that fails is reported at once; ``SweepTable`` lets the next
    one start, and sets the status.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(function)
        def job(cfg: DictConfig) -> Any:
            provide_home()
            hydra_config = HydraConfig.get()
            try:
                return run_job(hydra_config, config_name) if is_elsewhere(hydra_config) else function(cfg)
            except Exception as error:
                mistake = _mistake(error, config_name) if isinstance(error, OmegaConfBaseException) else error
                report(mistake, debug=bool(cfg.get("debug")))
                if hydra_config.mode == RunMode.MULTIRUN:
                    raise
                raise SystemExit(1) from None

        application = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)

        @functools.wraps(function)
        def main() -> None:
            for stream in (sys.stdout, sys.stderr):  # a file name may hold what the terminal cannot show
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors="backslashreplace")
            gc.set_threshold(100_000)  # as mypy does: to look for garbage in what is imported takes a second,
            atexit.register(gc.freeze)  # and another one at the end
            logging.raiseExceptions = False  # no traceback where a log can't be written: on a full disk, say
            os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to here
            for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):  # queues send the last two before their limit
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), _terminate)
            # Hydra would make a folder called ~.
            place = r"^(hydra\.(?:run|sweep)\.dir=['\"]?)~(?=/|$)"
            sys.argv = [re.sub(place, lambda found: found[1] + str(Path.home()), word) for word in sys.argv]
            flags, overrides = split_flags(sys.argv[1:])
            sys.argv[1:] = [*flags, *overrides]  # Hydra takes its own flags in the first place only
            try:
                refuse_flags(config_name)
                refuse_new_keys(config_name)
                if {"--help", "-h"} & {*sys.argv}:
                    description, folders = function.__globals__["__doc__"], config_dirs(sys.argv)
                    print(help_text(description, CONF, config_name, overrides, folders))
                else:
                    application()
            except BrokenPipeError:  # the reader of our output has seen enough: --help | head
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(1)
            except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:  # before or beside the job
                report(_mistake(error, config_name), debug="debug=true" in sys.argv)
                sys.exit(1)
            except Exception as error:
                report(error)
                end_sweep()
                sys.exit(1)
            except (KeyboardInterrupt, SystemExit) as error:
                if exit_status(error) > 1:
                    explain_resuming()
                sys.exit(exit_status(error) if exit_status(error) > 1 else getattr(error, "code", 1))

        return main

    return decorate


def split_flags(words: list[str]) -> tuple[list[str], list[str]]:
    """A command line's words: Hydra's flags with their values, and the others."""
    flags, others, waiting = list[str](), list[str](), iter(words)
    for word in waiting:
        if word in FLAGS or word.partition("=")[0] in FLAGS_WITH_VALUE:
            flags.append(word)
            if word in FLAGS_WITH_VALUE:
                flags.extend(islice(waiting, 1))
        else:
            others.append(word)
    return flags, others


def instantiate(node: DictConfig, path: str, **kwargs: Any) -> Any:
    """``hydra.utils.instantiate``, with the option's path in front of a constructor's complaint.

    Raises:
        UserError: the constructor refused an argument.
    """
    if not isinstance(node, DictConfig):
        raise UserError(f"{path} is {node!r}. Set its options one by one: {path}.<option>=…")
    try:
        return hydra.utils.instantiate(node, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error.__cause__ or error
        text = str(cause).strip()
        named = text.partition(" ")[0].partition("=")[0].rstrip(":") in node
        raise UserError(f"{path}{'.' if named else ': '}{text}") from error


def folder_of(option: str, value: Any) -> Path:
    """The folder that an option names, which Hydra hands over as a number if it is called by one."""
    if not isinstance(value, str | int | float) or value == "":
        raise UserError(f"{option} must be the name of a folder, got {value!r}.")
    return Path(str(value)).expanduser()


def _mistake(error: Exception, config_name: str) -> UserError:
    mistake = UserError(explain(error, config_name))
    mistake.__cause__ = error  # for debug=true
    return mistake


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)
