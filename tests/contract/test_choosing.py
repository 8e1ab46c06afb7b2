"""Networks are chosen on folds of whole groups. The code that chooses cannot split photos at random, by any spelling."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("training/model", "training/cli", "training/data/validation")

SPLITTERS = {"model_selection", "random_split", "split_dataset", "train_test_split"}
SPLITTER_PARTS = (
    "KFold",
    "ShuffleSplit",
    "LeaveOneOut",
    "LeavePOut",
    "cross_val_",
    "SearchCV",
    "learning_curve",
    "validation_curve",
)
"""Names of scikit-learn, Keras and PyTorch that split at random, or take a number of folds and then do."""

SELF_SPLITTING = {"validation_split", "validation_fraction", "cv"}
"""Arguments with which a library keeps a random part of the photos for itself."""

DRAWS = {"permutation", "permuted", "shuffle", "choice", "random_sample", "sample"}
NO_DRAWS = (
    "cross_validation",
    "photo_groups",
    "grouped_photos",
    "linear_probe",
    "label_errors",
    "label_check",
    "split",
)
"""The modules that decide which photos are on which side: nothing is drawn there."""


def random_splits(source: str, *, decides: bool) -> set[str]:
    """What a module has that splits photos at random; `decides`: it decides which photos are on which side."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.keyword) and node.arg:
            found.add(f"{node.arg}=")
    return {name for name in found if is_random(name.rsplit(".", 1)[-1], name, decides)}


def is_random(last: str, name: str, decides: bool) -> bool:
    return (
        "sklearn.model_selection" in name
        or last in SPLITTERS
        or any(part in last for part in SPLITTER_PARTS)
        or (last.removesuffix("=") in SELF_SPLITTING and last.endswith("="))
        or last.endswith("CV")
        or (decides and last in DRAWS)
    )


FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_choosing_code_has_no_random_folds(path):
    assert not random_splits(path.read_text(), decides=path.stem in NO_DRAWS)


def test_modules_that_decide_exist_under_these_names():
    assert set(NO_DRAWS) <= {path.stem for path in FILES}


@pytest.mark.parametrize(
    "source",
    [
        "from sklearn.model_selection import KFold",
        "from sklearn.model_selection import GroupKFold as Folds",
        "import sklearn.model_selection as choosing",
        "import sklearn\nsklearn.model_selection.StratifiedShuffleSplit(5)",
        "from sklearn import model_selection\nmodel_selection.cross_val_score(probe, x, y, cv=5)",
        "cross_val_predict(probe, x, y)",
        "LogisticRegressionCV().fit(x, y)",
        "model.fit(x, y, validation_split=0.2)",
        "SGDClassifier(early_stopping=True, validation_fraction=0.1)",
        "train, test = train_test_split(photos)",
        "keras.utils.split_dataset(photos, 0.8)",
        "order = np.random.default_rng(7).permutation(len(photos))",
        "random.shuffle(photos)",
    ],
)
def test_each_spelling_of_a_random_split_is_found(source):
    assert random_splits(source, decides=True)


def test_order_of_batches_and_seeds_are_no_split():
    assert not random_splits("order = np.random.default_rng([seed, epoch]).permutation(positions)", decides=False)
    assert not random_splits("KMeans(k, random_state=seed).fit(features)", decides=True)
