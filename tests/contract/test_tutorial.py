"""Every line of docs/tutorial.md, run in order, with synthetic photos and a short training."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchard.processes import ChildProcess
from tests.serving.programs import free_ports

DATASET = "drawn"
ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```bash([^\n]*)\n(.*?)^```$", flags=re.M | re.S)

# A second terminal becomes a background job that ends with the script, and a wait until it is ready.
TERMINAL = """
({setting}exec {command}) > {name}.log 2>&1 &
jobs_started+=($!)
for attempt in $(seq 300); do {ready} && break; kill -0 $! || {{ cat {name}.log >&2; exit 1; }}; sleep 0.1; done
{ready}
"""
READY = {
    "store": "orchard store env > env.sh 2> store.err",
    "serve": "(exec 3<>/dev/tcp/127.0.0.1/$SERVER_PORT) 2> serve.err",
    "sync": "true",
}


def checkout(folder: Path) -> None:
    """Make a clone with the working tree's files, a short training and this environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train"]["epochs"] = 2
    params["model"]["image_size"] = 32
    params["gate"] = {"photos": {"all": 1}}  # two epochs reach no useful threshold
    params["evaluate"]["baseline"] = False
    params["data"]["name"] = DATASET  # the schema of `fruits` names its 37 classes
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / ".venv").symlink_to(Path(sys.prefix))
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org", "-c", "init.defaultBranch=main"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "clone"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)


def script(document: str, store_port: int) -> str:
    parts = ["set -euo pipefail", "jobs_started=()", "trap 'kill \"${jobs_started[@]}\" 2> kill.err || :; wait' EXIT"]
    for label, block in FENCE.findall(document):
        label = label.strip()
        if label == "photos":
            block = "orchard synthetic drawn --classes 3 --photos 240\nPHOTOS=drawn\n"
        elif label == "photo":
            block = "PHOTO=$(ls drawn/Test/*/* | head -n 1)\n"
        elif label.startswith("terminal="):
            name = label.removeprefix("terminal=")
            setting = "" if name == "store" else 'eval "$(orchard store env)"; '
            command = block.strip().replace("orchard store run", f"orchard store run --port {store_port}")
            block = TERMINAL.format(setting=setting, command=command, name=name, ready=READY[name])
        named = block.replace("/v1/models/fruits", f"/v1/models/{DATASET}")  # a project's name is its model's too
        parts.append(re.sub(r"127\.0\.0\.1:8501", "127.0.0.1:$SERVER_PORT", named))
    return "set -x\n" + "\n".join(parts)


@pytest.mark.timeout(600)
def test_tutorial_works_line_by_line(tmp_path):
    folder = tmp_path / "orchard"
    folder.mkdir()
    checkout(folder)
    port = free_ports()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
        "SERVER_PORT": str(port),
        "ORCHARD_SERVER_URL": f"http://127.0.0.1:{port}",
        "GIT_AUTHOR_NAME": "reader",
        "GIT_AUTHOR_EMAIL": "reader@example.org",
        "GIT_COMMITTER_NAME": "reader",
        "GIT_COMMITTER_EMAIL": "reader@example.org",
    }
    (tmp_path / "tutorial.sh").write_text(script((ROOT / "docs/tutorial.md").read_text(), free_ports()))

    with ChildProcess(
        ["bash", str(tmp_path / "tutorial.sh")], environment=environment, log=tmp_path / "log", cwd=folder
    ) as child:
        code = child.wait()

    assert code == 0, child.tail(60)
