"""The one kind of error that a user is shown without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: the text says what was found, what was expected and what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ``" Did you mean 'max_epochs'?"``, or nothing where no known name is near."""
    matches = difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def one_of(argument: str, value: str, known: Iterable[str]) -> str:
    """``value``, if it is one of the known names.

    Raises:
        UserError: it is not; the text names the argument, the value and the choices.
    """
    known = list(known)
    if value not in known:
        raise UserError(f"{argument} must be one of {', '.join(known)}; got {value!r}.{nearest(str(value), known)}")
    return value


def at_least(argument: str, value: float, least: float, *, exclusive: bool = False) -> None:
    """Check a number's lower bound.

    Raises:
        UserError: ``value`` is below ``least`` (or equal to it, if ``exclusive``) or not a number.
    """
    if not isinstance(value, int | float):
        raise UserError(f"{argument} must be a number, got {value!r}.")
    if not (value > least or (value == least and not exclusive)):
        raise UserError(f"{argument} must be {'greater than' if exclusive else 'at least'} {least:g}, got {value}.")
