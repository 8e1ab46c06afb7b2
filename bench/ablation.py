"""What each part of the profile `transfer` is worth: one part is left out at a time, by `dvc exp`.

    python -m bench.ablation --dataset data/fruits --folder build/ablation      # an hour on two idle cores

The trainings are short (128 pixels, four epochs, a fiftieth of the turntable photos), so read the differences and not the
level. Each is judged on the same folds of whole groups, never on test or validation photos. The folder becomes a DVC
project of its own; a run that was interrupted continues there, and `dvc exp show` in it shows the same table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from orchard.formatting import accuracy_text
from orchard.reporter import Reporter

PROFILE = "params.transfer.yaml"
RESULT = "ablation.json"
SHORT = ("model.image_size=128", "train.sizes=[128]", "train.epochs=4", "train.repeat={shop: 1, turntable: 0.02}")
WHOLE = "all-parts"
VARIANTS = {
    WHOLE: (),
    "no-fine-tuning": ("train.epochs=0",),
    "stretched": ("model.resize=stretch",),
    "no-crops": ("train.augmentation.zoom_in=1", "train.augmentation.shift=0", "train.augmentation.rotation=0"),
    "no-light": ("train.augmentation.brightness=0", "train.augmentation.colour=0", "train.augmentation.gamma=0"),
    "no-backgrounds": ("train.augmentation.background=0", "train.augmentation.paste=0"),
    "no-patches": ("train.augmentation.patch=0",),
    "no-smoothing": ("train.label_smoothing=0",),
    "no-averaging": ("train.averaging=0",),
    "one-rate": ("train.optimizer.stem_rate=1",),
    "refit": ("train.refit=true",),
}
"""What is changed of the short training, by the experiment's name."""


def prepare(folder: Path, dataset: Path, folds: list[int]) -> None:
    """Make the folder a DVC project whose one stage cross-validates the profile; one that exists is kept."""
    if (folder / "dvc.yaml").exists():
        return
    (folder / "data").mkdir(parents=True)
    (folder / "data" / dataset.name).symlink_to(dataset.resolve(), target_is_directory=True)
    shutil.copy("params.yaml", folder)
    profile = yaml.safe_load(Path(PROFILE).read_text("utf-8"))
    profile["data"] = {"name": dataset.name}
    profile["train"].setdefault("refit", False)  # `dvc exp` changes keys that are there
    (folder / PROFILE).write_text(yaml.safe_dump(profile), "utf-8")
    only = " ".join(f"--fold {fold}" for fold in folds)
    stage = {
        "cmd": f"orchard cross-validate --profile transfer --source shop --train {only} --json > {RESULT}",
        "params": [{PROFILE: ["model", "train"]}],
        "metrics": [{RESULT: {"cache": False}}],
    }
    (folder / ".gitignore").write_text("/data\n/.orchard\n", "utf-8")
    for command in (
        ["git", "init", "--quiet"],
        ["dvc", "init", "--quiet"],
        ["dvc", "config", "core.autostage", "true"],
    ):
        execute(folder, command)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"ablation": stage}}), "utf-8")
    execute(folder, ["git", "add", "--all"])
    execute(
        folder, ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "--quiet", "-m", "start"]
    )


def execute(folder: Path, command: list[str]) -> str:
    """Run a command in the folder and return its output; its errors are shown as they come."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=7200
    )
    return done.stdout


def finished(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the figures of the experiments that ended, by name, as `dvc exp show` has them."""
    shown = json.loads(execute(folder, ["dvc", "exp", "show", "--json"]))
    experiments = [one for commit in shown for one in commit.get("experiments") or []]
    found = {one["name"]: one["revs"][-1]["data"] for one in experiments if one.get("revs")}
    return {name: data["metrics"][RESULT]["data"] for name, data in found.items() if data and data.get("metrics")}


def run_experiment(folder: Path, name: str) -> None:
    """Run one experiment; the profile first loses the changes of the one before."""
    changes = [part for change in (*SHORT, *VARIANTS[name]) for part in ("-S", f"{PROFILE}:{change}")]
    execute(folder, ["git", "checkout", "--quiet", "--", PROFILE])
    execute(folder, ["dvc", "exp", "run", "--name", name, *changes])


def main() -> None:
    """Run the experiments that are missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="a dataset's folder, with the source `shop`")
    parser.add_argument("--folder", type=Path, required=True, help="where the experiments are kept")
    parser.add_argument("--fold", type=int, action="append", help="a fold that judges; may be repeated  [default: 0]")
    parser.add_argument("--only", choices=VARIANTS, action="append", help="only this experiment; may be repeated")
    options = parser.parse_args()
    reporter = Reporter()
    prepare(options.folder, options.dataset, options.fold or [0])
    before = finished(options.folder)
    for name in options.only or VARIANTS:
        if name not in before:
            reporter.note(f"experiment {name}")
            run_experiment(options.folder, name)
    figures = finished(options.folder)
    base = figures[WHOLE]["correct"] if WHOLE in figures else 0
    rows = [
        [
            name,
            f"{one['correct']} of {one['n']}",
            accuracy_text(one["correct"], one["n"]),
            f"{one['correct'] - base:+d}",
        ]
        for name in VARIANTS
        if (one := figures.get(name))
    ]
    print(reporter.table(["experiment", "right", "accuracy (95 % interval)", f"against {WHOLE}"], rows))


if __name__ == "__main__":
    main()
