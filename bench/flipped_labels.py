"""How many wrong labels `orchard validate --labels` finds: 10 % of a source's labels are exchanged, in memory.

.venv/bin/python -m bench.flipped_labels --dataset data/fruits --source shop
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from orchard.reporter import Reporter
from training.data.shards import read_index
from training.model.backend import tensorflow

tensorflow()
from training.model.grouped_photos import MIXTURE, embed_source, group_source  # noqa: E402
from training.model.label_check import FOLDS, suspects_of  # noqa: E402

FLIPPED, LISTED = 0.1, 0.12


def main() -> None:
    """Print recall and precision of the first suspects, once for single photos and once for whole bursts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    index, reporter = read_index(options.dataset), Reporter.silent()
    rows, embeddings = embed_source(options.dataset, options.source, MIXTURE, reporter)
    classes = sorted({row.label for row in rows})
    whole = group_source(rows, embeddings, index, MIXTURE, k=FOLDS)
    print(f"no label exchanged: {len(suspects_of(whole, index, reporter))} of {len(rows)} photos are suspect")
    for name, units in (("photos", np.arange(len(rows))), ("bursts", whole.groups.bursts)):
        for seed in range(options.seeds):
            draw = np.random.default_rng(seed)
            order, steps = draw.permutation(units.max() + 1), draw.integers(1, len(classes), units.max() + 1)
            sizes = np.cumsum(np.bincount(units)[order])
            chosen = order[: np.searchsorted(sizes, FLIPPED * len(rows)) + 1]
            flipped = np.isin(units, chosen)
            wrong = [
                dataclasses.replace(row, label=classes[(classes.index(row.label) + steps[unit]) % len(classes)])
                if bad
                else row
                for row, unit, bad in zip(rows, units, flipped, strict=True)
            ]
            suspects = suspects_of(group_source(wrong, embeddings, index, MIXTURE, k=FOLDS), index, reporter)
            bad = {row.digest for row, is_flipped in zip(rows, flipped, strict=True) if is_flipped}
            top = [suspect.digest in bad for suspect in suspects[: round(LISTED * len(rows))]]
            print(
                f"{name}, seed {seed}: {len(bad)} labels exchanged, {sum(top)} of them ({sum(top) / len(bad):.1%}) in the first "
                f"{LISTED:.0%}, precision {sum(top) / len(top):.1%}; {len(suspects)} suspects in all",
                flush=True,
            )


if __name__ == "__main__":
    main()
