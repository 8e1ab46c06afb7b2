"""A dataset in MLCommons Croissant 1.0: JSON-LD that catalogues and libraries read, with a file for each shard.

The document is ``data/<name>.croissant.json``, beside the dataset's folder: a folder of a dataset holds nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from orchard.dataset import DatasetVersion
from orchard.files import atomic_write
from training.data.dvc_project import DATA
from training.data.schema import DataCard
from training.data.shards import SPLITS, Index

__all__ = ["croissant_document", "not_stated", "write_croissant"]

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that Croissant 1.0 prescribes."""

PARQUET = "application/x-parquet"
FIELDS = {
    "label": ("sc:Text", "the class", "classes/name"),
    "split": ("sc:Text", "train or test", "splits/name"),
    "source": ("sc:Text", "where the photo comes from", ""),
    "sha256": ("sc:Text", "SHA-256 of the photo's bytes", ""),
    "pixels_sha256": ("sc:Text", "SHA-256 of the upright RGB pixels", ""),
    "width": ("sc:Integer", "pixels, after EXIF orientation", ""),
    "height": ("sc:Integer", "pixels, after EXIF orientation", ""),
}
"""Type, description and referenced field of the columns besides `image`."""


def croissant_document(index: Index, card: DataCard, version: DatasetVersion | None, url: str = "") -> dict[str, Any]:
    """Return the metadata of a dataset.

    Args:
        index: the dataset's index.
        card: what data/schema.yaml states about it.
        version: its version in the store; None: it has none.
        url: the dataset's page; empty: none.
    """
    licences = list(dict.fromkeys(origin.licence for origin in card.sources.values() if origin.licence))
    people = [{"@type": "sc:Person", "name": origin.by} for origin in card.sources.values() if origin.by]
    stated = {
        "license": licences[0] if len(licences) == 1 else licences,
        "url": url,
        "creator": people[0] if len(people) == 1 else people,
        "datePublished": version.created if version else "",
    }
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": index.name,
        "description": _describe(index, card),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        **{name: value for name, value in stated.items() if value},
        # the version of the store, and the content: Croissant asks for semantic versions
        "version": f"{version.version if version else 0}.0.0+{index.digest[:12]}",
        "distribution": _distribution(index),
        "recordSet": [*_enumerations(index), _photos()],
    }


def not_stated(document: dict[str, Any]) -> list[str]:
    """Which properties that Croissant 1.0 requires a document lacks."""
    return [name for name in ("license", "url", "creator", "datePublished") if name not in document]


def write_croissant(document: dict[str, Any]) -> str:
    """Write the document beside the dataset's folder; return the path. The same document gives the same bytes."""
    path = DATA / f"{document['name']}.croissant.json"
    atomic_write(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    return str(path)


def _describe(index: Index, card: DataCard) -> str:
    totals = ", ".join(f"{sum(index.counts[split].values())} {split}" for split in SPLITS)
    sentences = [f"{index.rows} photos of {len(index.classes)} classes ({totals})"]
    if card.purpose:
        sentences.append(f"A model of it {card.purpose}")
    for name, origin in card.sources.items():
        parts = [part for part in (origin.title, origin.by, origin.content) if part]
        sentences += [f"Source {name}: {'; '.join(parts)}"] if parts else []
    sentences += [f"It measures {card.measures}"] if card.measures else []
    sentences += [limit.strip().rstrip(".") for limit in card.limits]
    return ". ".join(sentences) + "."


def _distribution(index: Index) -> list[dict[str, Any]]:
    files = [
        {
            "@type": "cr:FileObject",
            "@id": shard.path,
            "name": shard.path,
            "contentUrl": f"{index.name}/{shard.path}",
            "contentSize": f"{shard.bytes} B",
            "encodingFormat": PARQUET,
            "sha256": shard.sha256,
        }
        for shard in index.shards
    ]
    shards = {
        "@type": "cr:FileSet",
        "@id": "shards",
        "name": "shards",
        "description": "all photos, in Parquet",
        "encodingFormat": PARQUET,
        "includes": f"{index.name}/*.parquet",  # below the folder of this document
    }
    return [*files, shards]


def _enumerations(index: Index) -> list[dict[str, Any]]:
    """The classes and the splits, as records of their own that the photos refer to."""
    described = (("classes", "sc:Enumeration", index.classes), ("splits", "cr:Split", SPLITS))
    return [
        {
            "@type": "cr:RecordSet",
            "@id": name,
            "name": name,
            "dataType": kind,
            "key": {"@id": f"{name}/name"},
            "field": [{"@type": "cr:Field", "@id": f"{name}/name", "name": "name", "dataType": "sc:Text"}],
            "data": [{f"{name}/name": value} for value in values],
        }
        for name, kind, values in described
    ]


def _photos() -> dict[str, Any]:
    image = {
        "@type": "cr:Field",
        "@id": "photos/image",
        "name": "image",
        "description": "the photo, a JPEG or PNG, not turned",
        "dataType": "sc:ImageObject",
        "source": {
            "fileSet": {"@id": "shards"},
            "extract": {"column": "image"},
            "transform": {"jsonPath": "bytes"},
        },
    }
    others = [
        {
            "@type": "cr:Field",
            "@id": f"photos/{name}",
            "name": name,
            "description": text,
            "dataType": kind,
            "source": {"fileSet": {"@id": "shards"}, "extract": {"column": name}},
            **({"references": {"field": {"@id": to}}} if to else {}),
        }
        for name, (kind, text, to) in FIELDS.items()
    ]
    return {"@type": "cr:RecordSet", "@id": "photos", "name": "photos", "field": [image, *others]}
