"""A SavedModel in memory: loaded, run from any thread, closed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ctypes import c_char_p, c_void_p
from pathlib import Path

from orchard.savedmodel.signatures import SignatureDef, read_signatures
from orchard.savedmodel.types import DataType
from orchard.savedmodel.wire import VARINT, WireError, delimited, key, varint
from serving.server.runtime.capi import CApi, RunError, TfInput, TfOutput, open_library
from serving.server.runtime.tensors import Array, from_tensor, to_tensor

__all__ = ["SignatureCall", "TfSession"]

_INVALID_ARGUMENT, _NOT_FOUND, _FAILED_PRECONDITION, _DATA_LOSS = 3, 5, 9, 15
_VARIABLES_INDEX = "variables/variables.index"
_VARIABLE_CHECKS = {
    "VarHandleOp": "VarIsInitializedOp",
    "VariableV2": "IsVariableInitialized",
    "Variable": "IsVariableInitialized",
}
_INTRA_OP, _INTER_OP, _GRAPH_OPTIONS = 2, 5, 10  # field numbers of ConfigProto
_REWRITE_OPTIONS, _ITERATIONS, _ONCE = 10, 12, 1  # of GraphOptions, of RewriterConfig, its value ONE


def _config() -> bytes:
    """Return a ConfigProto.

    One thread for an operation is fastest when several requests run at the same time; the calling thread runs all
    operations. The graph is optimised once, not twice: half the time to the first answer, the same answers.
    """
    once = delimited(_REWRITE_OPTIONS, key(_ITERATIONS, VARINT) + varint(_ONCE))
    threads = key(_INTRA_OP, VARINT) + varint(1) + key(_INTER_OP, VARINT) + varint(-1)
    return threads + delimited(_GRAPH_OPTIONS, once)


class SignatureCall:
    """Inputs and outputs of a session's graph, looked up once.

    Args:
        session: the session that runs it.
        inputs: tensor names (``operation:index``) and element types, in the order of the values.
        outputs: tensor names, in the order of the results.

    Raises:
        RunError: the graph has no such tensor.
    """

    def __init__(self, session: TfSession, inputs: Sequence[tuple[str, DataType]], outputs: Sequence[str]) -> None:
        self._session = session
        self._dtypes = [dtype for _, dtype in inputs]
        self._inputs = (TfOutput * len(inputs))(*[session.output(name) for name, _ in inputs])
        self._outputs = (TfOutput * len(outputs))(*[session.output(name) for name in outputs])

    def run(self, values: Sequence[Array]) -> list[tuple[Array, DataType]]:
        """Run the graph once; other threads may run it at the same time.

        Args:
            values: one array for each input.

        Returns:
            One array and its type for each output.

        Raises:
            RunError: TensorFlow returned an error.
        """
        api = self._session.api
        tensors: list[int] = []
        results = (c_void_p * len(self._outputs))()
        status = api.TF_NewStatus()
        try:
            tensors.extend(to_tensor(api, value, dtype) for value, dtype in zip(values, self._dtypes, strict=True))
            self._session.run(self._inputs, (c_void_p * len(tensors))(*tensors), self._outputs, results, status)
            api.check(status)
            return [from_tensor(api, tensor) for tensor in results if tensor]
        finally:
            for tensor in (*tensors, *results):
                if tensor:
                    api.TF_DeleteTensor(tensor)
            api.TF_DeleteStatus(status)


class TfSession:
    """A SavedModel's graph for serving, with its variables restored and its initialisation run.

    Args:
        folder: the version's folder.

    Raises:
        RunError: the SavedModel cannot be loaded; the code is the one that TF Serving reports.
    """

    def __init__(self, folder: Path) -> None:
        self.api: CApi = open_library()
        self.signatures: Mapping[str, SignatureDef] = _signatures(folder)
        self._graph = self._session = None
        api = self.api
        options, status, graph = api.TF_NewSessionOptions(), api.TF_NewStatus(), api.TF_NewGraph()
        config = _config()
        try:
            api.TF_SetConfig(options, config, len(config), status)
            api.check(status)
            session = api.TF_LoadSessionFromSavedModel(
                options, None, str(folder).encode(), (c_char_p * 1)(b"serve"), 1, graph, None, status
            )
            api.check(status)
            self._graph, self._session = graph, session
        finally:
            api.TF_DeleteSessionOptions(options)
            api.TF_DeleteStatus(status)
            if self._session is None:
                api.TF_DeleteGraph(graph)
        try:
            self._require_variables(folder)
        except BaseException:
            self.close()
            raise

    def output(self, name: str) -> TfOutput:
        """Look up ``operation:index`` in the graph. Raises `RunError` if it does not exist."""
        operation, _, index = name.partition(":")
        handle = self.api.TF_GraphOperationByName(self._graph, operation.encode())
        position = int(index) if index.isdigit() else 0
        if not handle or position >= self.api.TF_OperationNumOutputs(handle):
            raise RunError(_INVALID_ARGUMENT, f"Tensor {name} is not in the model's graph")
        return TfOutput(handle, position)

    def _require_variables(self, folder: Path) -> None:
        """Check that the signatures' variables have values, where the loader restored none.

        The loader takes a SavedModel without an index of variables for one without variables. A copy that has not got so
        far looks the same, and every request would fail: "Attempting to use uninitialized value".
        """
        index = folder / _VARIABLES_INDEX
        if index.exists():  # the loader itself refuses an incomplete checkpoint
            return
        for name, signature in self.signatures.items():
            for variable in self._variables([info.name for info in signature.outputs.values()]):
                if not self._is_initialised(variable):
                    raise RunError(
                        _FAILED_PRECONDITION,
                        f"{index} is missing: the signature {name!r} reads the variable "
                        f"{self.api.TF_OperationName(variable).decode()!r}, which has no value",
                    )

    def _variables(self, tensors: Iterable[str]) -> Iterator[int]:
        """Yield the operations of the variables from which tensors of the graph are computed."""
        api = self.api
        found = (api.TF_GraphOperationByName(self._graph, name.partition(":")[0].encode()) for name in tensors)
        waiting = [operation for operation in found if operation]
        seen = set(waiting)
        while waiting:
            operation = waiting.pop()
            if api.TF_OperationOpType(operation).decode() in _VARIABLE_CHECKS:
                yield operation
            for index in range(api.TF_OperationNumInputs(operation)):
                source = api.TF_OperationInput(TfInput(operation, index)).oper
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)

    def _is_initialised(self, variable: int) -> bool:
        api = self.api
        check = _VARIABLE_CHECKS[api.TF_OperationOpType(variable).decode()]
        name = "orchard/is_initialised/" + api.TF_OperationName(variable).decode()
        if not api.TF_GraphOperationByName(self._graph, name.encode()):
            status = api.TF_NewStatus()
            try:
                operation = api.TF_NewOperation(self._graph, check.encode(), name.encode())
                api.TF_AddInput(operation, TfOutput(variable, 0))
                api.TF_FinishOperation(operation, status)
                api.check(status)
            finally:
                api.TF_DeleteStatus(status)
        return bool(SignatureCall(self, [], [f"{name}:0"]).run([])[0][0])

    def sizes(self, operation: str, index: int) -> list[int] | None:
        """Return the sizes of a tensor that TensorFlow derives from the graph, -1: any; None: their number is unknown."""
        api = self.api
        status = api.TF_NewStatus()
        try:
            output = self.output(f"{operation}:{index}")
            rank = api.TF_GraphGetTensorNumDims(self._graph, output, status)
            if api.TF_GetCode(status) or rank < 0:
                return None
            sizes = (ctypes.c_int64 * rank)()
            api.TF_GraphGetTensorShape(self._graph, output, sizes, rank, status)
            return None if api.TF_GetCode(status) else list(sizes)
        except RunError:
            return None
        finally:
            api.TF_DeleteStatus(status)

    def run(
        self,
        inputs: ctypes.Array[TfOutput],
        values: ctypes.Array[c_void_p],
        outputs: ctypes.Array[TfOutput],
        results: ctypes.Array[c_void_p],
        status: int,
    ) -> None:
        """Run the graph. Only for `SignatureCall.run`."""
        self.api.TF_SessionRun(
            *(self._session, None, inputs, values, len(values), outputs, results, len(results)),
            *(None, 0, None, status),
        )

    def close(self) -> None:
        """Free the model's memory. No call may be running, and none may follow."""
        if self._session is None:
            return
        status = self.api.TF_NewStatus()
        self.api.TF_CloseSession(self._session, status)
        self.api.TF_DeleteSession(self._session, status)
        self.api.TF_DeleteGraph(self._graph)
        self.api.TF_DeleteStatus(status)
        self._session = self._graph = None


def _signatures(folder: Path) -> dict[str, SignatureDef]:
    try:
        return read_signatures(folder)
    except FileNotFoundError as error:
        raise RunError(
            _NOT_FOUND, f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}"
        ) from error
    except OSError as error:
        raise RunError(_NOT_FOUND, f"{folder}: {error}") from error
    except WireError as error:
        raise RunError(_DATA_LOSS, f"{folder} does not contain a valid SavedModel: {error}") from error
