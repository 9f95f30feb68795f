"""The tables of docs/performance.md, from a result file."""

import re
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def floor(machine: Facts, model: str, batch: int) -> float:
    """Images a second of a step that does nothing but its operations at the best rate measured, or nothing but move
    its operators' bytes, whichever takes longer; between two measured batches both grow evenly."""
    costs, rates = machine["costs"][model], machine["rates"]

    def cost(kind: str) -> float:
        one, eight = float(costs["1"][kind]), float(costs["8"][kind])
        return one + (eight - one) / 7 * (batch - 1)

    fast = float(max(rates["conv_fast"], rates["matmul_fast"]))
    return batch / max(cost("flops") / fast, cost("bytes") / float(rates["bandwidth"]))


def training_table(facts: Facts) -> str:
    rows = []
    for key, found in facts["training"].items():
        model, batch = key.split()
        limit = floor(facts["machine"], model, int(batch))
        spread = f"{min(found['speed_ups']):.2f}–{max(found['speed_ups']):.2f}"
        rows.append([
            key.replace(" ", ", batch "),
            number(found["textbook"]["rate"]),
            number(found["train"]["rate"]),
            f"**{found['speed_up']:.2f}×** ({spread})",
            number(found["bare"]["rate"]),
            f"{1 - found['overhead']:.2f}×",
            f"{found['train'].get('around', found['overhead']):.1%}",
            f"{number(limit)} ({found['bare']['rate'] / limit:.0%})",
            number(found["train"]["peak_mib"]),
            number(found["train"]["start_up_s"]),
            number(found["train"]["epoch_end_s"]),
        ])  # fmt: skip
    head = ["", "textbook", "`train`", "`train` / textbook", "bare loop", "`train` / bare", "Lightning, data, logging"]
    head += ["floor (reached)", "peak MiB", "to first step, s", "epoch's end, s"]
    return table(head, rows)


def described(rounds: dict[str, int]) -> str:
    """How often each part was measured: 3 rounds (scaling, compile: 1)."""
    most = max(rounds.values(), default=0)
    fewer = [f"{name}: {count}" for name, count in rounds.items() if count < most]
    return f"{most} rounds" + (f" ({', '.join(fewer)})" if fewer else "")


def sections(facts: Facts) -> str:
    machine, parts = facts["machine"], []
    rates = {name: rate / (1e9 if name == "bandwidth" else 1e12) for name, rate in machine["rates"].items()}
    fp32 = "TF32" if machine["kind"] == "cuda" else "fp32"
    parts.append(
        f"**{machine['device']}**, torch {machine['torch']}, {machine['precision']}, medians of "
        f"{described(facts['rounds'])}. In that "
        f"precision it did {rates['matmul_fast']:.3g} TFLOP/s in matrix products and {rates['conv_fast']:.3g} in a "
        f"convolution; in {fp32} {rates['matmul_fp32']:.3g} and {rates['conv_fp32']:.3g}; its memory moves "
        f"{rates['bandwidth']:.3g} GB/s.\n"
    )
    if "training" in facts:
        parts += ["Training, 256×256, images a second:\n", training_table(facts)]
    if "pipeline" in facts:
        found = facts["pipeline"]
        names = {name: name if name == "textbook" else f"`data.cache={name}`" for name in found}
        rows = [[names[name], number(rate), f"{rate / found['textbook']:.1f}×"] for name, rate in found.items()]
        parts += [
            "The input pipeline alone (256×256 JPEG, jitter included, two workers, decoded already), pairs a second:\n",
            table(["", "pairs/s", ""], rows),
        ]
    if "inference" in facts:
        rows = [[model, number(found["test"]), number(found["predict"])] for model, found in facts["inference"].items()]
        head = ["", "`evaluate`: measured and saved", "predicted"]
        parts += ["The trained model at work, 256×256, images a second:\n", table(head, rows)]
    if "scaling" in facts:
        rows = []
        for key, found in facts["scaling"]["size"].items():
            model, size = key.split()
            less = facts["scaling"]["gradient_checkpointing"][key]
            batch = 4 if size == "512" else 8
            rows.append([f"{model}, {size}×{size}, batch {batch}", number(found["rate"]), number(found["peak_mib"]),
                         number(less["rate"]), number(less["peak_mib"])])  # fmt: skip
        head = ["bare loop", "images/s", "peak MiB", "`gradient_checkpointing`: images/s", "peak MiB"]
        parts += ["By image size, and with gradient checkpointing:\n", table(head, rows)]
        rows = [[count, number(found["epoch_s"])] for count, found in facts["scaling"]["images"].items()]
        parts += [
            "By the number of images (autoencoder, 64×64, batch 8):\n",
            table(["images", "an epoch, s"], rows),
        ]
    if "compile" in facts:
        rows = [
            [key.replace(" ", ", batch "), mode, number(found["rate"]), f"{found['rate'] / modes['off']['rate']:.2f}×",
             number(found["start_up_s"])]
            for key, modes in facts["compile"].items() for mode, found in modes.items()
        ]  # fmt: skip
        head = ["", "`model.compile`", "images/s", "against off", "to first step, s"]
        parts += ["`torch.compile`, through `train`:\n", table(head, rows)]
    return "\n".join(parts)


def write_report(page: Path, results: Path, facts: Facts) -> None:
    """Put the tables of one device into the page, in place of its earlier ones or at the place for new ones."""
    start, end, place = f"<!-- {results.name} -->", f"<!-- end of {results.name} -->", "<!-- further devices -->"
    block = f"{start}\n{sections(facts)}{end}"
    text = page.read_text()
    if start in text:
        text = re.sub(re.escape(start) + ".*?" + re.escape(end), lambda _: block, text, flags=re.DOTALL)
    else:
        text = text.replace(place, f"{block}\n\n{place}")
    page.write_text(text)
