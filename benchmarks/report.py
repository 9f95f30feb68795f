"""The tables of docs/performance.md, from a result file.

python -m benchmarks.report benchmarks/results/<device>.json
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks import PAGE

Facts = dict[str, Any]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None) -> str:
    if value is None:  # not measured
        return "–"
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
        textbook, train, bare = (found.get(kind, {}) for kind in ("textbook", "train", "bare"))
        limit = (
            floor(facts["machine"], model, int(batch)) if model in facts.get("machine", {}).get("costs", {}) else None
        )
        speed_ups, overhead = found.get("speed_ups"), found.get("overhead")
        around = train.get("around", overhead)
        rows.append([
            key.replace(" ", ", batch "),
            number(textbook.get("rate")),
            number(train.get("rate")),
            f"**{found['speed_up']:.2f}×** ({min(speed_ups):.2f}–{max(speed_ups):.2f})" if speed_ups else "–",
            number(bare.get("rate")),
            "–" if overhead is None else f"{1 - overhead:.2f}×",
            "–" if around is None else f"{around:.1%}",
            f"{number(limit)} ({bare['rate'] / limit:.0%})" if bare and limit else number(limit),
            *(number(train.get(name)) for name in ("peak_mib", "start_up_s", "epoch_end_s", "test_rate")),
        ])  # fmt: skip
    head = ["", "textbook", "`train`", "`train` / textbook", "bare loop", "`train` / bare", "Lightning, data, logging"]
    head += ["floor (reached)", "peak MiB", "to first step, s", "epoch's end, s", "test"]
    return table(head, rows)


def machine_line(facts: Facts) -> str:
    machine = facts["machine"]
    rates = {name: rate / (1e9 if name == "bandwidth" else 1e12) for name, rate in machine["rates"].items()}
    fp32 = "TF32" if machine["kind"] == "cuda" else "fp32"
    rounds = ", ".join(f"{name} {count}" for name, count in facts["rounds"].items())
    return (
        f"**{machine['device']}**, torch {machine['torch']}, {machine['precision']}; rounds: {rounds}. There "
        f"it did {rates['matmul_fast']:.3g} TFLOP/s in matrix products and {rates['conv_fast']:.3g} in a convolution; "
        f"in {fp32} {rates['matmul_fp32']:.3g} and {rates['conv_fp32']:.3g}; its memory moves "
        f"{rates['bandwidth']:.3g} GB/s.\n"
    )


def sections(facts: Facts) -> str:
    parts = [machine_line(facts)] if "machine" in facts else []
    if "training" in facts:
        parts += ["Training, 256×256, images a second:\n", training_table(facts)]
    if facts.get("use"):
        rows = [[name, number(found["network"]), number(found["predict"]), f"{found['share']:.2f}×"]
                for name, found in facts["use"].items()]  # fmt: skip
        head = ["", "network alone", "`predict`, from files to files", "predict / network"]
        parts += ["Use, 256×256, images a second:\n", table(head, rows)]
    if facts.get("compile"):
        rows = []
        for key, modes in facts["compile"].items():
            all_modes = {"off": facts["training"][key]["train"]} | modes
            rows += [[key.replace(" ", ", batch "), mode, number(found["rate"]),
                      f"{found['rate'] / all_modes['off']['rate']:.2f}×", number(found["start_up_s"])]
                     for mode, found in all_modes.items()]  # fmt: skip
        head = ["", "`model.compile`", "images/s", "against off", "to first step, s"]
        parts += ["`torch.compile`, through `train`:\n", table(head, rows)]
    if "checks" in facts:
        rows = [[name, found["problem"] or "passed", number(found["seconds"]),
                 ", ".join(f"{key}: {value}" for key, value in found["facts"].items() if key != "table")]
                for name, found in facts["checks"].items()]  # fmt: skip
        parts += ["`make gpu`:\n", table(["part", "result", "s", "found"], rows)]
        if training := facts["checks"].get("training", {}).get("facts", {}).get("table"):
            parts += ["Its training, 128×128:\n", training]
    return "\n".join(parts)


def write_report(page: Path, results: Path) -> None:
    """Put the tables of one device into the page, in place of its earlier ones or at the place for new ones."""
    start, end, place = f"<!-- {results.name} -->", f"<!-- end of {results.name} -->", "<!-- further devices -->"
    block = f"{start}\n{sections(json.loads(results.read_text()))}{end}"
    text = page.read_text()
    if start in text:
        text = re.sub(re.escape(start) + ".*?" + re.escape(end), lambda _: block, text, flags=re.DOTALL)
    else:
        text = text.replace(place, f"{block}\n\n{place}")
    page.write_text(text)


if __name__ == "__main__":
    write_report(PAGE, Path(sys.argv[1]))
