"""Completion of the console command in a shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(("line", "expected"), [
    ("image-translation tr", "train"),
    ("image-translation train task=co", "task=coloring task=comic"),
    ("image-translation train task=comic model.optimizer.l", "model.optimizer.lr="),
    ("image-translation evaluate spl", "split="),
    ("image-translation nothing spl", ""),
])  # fmt: skip
def test_bash_completes_commands_and_options(line: str, expected: str, tmp_path: Path) -> None:
    program = tmp_path / "image-translation"
    program.write_text(f"#!{sys.executable}\nfrom image_translation.cli.main import main\nmain()\n")
    program.chmod(0o755)
    script = f"""
        eval "$(image-translation -sc install=bash)"
        complete -p image-translation > /dev/null || exit 1
        COMP_LINE="{line}"; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_POINT={len(line)}
        hydra_bash_completion; echo "${{COMPREPLY[@]}}"
    """
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run([str(BASH), "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.strip() == expected
