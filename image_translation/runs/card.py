"""The model card of a run: its README.md, after the conventions of the Hugging Face Hub."""

from pathlib import Path
from typing import Any

import yaml

from image_translation.cli.console import rounded
from image_translation.cli.pages import render
from image_translation.metrics.names import BASELINES, HIGHER_IS_BETTER, SHARPNESS, title
from image_translation.runs.files import read_json, write_text
from image_translation.runs.folder import CARD, RESULTS_IMAGE, read_config, read_manifest

UNKNOWN_LICENSE = "other"  # choose one before you publish a model; that of the images counts too


def write_card(folder: Path) -> None:
    """Write what a finished run's model is, how well it does and how it is used."""
    facts, config = read_manifest(folder), read_config(folder)
    path = folder / "test" / "metrics.json"
    scores: dict[str, float] = read_json(path) if path.exists() else {}
    metrics = [metric for metric in (*HIGHER_IS_BETTER, SHARPNESS) if f"test/{metric}" in scores or metric in scores]
    rows = {}
    for name, prefix in ((facts["model"], "test"), *((baseline, baseline) for baseline in BASELINES)):
        own = scores if prefix == "test" else {}  # what is no metric of a split has no prefix
        values = [scores.get(f"{prefix}/{metric}", own.get(metric)) for metric in metrics]
        if cells := [rounded(value) for value in values if value is not None]:
            rows[name] = cells
    text = render(
        "card.md.j2", facts=facts, front=yaml.safe_dump(front_matter(facts), sort_keys=False),
        headings=[title(metric) for metric in metrics], rows=rows, has_image=(folder / RESULTS_IMAGE).exists(),
        image_size=config.data.image_size, derive=(config.data.derive or {}).get("_target_"),
    )  # fmt: skip
    write_text(folder / CARD, text)


def front_matter(facts: dict[str, Any]) -> dict[str, Any]:
    """What the Hub reads: the kind of model, and its test metrics."""
    task = {"type": "image-to-image", "name": "Paired image-to-image translation"}
    dataset = {"type": facts["task"], "name": facts["task"], "split": "test"}
    metrics = [
        {"type": name, "name": title(name)[:-2], "value": round(value, 4)}
        for name, value in facts.get("test", {}).items()
        if name in HIGHER_IS_BETTER
    ]
    return {
        "license": UNKNOWN_LICENSE,
        "library_name": "image_translation",
        "pipeline_tag": "image-to-image",
        "tags": ["image_translation", "pytorch-lightning", facts["task"], facts["model"]],
        "model-index": [
            {
                "name": f"{facts['task']}_{facts['model']}",
                "results": [{"task": task, "dataset": dataset, "metrics": metrics}],
            }
        ],
    }
