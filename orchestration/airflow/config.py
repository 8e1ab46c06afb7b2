"""The settings that the chart gives to its DAGs, read from the environment once."""

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
    """The settings of a release's DAGs.

    Attributes:
        release: the Helm release; its pods carry the name, and no task touches another release's pods.
        namespace: of the pods; None: Airflow's own.
        model: the model whose versions are published.
        dataset: the dataset of the training.
        channel: the channel that predicts, and to which versions are promoted.
        profile: the default profile of the training.
        owner: the person or team responsible when a DAG fails.
        pods: the folder of pod templates, one for each verb.
        pages: the URL under which objects of the bucket can be viewed; empty: there is none.
        crons: cron schedules by DAG; a DAG without one is not scheduled.
    """

    release: str
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
        """Read the ``ORCHARD_*`` variables; the defaults are those of a release named orchard."""

        def get(name: str, default: str) -> str:
            return environment.get(f"ORCHARD_{name}") or default

        prefix = "ORCHARD_SCHEDULE_"
        return cls(
            release=get("RELEASE", "orchard"),
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
        """The profiles of the training, the default first."""
        return sorted({self.profile, "full", "short"}, key=lambda name: (name != self.profile, name))

    @property
    def photos(self) -> Asset:
        """The dataset as an asset: a new version updates it, which starts the DAG that trains on it."""
        uri = f"x-orchard://{self.namespace or 'orchard'}/datasets/{self.dataset}"
        return Asset(name=f"dataset-{self.dataset}", uri=uri)

    def schedule(self, name: str) -> CronTriggerTimetable | None:
        """Return a DAG's cron schedule, in UTC; None if it has none."""
        cron = self.crons.get(name)
        return CronTriggerTimetable(cron, timezone="UTC") if cron else None

    def schedule_or_photos(self, name: str) -> AssetOrTimeSchedule | Asset:
        """Return the schedule of a DAG that starts by cron and after new photos."""
        timetable = self.schedule(name)
        return AssetOrTimeSchedule(timetable=timetable, assets=self.photos) if timetable else self.photos

    def daily_schedule(self, name: str) -> CronDataIntervalTimetable | None:
        """Return the schedule of a DAG that handles a day's folder: it runs after the interval that starts with the day."""
        cron = self.crons.get(name)
        return CronDataIntervalTimetable(cron, timezone="UTC") if cron else None


RELEASE = AirflowConfig.read(os.environ)
