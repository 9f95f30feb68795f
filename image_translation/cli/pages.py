"""Pages, tables and sentences from templates."""

import base64
import re
from typing import Any

import jinja2

from image_translation.metrics.names import title

LATEX = {
    "[": "{[}", "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$",
    "—": "--", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "×": r"$\times$",
}  # fmt: skip
# The package's templates; those of HTML escape what they are given.
TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("image_translation"), autoescape=jinja2.select_autoescape(["html.j2"]),
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
)  # fmt: skip
TEMPLATES.filters |= {
    "latex": lambda text: "".join(LATEX.get(character, character) for character in text),
    "markdown": lambda text: re.sub(r"([\\`*_<>|\[\]#])", r"\\\1", text),
    "name_of": lambda metric: title(metric)[:-2],  # a metric's name in a sentence
    "and_join": lambda words: " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))),
}


def render(template: str, **values: Any) -> str:
    return TEMPLATES.get_template(template).render(**values)


def render_lines(template: str, **values: Any) -> list[str]:
    return render(template, **values).split("\n")[:-1]


def data_url(kind: str, content: bytes) -> str:
    """A file of a MIME type, such as ``image/webp``, as an address that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
