"""Every call of Kubernetes' API, and every program that may hang, has a timeout."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [f"{folder}/*.py" for folder in ("orchard", "training", "serving", "orchestration", "bench", "scripts")]
BOUNDED = "orchestration/cluster"
"""Its APIs come from `connect`, whose client gives every request a timeout (tests/orchestration/test_kube_client.py)."""

_API_CLASS = re.compile(r"(Api|[A-Z][A-Za-z]*V\d[A-Za-z0-9]*Api|Watch)")
_API_METHOD = re.compile(
    r"(list|read|create|patch|delete|replace|connect)_\w*(namespaced|node|cluster|persistent_volume)\w*"
)
_WAITING = {"run", "check_output", "check_call", "call", "communicate"}


def calls(*patterns: str) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield every call in the tracked modules: the module's path, the last part of the function's name, the call."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, listed):
        if not (ROOT / name).is_file():
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(node, ast.Call):
                function = node.func
                last = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                yield name, last, node


def without(keyword: str, node: ast.Call) -> bool:
    return keyword not in {item.arg for item in node.keywords}


def test_only_the_bounded_client_is_given_to_an_api():
    found = [(name, node) for name, last, node in calls(*PROGRAMS) if _API_CLASS.fullmatch(last)]

    assert {name for name, _ in found} == {f"{BOUNDED}/kube_client.py"}
    for name, node in found:
        assert [ast.unparse(argument) for argument in node.args] == ["api"], f"{name}:{node.lineno}"


def test_every_other_call_of_the_api_names_its_timeout():
    found = [(name, node) for name, last, node in calls(*PROGRAMS) if _API_METHOD.fullmatch(last)]

    assert len(found) > 10
    for name, node in found:
        assert name.startswith(BOUNDED) or not without("_request_timeout", node), f"{name}:{node.lineno}"


def test_every_stream_of_the_api_names_its_window():
    streams = [node for _, _, node in calls("orchestration/*.py") if not without("_preload_content", node)]

    assert streams
    assert not [node.lineno for node in streams if without("_request_timeout", node)]


def test_every_program_that_is_waited_for_has_a_timeout():
    waiting = [
        (name, node)
        for name, last, node in calls("orchestration/*.py", "tests/e2e/*.py")
        if last in _WAITING and ast.unparse(node.func).startswith(("subprocess.", "process."))
    ]

    assert waiting
    for name, node in waiting:
        assert not without("timeout", node), f"{name}:{node.lineno}"
