"""Pages and tables from templates."""

import base64
import functools
import re
from typing import Any

import jinja2

LATEX = {
    "[": "{[}", "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$",
    "—": "--", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "×": r"$\times$",
}  # fmt: skip


def escape_latex(text: object) -> str:
    return "".join(LATEX.get(character, character) for character in str(text))


def escape_markdown(text: object) -> str:
    return re.sub(r"([\\`*_<>|\[\]#])", r"\\\1", str(text))


@functools.cache
def environment() -> jinja2.Environment:
    """The package's templates; those of HTML escape what they are given."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("image_translation"),
        autoescape=lambda name: bool(name and name.endswith(".html.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters |= {"latex": escape_latex, "markdown": escape_markdown}
    return env


def render(template: str, **values: Any) -> str:
    return environment().get_template(template).render(**values)


def data_url(kind: str, content: bytes) -> str:
    """A file of a MIME type, such as ``image/webp``, as an address that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
