"""Photos in shards against loose photos, through DVC: push, pull, and the bytes pushed for 1 % new photos.

    python -m bench.data --rounds 3
    python -m bench.data --photos 3000 --rounds 5      # minutes

Three candidates in every round, all against one embedded store, each run in its own process, start included: `dvc` on a
folder of loose photos, `dvc` on the folder of shards, and Orchard (`orchard pull`; the push of `orchard ingest`), which
hashes every byte once more. Every push goes to an empty bucket, every pull to an empty folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from bench.processor import machine
from bench.rounds import Contender, Threshold, judge, measure
from bench.stack import ROOT, bucket_settings, make_bucket, run_python
from orchard.reporter import Reporter
from orchard.settings import Settings
from orchard.store import open_store
from orchard.store.embedded import EmbeddedStore
from training.data import dvc_project, synthetic
from training.data.shards import iterate, read_index

PULL = Threshold("pull of all photos, Orchard against loose photos", 6)
PUSH = Threshold("push of all photos, Orchard against loose photos", 4)
GROWTH = Threshold("bytes pushed for 1 % new photos, against their own", 1.3, maximum=True)
NAME = "bench"  # data/schema.yaml lists no classes for it: any are valid
ARCHIVES = ("fruits.tar.gz", "shop.tar.gz")
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png"}
LOOSE, SHARDS, ORCHARD = "loose, dvc", "shards, dvc", "shards, orchard"
PUSH_CODE = "import sys; from pathlib import Path; from training.data.dvc_tracking import push; push(Path(sys.argv[1]))"


@dataclass(frozen=True, slots=True)
class DataBench:
    """The shared state of all runs: a scratch folder and a running store."""

    scratch: Path
    store: EmbeddedStore

    def run(self, folder: Path, bucket: str, *arguments: str) -> str:
        """Run Python in a folder, with the store in its environment; returns its output."""
        environment = {
            **self.store.environment,
            "ORCHARD_STORE_URL": f"s3://{bucket}",
            "ORCHARD_DATASET": NAME,
            "DVC_SITE_CACHE_DIR": str(folder / ".site"),
        }
        return run_python(*arguments, folder=folder, environment=environment)


def unpack(data: Path, folder: Path, limit: int | None) -> list[Path]:
    """Write photos as ``<source>/<split>/<class>/<photo>``; returns them. Synthetic ones if there are no `ARCHIVES`."""
    archives = [path for path in (data / name for name in ARCHIVES) if path.exists()]
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(folder / archive.name.split(".")[0], filter="data")
    if not archives:
        print(f"{data} has neither {' nor '.join(ARCHIVES)}: using synthetic photos")
        synthetic.generate(folder / "synthetic", count=20, photos=min(limit or 10_000, 13_000) // 20 * 20, seed=0)
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if limit is not None and limit < len(photos):
        selected = {photos[i * len(photos) // limit] for i in range(limit)}
        for path in photos:
            if path not in selected:
                path.unlink()
        photos = sorted(selected)
    return photos


def ingest(bench: DataBench, folder: Path, bucket: str, source: Path) -> dict[str, object]:
    """Ingest every source below a folder, released to a bucket; returns the verb's JSON result."""
    roots = [str(path) for path in sorted(source.iterdir())]
    output = bench.run(
        folder, bucket, "-m", "orchard", "ingest", *roots, "--schema", str(ROOT / "data/schema.yaml"), "--json"
    )
    document: dict[str, object] = json.loads(output)
    return document


def init_project(folder: Path, settings: Settings) -> None:
    """Make a folder a DVC project without git, with a bucket as its remote."""
    dvc_project.init(folder)
    (folder / ".dvc/config.local").write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    dvc_project.remote(folder, settings)


def make_projects(bench: DataBench, photos: Path, shards: Path) -> dict[str, Path]:
    """Make three projects that track the data: one with loose photos, two with the shards."""
    projects = {name: bench.scratch / f"push-{i}" for i, name in enumerate((LOOSE, SHARDS, ORCHARD))}
    for name, folder in projects.items():
        init_project(folder, bucket_settings(bench.store, "unused"))
        shutil.copytree(photos if name == LOOSE else shards, folder / "data" / NAME)
        bench.run(folder, "unused", "-m", "dvc", "add", "-q", f"data/{NAME}")
    return projects


def push_contenders(bench: DataBench, projects: Mapping[str, Path], last: dict[str, str]) -> list[Contender]:
    """The contenders for the push; `last` gets the bucket that each one filled last."""

    def contender(name: str) -> Contender:
        folder = projects[name]

        def prepare() -> None:
            last[name] = make_bucket(bench.store)[0]
            dvc_project.remote(folder, bucket_settings(bench.store, last[name]))
            for cache in (".site", ".dvc/tmp"):
                shutil.rmtree(folder / cache, ignore_errors=True)

        def run() -> None:
            ours = ("-c", PUSH_CODE, f"data/{NAME}")
            bench.run(folder, last[name], *(ours if name == ORCHARD else ("-m", "dvc", "push", "-q")))

        return Contender(name, run, prepare)

    return [contender(name) for name in projects]


def pull_contenders(bench: DataBench, projects: Mapping[str, Path], buckets: Mapping[str, str]) -> list[Contender]:
    """The contenders for the pull of all photos, each from the bucket with its format."""

    def contender(name: str) -> Contender:
        folder = bench.scratch / "pull"

        def prepare() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if name != ORCHARD:
                init_project(folder, bucket_settings(bench.store, buckets[name]))
                (folder / "data").mkdir()
                shutil.copy(projects[name] / f"data/{NAME}.dvc", folder / "data")

        def run() -> None:
            bench.run(folder, buckets[name], "-m", *(("orchard", "pull") if name == ORCHARD else ("dvc", "pull", "-q")))
            count = sum(1 for path in (folder / "data" / NAME).rglob("*") if path.is_file())
            expected = sum(1 for path in (projects[name] / "data" / NAME).rglob("*") if path.is_file())
            assert count == expected, f"{name}: {count} files, expected {expected}"

        return Contender(name, run, prepare)

    return [contender(name) for name in projects]


def growth(bench: DataBench, folder: Path, bucket: str, new: Path) -> float:
    """Ingest new photos on top; returns the bytes pushed to the store per byte of the new photos."""
    store = open_store(bucket_settings(bench.store, bucket))
    before = {stat.key for stat in store.list("dvc")}
    shards = {shard.path for shard in read_index(folder / "data" / NAME).shards}
    result = ingest(bench, folder, bucket, new)
    pushed = sum(stat.size for stat in store.list("dvc") if stat.key not in before)
    old = sum(shard.rows for shard in read_index(folder / "data" / NAME).shards if shard.path in shards)
    batches = iterate(folder / "data" / NAME, columns=["image.bytes"])
    sizes = [size for batch in batches for size in pc.binary_length(batch["image"].field("bytes")).to_pylist()]
    own = sum(sizes[old:])
    print(f"added {result['added']} photos of {own / 1e6:.2f} MB; pushed {pushed / 1e6:.2f} MB to the store")
    return float(pushed) / float(own)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, help="maximum number of photos, spread over all classes")
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help=f"folder of {' and '.join(ARCHIVES)}"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="orchard-bench-") as name, EmbeddedStore(Path(name) / "store") as store:
        return _measure(DataBench(Path(name), store), options)


def _measure(bench: DataBench, options: argparse.Namespace) -> int:
    source, new, workspace = bench.scratch / "photos", bench.scratch / "new", bench.scratch / "workspace"
    photos = unpack(options.data, source, options.photos)
    workspace.mkdir()
    for path in photos[50::100]:
        target = new / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    published = make_bucket(bench.store)[0]
    ingest(bench, workspace, published, source)
    print(f"{machine()}; {len(photos)} photos, {len(photos[50::100])} of them new at the end", flush=True)
    projects = make_projects(bench, source, workspace / "data" / NAME)
    filled: dict[str, str] = {}
    tables = {
        PUSH: measure(push_contenders(bench, projects, filled), options.rounds, Reporter()),
        PULL: measure(pull_contenders(bench, projects, filled | {ORCHARD: published}), options.rounds, Reporter()),
    }
    ratio = growth(bench, workspace, published, new)
    reached = []
    for threshold, table in tables.items():
        print(f"\n{threshold.what.split(',')[0]}\n{table.text(LOOSE)}")
        reached.append(judge(threshold, table.ratios(ORCHARD, LOOSE)))
    print()
    reached.append(judge(GROWTH, [ratio]))
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
