"""Random values that the chart accepts, rich in text that YAML would read as another type."""

from __future__ import annotations

import random
from typing import Any

LABELS = ("true", "null", "1e3", "007", "0x1f", "no", "12", "1.5", "a-b.c_d", "x")
NAMES = ("a", "fruit", "n0", "y", "e1", "true", "null", "a-1", "x" * 30)
SECRETS = ("true", "12", "1e3", "null", "0", "my.secret", "a-b")
TEXTS = (*LABELS, "", "a: b", "- x", "{{ x }}", '"', "'", "#", "yes", "two\nlines", "ü", "%", "&a", "*a", "|", "\\")
CRONS = ("0 3 * * *", "*/5 0-23/2 1,15 JAN-MAR MON", "@daily", "59 23 31 12 6", "* * * * SUN,SAT")
QUANTITIES = ("100m", "1", "1.5", "250Mi", "1Gi", "2G")


def random_values(seed: int) -> tuple[str, dict[str, Any]]:
    """Return a release's name and values for it; the same seed gives the same ones."""
    draw = random.Random(seed)  # noqa: S311  reproducible, no secret

    def maybe(value: Any) -> Any:
        return value if draw.random() < 0.5 else ""

    def labels() -> dict[str, str]:
        return {f"example.com/{name}": draw.choice(LABELS) for name in draw.sample(("a", "b", "c"), draw.randint(0, 2))}

    def texts() -> dict[str, str]:
        return {f"example.com/{name}": draw.choice(TEXTS) for name in draw.sample(("a", "b", "c"), draw.randint(0, 2))}

    def placed() -> dict[str, Any]:
        tolerations = [{"key": "gpu", "operator": "Equal", "value": draw.choice(LABELS), "effect": "NoSchedule"}]
        return {"nodeSelector": labels(), "tolerations": tolerations if draw.random() < 0.5 else []}

    def resources(memory: int) -> dict[str, Any]:
        requests = {"cpu": draw.choice((0.1, "100m", 1)), "memory": f"{memory}Mi", "ephemeral-storage": "64Mi"}
        limits = {"cpu": draw.choice((1, "2", 1.5, "1500m")), "memory": memory * 2**20 * draw.choice((1, 2))}
        return {"requests": requests, "limits": {**limits, "ephemeral-storage": draw.choice(("1Gi", 2**31))}}

    number = draw.choice((1, 10001, 1000680000, None))
    values: dict[str, Any] = {
        "model": draw.choice(("fruits", "007", "1e3", "null", "true", "0x1f")),
        "dataset": draw.choice(("fruits", "12", "no")),
        **draw.choice(
            (
                {"channel": draw.choice(("stable", "canary", "shadow"))},
                {"channel": "true", "channels": ["stable", "true", "e1"]},
                {"channels": ["x-1", "stable"]},
            )
        ),
        "keep": draw.random() < 0.5,
        "fullnameOverride": maybe(draw.choice(NAMES)),
        "nameOverride": maybe(draw.choice(NAMES)),
        "images": {
            "pullSecrets": draw.sample(SECRETS, draw.randint(0, 2)),
            "registry": maybe("mirror.example.com:5000/x"),
        },
        "podSecurity": {"uid": number, "gid": number, "fsGroup": number},
        "objectStore": {
            "bucket": draw.choice(("orchard", "123", "1e3", "a.b")),
            "region": draw.choice(("us-east-1", "1", "null")),
            "storage": {"size": draw.choice((2**31, "1Gi", "20G")), "className": maybe(draw.choice(SECRETS))},
            "resources": resources(256),
        },
        "signing": {"existingSecret": maybe(draw.choice(SECRETS))},
        "serving": {
            "engine": "orchard",
            "replicas": draw.randint(0, 3),
            "tokenSecret": maybe(draw.choice(SECRETS)),
            "capture": draw.choice((0, 1, 2.5, 100)),
            "engineArgs": ["--log", draw.choice(TEXTS) or "x"],
            "sidecarArgs": ["--poll", draw.choice(("30", "1e3"))],
            "disk": draw.choice((2**32, "6Gi")),
            "resources": {"engine": resources(512), "sync": resources(128)},
            "service": {"type": draw.choice(("ClusterIP", "NodePort", "LoadBalancer")), "annotations": texts()},
            "ingress": {
                "enabled": True,
                "host": draw.choice(("fruit.example.com", "1.2.3", "*.example.com", "12", "true")),
                "className": maybe(draw.choice(SECRETS)),
                "annotations": texts(),
                "tlsSecret": maybe(draw.choice(SECRETS)),
            },
            "autoscaling": {"enabled": draw.random() < 0.5},
            "disruption": {"maxUnavailable": draw.choice((0, 1, "50%"))},
            "podAnnotations": texts(),
            **placed(),
        },
        "router": {
            "enabled": draw.random() < 0.5,
            "replicas": draw.randint(0, 3),
            "tokenSecret": maybe(draw.choice(SECRETS)),
            "args": ["--name", draw.choice(TEXTS) or "x"],
            "resources": resources(256),
            "service": {"type": draw.choice(("ClusterIP", "NodePort", "LoadBalancer")), "annotations": texts()},
            "httpRoute": {"parentRefs": [{"name": draw.choice(SECRETS)}], "hostnames": ["true", "*.1.2"]},
            "disruption": {"maxUnavailable": draw.choice((0, 1, "50%"))},
            "podAnnotations": texts(),
            **placed(),
        },
        "console": {
            "enabled": draw.random() < 0.5,
            "tokenSecret": maybe(draw.choice(SECRETS)),
            "trustedProxies": draw.sample(("10.0.0.0/8", "192.0.2.1/32"), draw.randint(0, 2)),
            "args": ["--name", draw.choice(TEXTS) or "x"],
            "resources": resources(128),
            "service": {"type": draw.choice(("ClusterIP", "NodePort", "LoadBalancer")), "annotations": texts()},
            "podAnnotations": texts(),
            **placed(),
        },
        "webhooks": {
            "secret": maybe(draw.choice(SECRETS)),
            "args": ["--interval", draw.choice(("30", "1e3"))],
            "addresses": ["192.0.2.0/24"],
            "resources": resources(96),
            "podAnnotations": texts(),
            **placed(),
        },
        "training": {
            "params": maybe("train: {epochs: 1}\n"),
            "workspace": {"size": draw.choice((2**31, "1Gi")), "className": maybe(draw.choice(SECRETS))},
            "resources": {"heavy": resources(1024), "light": resources(256)},
            **placed(),
        },
        "airflow": {
            "enabled": draw.random() < 0.7,
            "schedules": {name: maybe(draw.choice(CRONS)) for name in ("retrain", "ingest", "batch", "housekeeping")},
            "profile": draw.choice(("full", "short", "7", "1e3", "true", "null")),
            "owner": draw.choice(TEXTS) or "x",
            "adminUser": "admin",
            "databaseCleanup": {"schedule": draw.choice(CRONS), "keepDays": draw.choice((0, 7, 90))},
            "env": [{"name": "ONE", "value": draw.choice(TEXTS)}],
            **placed(),
        },
        "serviceAccounts": {"annotations": {"training": texts(), "serving": texts()}},
        "networkPolicy": {"clients": [{"podSelector": {"matchLabels": labels()}}], "storeAddresses": ["10.0.0.0/8"]},
    }
    return draw.choice(("fruit", "a", "true", "null", "e1", "n-2", "orchard")), values
