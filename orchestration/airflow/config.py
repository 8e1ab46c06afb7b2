"""The settings that the chart gives to its DAGs: where, what, and when. Read from the environment, once."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass

from airflow.sdk import Asset, AssetOrTimeSchedule, CronDataIntervalTimetable, CronTriggerTimetable

__all__ = ["RELEASE", "AirflowConfig", "DagTag"]


class DagTag(enum.StrEnum):
    """Tags by which the list of DAGs is filtered."""

    ORCHARD = "orchard"
    MODEL = "model"
    DATA = "data"
    UPKEEP = "upkeep"


@dataclass(frozen=True, slots=True)
class AirflowConfig:
    """A release of the chart, as its DAGs see it.

    Attributes:
        namespace: where the pods run; None: where Airflow runs.
        model: whose versions are published.
        dataset: what the model is trained on.
        channel: which version predicts, and which is promoted.
        profile: how long training is, unless the run chooses.
        owner: the person or team responsible when a DAG fails.
        pods: the folder of pod templates, one a verb.
        pages: where objects of the bucket can be viewed; empty: nowhere.
        crons: when, by DAG; none: not by the clock.
    """

    namespace: str | None
    model: str
    dataset: str
    channel: str
    profile: str
    owner: str
    pods: str
    pages: str
    crons: Mapping[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> AirflowConfig:
        """Read the ``ORCHARD_*`` variables; what is not set has a default that fits a release named orchard."""

        def get(name: str, default: str) -> str:
            return environment.get(f"ORCHARD_{name}") or default

        prefix = "ORCHARD_SCHEDULE_"
        return cls(
            namespace=get("NAMESPACE", "") or None,
            model=get("MODEL", "fruits"),
            dataset=get("DATASET", "fruits"),
            channel=get("CHANNEL", "stable"),
            profile=get("PROFILE", "full"),
            owner=get("OWNER", "orchard"),
            pods=get("PODS_DIR", "/opt/orchard/pods"),
            pages=get("PAGES_URL", "").rstrip("/"),
            crons={k.removeprefix(prefix).lower(): v for k, v in environment.items() if k.startswith(prefix) and v},
        )

    @property
    def profiles(self) -> list[str]:
        """The profiles of training, the default one first."""
        return sorted({self.profile, "full", "short"}, key=lambda name: (name != self.profile, name))

    @property
    def photos(self) -> Asset:
        """The dataset as an asset: a DAG that writes a new version updates it, which starts the DAG that trains on it."""
        place = f"{self.namespace or 'orchard'}/datasets/{self.dataset}"
        return Asset(name=f"dataset-{self.dataset}", uri=f"x-orchard://{place}")

    def when(self, name: str) -> CronTriggerTimetable | None:
        """When a DAG is due by the clock, in UTC; None: never."""
        cron = self.crons.get(name)
        return CronTriggerTimetable(cron, timezone="UTC") if cron else None

    def when_or_new(self, name: str) -> AssetOrTimeSchedule | Asset:
        """When a DAG is due that the clock starts, and photos that are new."""
        clock = self.when(name)
        return AssetOrTimeSchedule(timetable=clock, assets=self.photos) if clock else self.photos

    def after_each_day(self, name: str) -> CronDataIntervalTimetable | None:
        """When a DAG is due that handles a day's folder: after the interval whose first day it is."""
        cron = self.crons.get(name)
        return CronDataIntervalTimetable(cron, timezone="UTC") if cron else None


RELEASE = AirflowConfig.read(os.environ)
