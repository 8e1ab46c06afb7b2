"""`orchard console` as a real process, and a loop for it to show: versions, channels, a run, what sync refuses."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from orchard.registry.cards import ModelCard, keep_card
from orchard.registry.channel_weights import set_weight
from orchard.registry.channels import ChangeIntent
from orchard.runs import records
from orchard.signing import create_pair
from serving.models_config import All, ModelConfig, render
from tests.serving.model_registry import ENVIRONMENT, MODEL, ServedRegistry
from tests.serving.programs import Program, Serve

__all__ = ["MARKUP", "Console", "empty_environment", "publish_loop", "serve_named"]

MARKUP = "<script>alert(1)</script>"
CARD = ModelCard(f"<!doctype html><title>card</title><p>A card {MARKUP}".encode(), b"# card")
_RUN = "import sys; from orchard.cli import main; from serving.cli.console import console; sys.exit(main(sys.argv[1:], console))"


class Console(Program):
    """`orchard console` on a free port."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *options: str) -> None:
        super().__init__("console", "--port", "0", *options, log=folder / "console.log", environment=environment)

    def command(self, verb: str) -> list[str]:
        return [sys.executable, "-c", _RUN]  # it works before `make setup` has registered the verb, too

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def empty_environment(folder: Path) -> dict[str, str]:
    """The settings of an empty store in the console's own memory."""
    keys = create_pair(folder / "keys")
    return {
        **ENVIRONMENT,
        "ORCHARD_ENV_FILE": "none",
        "ORCHARD_STORE_URL": "memory://",
        "ORCHARD_TRUSTED_KEYS_FILE": str(keys.public),
        "ORCHARD_MODEL": MODEL,
    }


def serve_named(zoo: Path, folder: Path) -> Serve:
    """A server of versions 1 (stable) and 2 (canary) of a model that names classes, is unsure, and explains itself."""
    (folder / MODEL).mkdir(parents=True)
    for version in ("1", "2"):
        (folder / MODEL / version).symlink_to(zoo / "photos" / "named")
    config = ModelConfig(MODEL, str(folder / MODEL), All(), labels={"stable": 1, "canary": 2})
    (folder / "models.config").write_text(render([config]))
    return Serve(folder / "models.config", folder / "serve.log", ENVIRONMENT, "--max-body", "2", wait=False)


def publish_loop(registry: ServedRegistry) -> None:
    """Publish three versions, promote them, and begin a run; what people write contains markup. sync refuses version 3."""
    metrics = {"shop.n": 40.0, "shop.class.Red.n": 20.0}
    for number, correct in ((1, 12.0), (2, 19.0)):
        registry.publish(
            "named",
            metrics={**metrics, "shop.accuracy": (correct + 18) / 40, "shop.class.Red.correct": correct},
            params_digest=str(number) * 64,
            created_by=f"anna {MARKUP}",
        )
    registry.publish("one", registry.photos / "reads")
    registry.promote(1, why=f"first {MARKUP}")
    set_weight(registry.registry, "canary", 12.5, ChangeIntent("ben@bench", "a <b>look</b> at it"), version=2)
    registry.promote(3, "shadow")
    keep_card(registry.store, MODEL, 2, CARD)
    run = records.Run(1, "nightly-1", "retrain", None, MODEL, "stable", None, records.now(), f"anna {MARKUP}")
    records.begin(registry.store, run)
