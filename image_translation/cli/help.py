"""``--help``: what a command is for, and its options with the comments of the configs beside them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
from omegaconf import OmegaConf, open_dict

LINE = re.compile(r"^( *)(\w+):(?: .*?)??(?:\s+# (.*))?$")
COLUMN = 44  # where comments begin


def help_text(description: str, conf: Path, config_name: str, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """The help of a command: its description, whose first line is a sentence, and the options of its config.

    ``folders`` are the user's own, with configs beside those of ``conf``.
    """
    own = [f"hydra.searchpath=[{','.join(f'file://{folder.absolute()}' for folder in folders)}]"]
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        cfg = hydra.compose(config_name, [*overrides, *(own if folders else [])], return_hydra_config=True)
    places = [conf, *folders]
    groups = {}
    for group in sorted(name for name in {*cfg, *cfg.hydra.runtime.choices} if (conf / name).is_dir()):
        if not group.startswith("hydra"):
            choices = {path.stem for place in places for path in (place / group).glob("*.yaml")}
            groups[group] = ", ".join(sorted(choices))
    with open_dict(cfg):
        del cfg["hydra"]
    sentence, _, examples = description.strip().partition("\n\n")
    parts = [sentence]
    if groups:
        parts.append("Groups (group=choice):\n" + "\n".join(f"{name}: {there}" for name, there in groups.items()))
    parts.append("Options and their current values:")
    parts.append(_annotate(OmegaConf.to_yaml(cfg), conf, config_name).rstrip())
    parts.append("Examples:\n" + "\n".join(f"  {line}" for line in examples.splitlines()))
    parts.append("--cfg job prints every option with its value, --hydra-help explains Hydra's own flags.")
    return "\n\n".join(parts)


def _annotate(text: str, conf: Path, config_name: str) -> str:
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
