"""The one kind of error that a user is shown without a traceback, and the checks that raise it."""

import difflib
import math
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """A mistake that the user can correct: the text says what was found, what was expected and what to do."""


def command_line(command: str, *options: str, **values: object) -> str:
    """A command to paste into a shell, with values quoted for Hydra and for the shell where they need it."""
    words = [*options, *(shlex.quote(f"{name}={hydra_value(value)}") for name, value in values.items())]
    return " ".join([f"{python()} -m image_translation.{command}", *words])


def python() -> str:
    """How this interpreter is called here: ``python``, or as ``make`` calls it, where no environment is active."""
    inside = Path(sys.prefix).is_relative_to(Path.cwd()) and "VIRTUAL_ENV" not in os.environ
    return str(Path(sys.executable).relative_to(Path.cwd())) if inside else "python"


def hydra_value(value: object) -> str:
    """A value as it is written on the command line, in quotes if it needs them."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(hydra_value, value))}]"
    text = str(value)
    if re.fullmatch(r"[\w./:+-]+", text, re.ASCII):
        return text
    return '"' + re.sub(r'(\\+)(?="|$)', r"\1\1", text).replace('"', r"\"") + '"'


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ``" Did you mean 'max_epochs'?"``, or nothing where no known name is near."""
    matches = difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def one_of(argument: str, value: T, known: Iterable[T]) -> T:
    """``value``, if it is one of the known names.

    Raises:
        UserError: it is not; the text names the argument, the value and the choices.
    """
    known = list(known)
    names = [str(name) for name in known]
    if value not in known:
        raise UserError(f"{argument} must be one of {', '.join(names)}; got {value!r}.{nearest(str(value), names)}")
    return value


def at_least(argument: str, value: float, least: float, *, whole: bool = False) -> None:
    """Check a finite number's lower bound.

    Raises:
        UserError: ``value`` is below ``least``, or no number, or no ``whole`` one.
    """
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
        raise UserError(f"{argument} must be a {'whole' if whole else 'finite'} number, got {value!r}.")
    if value < least:
        raise UserError(f"{argument} must be at least {least:g}, got {value}.")


def height_and_width(argument: str, size: Any, least: int = 16) -> tuple[int, int]:
    """Both sides of an image of this size, a number for a square or a list of two.

    Raises:
        UserError: it is neither, or a side is no whole number or below ``least`` pixels.
    """
    sides = list(size) if isinstance(size, Sequence) and not isinstance(size, str) else [size, size]
    if len(sides) != 2:
        raise UserError(f"{argument} must be a number or [height, width], got {size}.")
    for side in sides:
        at_least(argument, side, least, whole=True)
    return sides[0], sides[1]
