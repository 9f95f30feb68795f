"""``--help``: Hydra's, with the comments of the configs beside the options."""

import re
from collections.abc import Iterator
from pathlib import Path

LINE = re.compile(r"^( *)(\w+):(?: .*?)??(?:\s+# (.*))?$")
COLUMN = 44  # where comments begin


def annotate(text: str, conf: Path, config_name: str) -> str:
    """A help text with a comment behind each option that has one in the configs of ``conf``."""
    comments: dict[str, str] = {}
    for path in conf.rglob("*.yaml"):
        node = path.parent.relative_to(conf).parts
        content = path.read_text(encoding="utf-8")
        if package := re.search("^# @package ([a-z.]+)", content):
            node = tuple(package[1].split("."))
        if node or path.stem == config_name:
            comments |= {".".join((*node, name)): comment for name, _, comment in _options(content) if comment}
    lines = []
    for name, line, _ in _options(text):
        comment = comments.get(name, "")
        lines.append(f"{line:{COLUMN}}  # {comment}" if comment else line)
    return "\n".join(lines) + "\n"


def _options(text: str) -> Iterator[tuple[str, str, str]]:
    """The option that each line sets, with the nodes above it, or an empty text; the line; and its comment."""
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = LINE.match(line)
        if found:
            depth = len(found[1])
            above = [(indent, name) for indent, name in above if indent < depth] + [(depth, found[2])]
        yield ".".join(name for _, name in above) if found else "", line, (found and found[3]) or ""
