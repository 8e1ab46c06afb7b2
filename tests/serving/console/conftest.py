"""Fixtures of the console's tests: one loop (store, model server, sync, console) and one browser for all of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchard.settings import Settings
from orchard.store import open_store
from orchard.store.embedded import EmbeddedStore
from tests.serving.console.browser import PageBrowser
from tests.serving.console.consoles import Console, publish_loop, serve_named
from tests.serving.model_registry import ServedRegistry
from tests.serving.programs import Serve, until


@dataclass(frozen=True)
class ShownLoop:
    """A console and what it shows."""

    console: Console
    server: Serve
    registry: ServedRegistry


@pytest.fixture(scope="package")
def shown(embedded_store: EmbeddedStore, zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShownLoop]:
    """A console that passes photos on to a real model server and shows what a real sync refuses."""
    folder = tmp_path_factory.mktemp("console")
    embedded_store.create_bucket(bucket := f"t{uuid.uuid4().hex[:16]}")
    environment = {**embedded_store.environment, "ORCHARD_STORE_URL": f"s3://{bucket}", "ORCHARD_ENV_FILE": "none"}
    fields = {name.removeprefix("ORCHARD_").lower(): value for name, value in environment.items() if "_STORE_" in name}
    registry = ServedRegistry(open_store(Settings(**fields)), environment, zoo / "photos", folder)
    with serve_named(zoo, folder / "served") as server:
        publish_loop(registry)
        with registry.sync("--no-engine") as sync:
            addresses = ("--server", f"http://127.0.0.1:{server.port}", "--sync", f"http://127.0.0.1:{sync.port}")
            with Console(folder, registry.environment, *addresses) as console:
                until(server.ready, "the model server is ready")
                until(lambda: sync.refusal(3), "sync refuses version 3")
                assert console.port
                yield ShownLoop(console, server, registry)


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageBrowser]:
    """A browser with the size of a laptop's window."""
    browser = PageBrowser(tmp_path_factory.mktemp("chromium"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def page(shown: ShownLoop, chromium: PageBrowser) -> PageBrowser:
    """The page, loaded anew in a light window of 1280 × 900."""
    chromium.resize(1280, 900)
    chromium.prefer("light")
    chromium.open(f"{shown.console.url}/")
    return chromium
