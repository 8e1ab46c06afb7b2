"""A SavedModel opened the way a model server opens it: its own graph in a TF1 session, fed with bytes.

Evaluation, gate and publish run the exported files, never the Keras network that they were made from: they check what is
served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchard.errors import IntegrityError
from orchard.registry.manifest import ModelSignature
from orchard.savedmodel.types import tensor_type
from training.data.schema import SchemaRules
from training.model.backend import tensorflow
from training.model.photo_rules import read_rules

__all__ = ["CLASSES", "SavedModelSession", "SessionOutputs", "open_model"]

CLASSES = Path("assets") / "classes.txt"
"""The list of classes inside a SavedModel, one per line, in the order of the columns of ``probabilities``."""

SIGNATURE = "serving_default"
OUTPUTS = ("label", "probability", "probabilities")
UNSURE = "unsure"
"""An output that newer models have; earlier ones answer every photo."""

BATCH = 16
"""Photos in one call: of 224 pixels a side, the features of so many take a hundred megabytes."""

THREADS = 2
TOLERANCE = 1e-3  # of float32 sums over a few hundred classes


@dataclass(frozen=True, slots=True)
class SessionOutputs:
    """A model's outputs for N photos.

    Attributes:
        labels: N class names.
        probability: float32[N], of the label.
        probabilities: float32[N, C], of every class.
        unsure: bool[N]; None: the model does not say it.
    """

    labels: tuple[str, ...]
    probability: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    unsure: npt.NDArray[np.bool_] | None


class SavedModelSession:
    """A loaded SavedModel. Made by `open_model`.

    Attributes:
        classes: the model's classes, in the order of the columns of ``probabilities``.
        signatures: the types of each signature's inputs and outputs.
        ops: every kind of TensorFlow operation in it, sorted.
        rules: the schema's rules that its graph applies to photos; None: it was exported before graphs had any.
    """

    def __init__(self, session: Any, meta: Any, classes: tuple[str, ...], folder: Path) -> None:
        self.classes = classes
        self.signatures = {name: _describe(meta.signature_def[name]) for name in sorted(_signatures(meta))}
        self.ops = _list_ops(meta)
        signature = meta.signature_def[SIGNATURE]
        self._says_unsure = UNSURE in signature.outputs
        outputs = [*OUTPUTS, UNSURE] if self._says_unsure else OUTPUTS
        fetches = [signature.outputs[name].name for name in outputs]
        self._call = session.make_callable(fetches, [signature.inputs["image_bytes"].name])
        self.rules: SchemaRules | None = read_rules(folder)
        self._folder = folder

    def predict(self, photos: Sequence[bytes], *, batch: int = BATCH) -> SessionOutputs:
        """Predict photos, in batches on two threads; the answers are in the order of the photos.

        Args:
            photos: the files' bytes, JPEG or PNG.
            batch: how many photos go into one call.

        Raises:
            IntegrityError: the model failed, or its outputs are inconsistent (NaN, a sum that is not 1, a label that is
                not the most probable class).
        """
        parts = [list(photos[start : start + batch]) for start in range(0, len(photos), batch)]
        if len(parts) == 1:
            return self._predict_batch(parts[0])
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(self._predict_batch, parts))
        if not answers:
            none = np.zeros((0, len(self.classes)), np.float32)
            return SessionOutputs((), np.zeros(0, np.float32), none, np.zeros(0, bool) if self._says_unsure else None)
        return SessionOutputs(
            tuple(label for answer in answers for label in answer.labels),
            np.concatenate([answer.probability for answer in answers]),
            np.concatenate([answer.probabilities for answer in answers]),
            np.concatenate([answer.unsure for answer in answers]) if self._says_unsure else None,
        )

    def _predict_batch(self, photos: list[bytes]) -> SessionOutputs:
        tf = tensorflow()

        try:
            labels, probability, probabilities, *unsure = self._call(np.array(photos, object))
        except tf.errors.OpError as error:
            raise IntegrityError(f"{self._folder} failed on a test photo: {error.message[:300]}") from error
        named = tuple(label.decode() for label in labels)
        answers = SessionOutputs(named, probability, probabilities, unsure[0] if unsure else None)
        self._check(answers, len(photos))
        return answers

    def _check(self, answers: SessionOutputs, n: int) -> None:
        table = answers.probabilities
        if table.shape != (n, len(self.classes)) or answers.probability.shape != (n,):
            shape = f"{answers.probability.shape} and {table.shape}"
            raise IntegrityError(
                f"{self._folder} returns {shape} for {n} photos; expected ({n},) and ({n}, {len(self.classes)})"
            )
        if not np.isfinite(table).all() or not np.allclose(table.sum(axis=1), 1, atol=TOLERANCE):
            raise IntegrityError(f"{self._folder} returns invalid probabilities: NaN, or a sum that is not 1")
        best = table.argmax(axis=1)
        named = tuple(self.classes[index] for index in best)
        if named != answers.labels or not np.array_equal(table.max(axis=1), answers.probability):
            raise IntegrityError(f"{self._folder} returns a label that is not the most probable class of {CLASSES}")


def _signatures(meta: Any) -> list[str]:
    return [name for name in meta.signature_def if not name.startswith("__saved_model")]


def _describe(signature: Any) -> ModelSignature:
    return ModelSignature(
        inputs={name: _type_of(signature.inputs[name]) for name in sorted(signature.inputs)},
        outputs={name: _type_of(signature.outputs[name]) for name in sorted(signature.outputs)},
    )


def _type_of(tensor: Any) -> str:
    name: str = tensorflow().dtypes.as_dtype(tensor.dtype).name
    return tensor_type(name, [int(axis.size) for axis in tensor.tensor_shape.dim])


def _list_ops(meta: Any) -> tuple[str, ...]:
    graph = meta.graph_def
    functions = graph.library.function
    own = {function.signature.name for function in functions}
    used = {node.op for node in graph.node} | {node.op for function in functions for node in function.node_def}
    return tuple(sorted(used - own))


def _read_classes(folder: Path) -> tuple[str, ...]:
    try:
        classes = tuple((folder / CLASSES).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{folder} has no list of classes in {CLASSES}: {error}") from error
    if not classes or len(set(classes)) != len(classes):
        raise IntegrityError(f"{folder / CLASSES} is empty or lists a class twice")
    return classes


@contextmanager
def open_model(folder: Path) -> Iterator[SavedModelSession]:
    """Load a SavedModel into its own TF1 session and close it at the end.

    Each call runs only on its caller's thread. So two threads keep two cores busy, and the latency of a single call does
    not depend on the number of cores.

    Raises:
        IntegrityError: it cannot be loaded, or lacks `serving_default` with ``image_bytes``, ``label``,
            ``probability`` and ``probabilities``, or its list of classes.
    """
    tf = tensorflow()

    classes = _read_classes(folder)
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph, config=config) as session:
        # the loader logs a deprecation warning: TF2 has another loader; TensorFlow Serving uses this one
        tf.get_logger().setLevel("ERROR")
        try:
            meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
        except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
            first = str(error).strip().splitlines()[0][:300]
            raise IntegrityError(f"{folder} cannot be loaded as a SavedModel: {first}") from error
        signature = meta.signature_def.get(SIGNATURE)
        missing = {"image_bytes", *OUTPUTS} - {*signature.inputs, *signature.outputs} if signature else {SIGNATURE}
        if missing:
            raise IntegrityError(
                f"{folder} is not a valid model of Orchard: its signature lacks {', '.join(sorted(missing))}",
                hint="`orchard train` exports a valid one",
            )
        yield SavedModelSession(session, meta, classes, folder)
