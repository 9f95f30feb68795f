"""What a run leaves behind may be shown to others: no home folder in it, and no keys."""

import logging
import os
import re
from pathlib import Path
from typing import Any

SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL")
SHORTEST = 8  # characters of a secret; a shorter one would hide ordinary words


def redact(value: Any) -> Any:
    """A text, or the texts in lists and dictionaries, with ``~`` for the home folder and ``***`` for secrets.

    Secrets are the values of environment variables whose names say so.
    """
    if isinstance(value, dict):
        return {redact(key): redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if not isinstance(value, str):
        return value
    for name, secret in os.environ.items():
        if SECRET.search(name.upper()) and len(secret) >= SHORTEST:
            value = value.replace(secret, "***")
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?=/|\\|$|[^\w.-])", "~", value) if len(home) > 1 else value


class RedactingFormatter(logging.Formatter):
    """Formats a log's lines, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return str(redact(super().format(record)))
