"""Rules of the design that a linter does not know."""

import re

import pytest
from conftest import PROJECT

PACKAGE = PROJECT / "image_translation"
PARTS = ("image_translation", "conf", "docs", "tests", "benchmarks", "notebooks", "README.md", "Makefile")
SUFFIXES = (".py", ".yaml", ".md", ".j2", ".js", ".css", ".ipynb", "")

# Words that the field does not use, and the ones that it does.
OLD_WORDS = {
    r"pictur": "image",
    r"\b(go|goes|going|gone|went) on\b": "resume, continue, keep",
    r"\b(last|best|earlier|sound|whole) states?\b|\bstate of training\b|\bLastState\b": "checkpoint",
    r"\b(a|the|each|every|this|that|by|of|no|all|two|three) measures?\b|\bfor measure\b|\bMeasures\(": "metric",
    r"summarise|summaris": "mean_metrics, summarize",
    r"\bTranslator\b|\btranslat(e|es|ed)\b": "ImageTranslationModule, predict",
    r"recompute": "gradient_checkpointing",
    r"\bgradient_clip\b|\baccumulate=": "gradient_clip_val, accumulate_grad_batches",
    r"(?<!ImageOps\.)\bmirror\b": "hflip",
    r"\bsquash": "resize=stretch",
    r"data\.fit\b": "data.resize",
    r"learning_rate=|model\.learning_rate|beta1=|lr_decay": "model.optimizer, model/scheduler",
    r"surve(y|il)": "scan",
    r"GANHealth|gan_health|EpochMeans|MetricsCSV|\bDivergence\b": "GANMonitor, MeanMetric, TrainingMetrics",
    r"write_whole|alone_in|quieten|forget_peak": "atomic_write, file_lock, silence_lightning, reset_peak_memory",
    r"require_no_way_out|state_named|fitting_named": "a name that tells",
    r"\b[Tt]rouble\b": "PairingError, problem",
    r"beyond[ _]chance": "significant",
    r"\bsettled?\b": "flush, clear",
    r"\bdescend\b": "step",
    r"\blearn(t|ed) by heart": "in both train and test",
    r"\blearnt\b": "learned",
    r"\b\w*(colour|behaviour|neighbour|favour|honour|centre[ds]?\b|centring|labell(?!edby)|modell(ed|ing)|travell)":
        "American",
    r"\bgrey(?![1\"`,\n]| \|)": "gray, but as a kind of image",
    r"\b(initial|normal|optim|minim|maxim|organ|recogn|serial|general|regular|discret|visual|memor|synchron|quant|random|"
    r"standard|util|custom|final|special|equal|vector|categor|parametr|paramet(e)?r|local|central|emphas|synthes|analy)"
    r"(is|s)(e|es|ed|ing|ation|er)\b": "American",
}  # fmt: skip


def test_the_words_are_the_fields() -> None:
    files = [path for part in PARTS for path in [PROJECT / part, *(PROJECT / part).rglob("*")] if path.is_file()]
    files = [path for path in files if path.suffix in SUFFIXES and "__pycache__" not in path.parts]
    assert len(files) > 100
    found = []
    for path in files:
        name, text = path.relative_to(PROJECT).as_posix(), path.read_text(encoding="utf-8")
        for old, new in OLD_WORDS.items() if name != "tests/test_style.py" else ():
            found += [f"{name}: {word!r}, say {new}" for word in {match[0] for match in re.finditer(old, text)}]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("parts", "unknown"),
    [
        ("networks losses metrics", "pytorch_lightning|lightning|hydra|omegaconf"),
        ("networks losses metrics", r"image_translation\.(models|callbacks|runs|loggers|data|training)"),
        ("models", r"image_translation\.(callbacks|runs|loggers)"),
        ("data", r"image_translation\.(models|callbacks|networks)"),
        ("comparison", r"image_translation\.(models|networks|callbacks|data|loggers|training)"),
        ("comparison compare.py", "torch"),
    ],
)
def test_parts_know_only_what_they_should(parts: str, unknown: str) -> None:
    for part in (PACKAGE / name for name in parts.split()):
        files = list(part.rglob("*.py")) if part.is_dir() else [part]
        assert files
        for path in files:
            assert not re.search(rf"^\s*(import|from) ({unknown})", path.read_text(), flags=re.M), path


def test_only_commands_stand_at_the_top() -> None:
    for path in PACKAGE.glob("*.py"):
        assert path.stem in ("__init__", "__main__") or "@command(" in path.read_text(), path
