"""Which runs are compared, and what is said of the others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import make_run

from image_translation.cli.errors import UserError
from image_translation.comparison.collect import Collection, collect, find_runs


def labels(collection: Collection, task: int = 0) -> dict[str, list[int]]:
    return {column.label: [run.seed for run in column.runs] for column in collection.sections[task].trained}


def reasons(collection: Collection) -> dict[str, str]:
    return {excluded.folder.name: excluded.reason for excluded in collection.excluded}


def test_runs_are_found_at_any_depth_and_grouped(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs" / "comic" / "pix2pix" / "a", seed=0)
    make_run(tmp_path / "multirun" / "x" / "0", seed=1)
    make_run(tmp_path / "multirun" / "x" / "1", model="autoencoder")
    make_run(tmp_path / "deep" / "er" / "monet", task="monet", model="autoencoder")
    found = collect([tmp_path])
    assert [section.task for section in found.sections] == ["comic", "monet"]
    assert labels(found) == {"autoencoder": [0], "pix2pix": [0, 1]}
    assert labels(found, 1) == {"autoencoder": [0]}
    assert [section.columns[-1].label for section in found.sections] == ["identity", "identity"]
    assert not found.excluded


def test_nothing_inside_a_run_is_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shutil.copytree(run, tmp_path / "run" / "copy")
    assert find_runs([tmp_path]) == [tmp_path / "run"]


def test_options_make_columns_and_by_pools_the_others(tmp_path: Path) -> None:
    for index, (loss, weight) in enumerate([("bce", 100), ("bce", 10), ("hinge", 100), ("hinge", 10)]):
        make_run(tmp_path / str(index), options={"model.gan_loss": loss, "model.lambda_l1": weight})
    every = collect([tmp_path])
    assert set(labels(every)) == {
        f"pix2pix (gan_loss={loss}, lambda_l1={weight})" for loss in ("bce", "hinge") for weight in (10, 100)
    }
    pooled = collect([tmp_path], by=["model.gan_loss"])
    assert {label: len(seeds) for label, seeds in labels(pooled).items()} == {
        "pix2pix (gan_loss=bce)": 2, "pix2pix (gan_loss=hinge)": 2,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"model\.gan_los.*Did you mean 'model\.gan_loss'"):
        collect([tmp_path], by=["model.gan_los"])


def test_options_without_effect_make_no_columns(tmp_path: Path) -> None:
    make_run(tmp_path / "0", seed=0)
    make_run(tmp_path / "1", seed=1, options={"data.root": "elsewhere", "trainer.accelerator": "gpu"})
    assert labels(collect([tmp_path])) == {"pix2pix": [0, 1]}


def test_auto_is_what_it_was_for_each_run(tmp_path: Path) -> None:
    """Seeds that ran in another precision, or in other batches, share no column."""
    for seed, (precision, batch) in enumerate([("32-true", 4), ("bf16-mixed", 4), ("32-true", 8), ("32-true", 4)]):
        run = make_run(tmp_path / str(seed), seed=seed,
                       options={"trainer.precision": "auto", "data.batch_size": "auto"})  # fmt: skip
        manifest = json.loads((run / "run.json").read_text()) | {"precision": precision, "batch_size": batch}
        (run / "run.json").write_text(json.dumps(manifest))
    assert sorted(labels(collect([tmp_path])).values()) == [[0, 3], [1], [2]]


def test_of_a_run_made_twice_the_later_one_counts(tmp_path: Path) -> None:
    make_run(tmp_path / "0")
    later = make_run(tmp_path / "1", noise=30)
    manifest = json.loads((later / "run.json").read_text()) | {"started": "2026-02-01T00:00:00"}
    (later / "run.json").write_text(json.dumps(manifest))
    found = collect([tmp_path])
    assert [run.folder.name for run in found.sections[0].trained[0].runs] == ["1"]
    assert "made again" in reasons(found)["0"]


@pytest.mark.parametrize(
    ("unlike", "reason"),
    [
        ({"fingerprint": "b" * 64}, "data fingerprint bbbbbbbbbbbb instead of aaaaaaaaaaaa"),
        ({"side": 64}, "image size 64 instead of 32"),
        ({"count": 9}, "test images 9 of 9 instead of 12 of 12"),
        ({"options": {"data.resize": "stretch"}}, "resize stretch instead of crop"),
    ],
)
def test_unlike_runs_never_share_a_column(unlike: dict[str, object], reason: str, tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=0)
    make_run(tmp_path / "b", seed=1)
    make_run(tmp_path / "c", model="autoencoder", **unlike)  # type: ignore[arg-type]
    found = collect([tmp_path])
    assert labels(found) == {"pix2pix": [0, 1]}
    assert reason in reasons(found)["c"]
    assert found.excluded[0].run is not None  # its own numbers are shown apart


def test_other_inputs_are_noticed_whatever_the_options_say(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path / str(seed), seed=seed)
    other = make_run(tmp_path / "other", model="autoencoder")
    csv = (other / "test" / "identity.csv").read_text().splitlines()
    edited = [csv[0]] + [f"{line.split(',')[0]},650.25,20.0,0.5" for line in csv[1:]]  # consistent, but not the inputs
    (other / "test" / "identity.csv").write_text("\n".join(edited) + "\n")
    metrics = json.loads((other / "test" / "metrics.json").read_text())
    metrics |= {"identity/mse": 650.25, "identity/psnr": 20.0, "identity/ssim": 0.5}
    (other / "test" / "metrics.json").write_text(json.dumps(metrics))
    assert "inputs and targets are others" in reasons(collect([tmp_path]))["other"]


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_unfinished_runs_are_named(status: str, tmp_path: Path) -> None:
    make_run(tmp_path / "good")
    make_run(tmp_path / "bad", seed=1, status=status)
    found = collect([tmp_path])
    assert labels(found) == {"pix2pix": [0]}
    expected = {
        "failed": "failed: the disk is full",
        "interrupted": "interrupted.",
        "running": "interrupted without a word",
    }
    assert reasons(found)["bad"].startswith(expected[status])


def edit(path: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / path).write_text(change((run / path).read_text()))

    return damage


def remove(path: str) -> Callable[[Path], None]:
    return lambda run: (run / path).unlink()


DAMAGE = {
    "run.json removed": (remove("run.json"), "run.json"),
    "run.json truncated": (edit("run.json", lambda text: text[:100]), "run.json"),
    "run.json no object": (edit("run.json", lambda _: "[1]"), "run.json"),
    "run.json without data": (edit("run.json", lambda text: text.replace('"data"', '"date"')), "run.json"),
    "run.json seed a word": (edit("run.json", lambda text: text.replace('"seed": 1', '"seed": "x"')), "run.json"),
    "config removed": (remove(".hydra/config.yaml"), "config.yaml"),
    "config no yaml": (edit(".hydra/config.yaml", lambda _: "a: [1"), "config.yaml"),
    "config cut": (edit(".hydra/config.yaml", lambda text: text[:20]), "config.yaml"),
    "metrics.json removed": (remove("test/metrics.json"), "test/metrics.json"),
    "metrics.json truncated": (edit("test/metrics.json", lambda text: text[:30]), "test/metrics.json"),
    "metrics.json edited": (
        lambda run: (run / "test" / "metrics.json").write_text(
            json.dumps(json.loads((run / "test" / "metrics.json").read_text()) | {"test/psnr": 40.0})
        ),
        "test/psnr = 40.0",
    ),
    "metrics.json not finite": (
        lambda run: (run / "test" / "metrics.json").write_text(
            json.dumps(json.loads((run / "test" / "metrics.json").read_text()) | {"test/mse": float("nan")})
        ),
        "test/metrics.json",
    ),
    "per_image.csv removed": (remove("test/per_image.csv"), "test/per_image.csv"),
    "per_image.csv cut in a row": (edit("test/per_image.csv", lambda text: text[:-8]), "its end is missing"),
    "per_image.csv cut at a row": (
        edit("test/per_image.csv", lambda text: "\n".join(text.splitlines()[:-2]) + "\n"), "test/identity.csv",
    ),
    "per_image.csv one score edited": (
        edit("test/per_image.csv", lambda text: text.replace(text.splitlines()[3].split(",")[2], "39.5")), "p002",
    ),
    "per_image.csv empty": (edit("test/per_image.csv", lambda _: ""), "test/per_image.csv"),
    "per_image.csv header only": (edit("test/per_image.csv", lambda text: text.splitlines()[0]), "test/per_image.csv"),
    "per_image.csv a row twice": (
        edit("test/per_image.csv", lambda text: text + text.splitlines()[1] + "\n"), "test/per_image.csv",
    ),
    "per_image.csv binary": (
        lambda run: (run / "test" / "per_image.csv").write_bytes(b"\xff\xfe\x00name"), "test/per_image.csv",
    ),
    "identity.csv removed": (remove("test/identity.csv"), "test/identity.csv"),
    "per_image.csv infinite": (
        edit("test/per_image.csv", lambda text: text.replace(text.splitlines()[1].split(",")[1], "inf")), "p000",
    ),
    "per_image.csv a path": (edit("test/per_image.csv", lambda text: text.replace("p000", "/etc/p000")), "/etc/p000"),
    "run.json endless number": (edit("run.json", lambda text: text.replace('"seed": 1', '"seed": ' + "9" * 5000)), ""),
    "run.json seed true": (edit("run.json", lambda text: text.replace('"seed": 1', '"seed": true')), "run.json"),
    "run.json other seed": (edit("run.json", lambda text: text.replace('"seed": 1', '"seed": 5')), "seed 5"),
    "metrics.json endless number": (
        lambda run: (run / "test" / "metrics.json").write_text('{"test/mse": ' + "9" * 400 + "}"), "test/metrics.json",
    ),
    "metrics.json deep": (lambda run: (run / "test" / "metrics.json").write_text("[" * 100_000), ""),
    "run.json deep": (edit("run.json", lambda _: "[" * 100_000), ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run_is_named_and_the_rest_compared(kind: str, tmp_path: Path) -> None:
    make_run(tmp_path / "good")
    bad = make_run(tmp_path / "bad", seed=1, train=5.0)
    assert labels(collect([tmp_path])) == {"pix2pix": [0, 1]}
    damage, named = DAMAGE[kind]
    damage(bad)
    found = collect([tmp_path])
    assert labels(found) == {"pix2pix": [0]}
    assert named in reasons(found)["bad"]


def test_a_run_without_scores_of_identity_is_told_how_to_get_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "old")
    (run / "test" / "identity.csv").unlink()
    assert f"image_translation.evaluate run={run}" in reasons(collect([tmp_path]))["old"]
    shutil.copytree(run / "test", run / "evaluate" / "test")
    shutil.copy(make_run(tmp_path / "new" / "x", seed=1) / "test" / "identity.csv", run / "evaluate" / "test")
    assert labels(collect([tmp_path])) == {"pix2pix": [0, 1]}


PARTS = {
    "no curve": (remove("metrics.csv"), "metrics.csv is missing"),
    "metrics.csv no numbers": (edit("metrics.csv", lambda text: text.replace("10", "ten")), "metrics.csv is damaged"),
    "train metrics truncated": (edit("evaluate/train/metrics.json", lambda text: text[:9]), "train/metrics.json"),
    "train metrics edited": (
        edit("evaluate/train/metrics.json", lambda text: text.replace('"train/ssim": 0', '"train/ssim": 17')),
        "evaluate/train is left out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PARTS)
def test_of_a_run_with_sound_test_results_only_the_damaged_part_is_left_out(kind: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", train=5.0)
    damage, named = PARTS[kind]
    damage(run)
    (found,) = collect([tmp_path]).sections[0].trained[0].runs
    (note,) = found.notes
    assert named in note
    assert bool(found.train) == ("train" not in kind)
    assert bool(found.curves) == ("curve" not in kind and "csv" not in kind)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    run = make_run(tmp_path / "elsewhere" / "run")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "link").symlink_to(run)
    (tmp_path / "outputs" / "circle").symlink_to(tmp_path / "outputs")
    assert labels(collect([tmp_path / "outputs"])) == {"pix2pix": [0]}
    assert labels(collect([tmp_path])) == {"pix2pix": [0]}  # once, though there are two ways to it


def test_a_stray_file_hides_no_runs(tmp_path: Path) -> None:
    make_run(tmp_path / "sweep" / "0")
    (tmp_path / "sweep" / "run.json").write_text("{}")
    found = collect([tmp_path])
    assert labels(found) == {"pix2pix": [0]}
    assert "run.json is damaged" in reasons(found)["sweep"]


def test_a_copy_is_not_another_seed(tmp_path: Path) -> None:
    shutil.copytree(make_run(tmp_path / "a"), tmp_path / "b")
    for name in ("run.json", ".hydra/config.yaml"):
        text = (tmp_path / "b" / name).read_text()
        (tmp_path / "b" / name).write_text(text.replace('"seed": 0', '"seed": 1').replace("seed: 0", "seed: 1"))
    found = collect([tmp_path])
    assert len(labels(found)["pix2pix"]) == 1
    assert "a copy, not another seed" in reasons(found)["b"]


def test_runs_with_two_kinds_of_input_are_both_named(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    other = make_run(tmp_path / "b", model="autoencoder")
    for file in ("identity.csv", "metrics.json"):
        text = (other / "test" / file).read_text()
        metrics = json.loads(text) if file.endswith("json") else None
        if metrics:
            metrics |= {"identity/mse": 650.25, "identity/psnr": 20.0, "identity/ssim": 0.5}
            (other / "test" / file).write_text(json.dumps(metrics))
        else:
            lines = text.splitlines()
            edited = [f"{line.split(',')[0]},650.25,20.0,0.5" for line in lines[1:]]
            (other / "test" / file).write_text("\n".join([lines[0], *edited]) + "\n")
    found = collect([tmp_path])
    assert len(found.sections[0].trained) == 1
    assert len(found.excluded) == 1


def test_the_checkpoint_that_is_tested_makes_another_experiment(tmp_path: Path) -> None:
    for index, monitor in enumerate(("val/psnr", "val/ssim")):
        make_run(tmp_path / f"monitor{index}", options={"trainer.devices": 1 + index})
        config = tmp_path / f"monitor{index}" / ".hydra" / "config.yaml"
        config.write_text(config.read_text() + f"callbacks:\n  best:\n    monitor: {monitor}\n")
    found = collect([tmp_path])
    assert set(labels(found)) == {"pix2pix (monitor=val/psnr, devices=1)", "pix2pix (monitor=val/ssim, devices=2)"}
    assert not found.excluded


def test_a_seed_from_the_surroundings_is_the_manifests(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seed=3)
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 3", "seed: ${oc.decode:${oc.env:SLURM_ARRAY_TASK_ID}}"))
    assert labels(collect([tmp_path])) == {"pix2pix": [3]}
