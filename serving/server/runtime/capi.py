"""TensorFlow's C API through ctypes: the loader and session that TF Serving links, without TensorFlow's Python package.

Importing TensorFlow takes three seconds and half a gigabyte; opening its two libraries takes 0.3 s. The session checks
the same shapes as TF Serving's C++ session, so that it accepts the same requests and refuses others with the same
texts. The libraries are opened with local symbols: global ones would hide NumPy's own, and a later import of
numpy.random would crash.

Quick calls go through a `PyDLL`, which keeps the interpreter lock, because releasing it would cost more than the call.
Loading and running go through a `CDLL`, which lets other threads run at the same time.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchard.errors import MissingExtra, install_hint
from orchard.processes import stderr_held_back

__all__ = ["CApi", "RunError", "TfInput", "TfOutput", "open_library"]

MIN_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


class TfOutput(Structure):
    """TF_Output: one output of one operation."""

    _fields_ = (("oper", c_void_p), ("index", c_int))


class TfInput(Structure):
    """TF_Input: one input of one operation."""

    _fields_ = (("oper", c_void_p), ("index", c_int))


class RunError(Exception):
    """TensorFlow returned an error.

    Attributes:
        code: the status code, for example 3 for INVALID_ARGUMENT.
        message: TensorFlow's message.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# name: result, arguments, whether it may take long
_VOID, _PTR, _INT, _I64, _SIZE = None, c_void_p, c_int, c_int64, c_size_t
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...], bool]] = {
    "TF_Version": (c_char_p, (), False),
    "TF_NewStatus": (_PTR, (), False),
    "TF_DeleteStatus": (_VOID, (_PTR,), False),
    "TF_GetCode": (_INT, (_PTR,), False),
    "TF_Message": (c_char_p, (_PTR,), False),
    "TF_NewSessionOptions": (_PTR, (), False),
    "TF_SetConfig": (_VOID, (_PTR, c_char_p, _SIZE, _PTR), False),
    "TF_DeleteSessionOptions": (_VOID, (_PTR,), False),
    "TF_NewGraph": (_PTR, (), False),
    "TF_DeleteGraph": (_VOID, (_PTR,), True),
    "TF_GraphOperationByName": (_PTR, (_PTR, c_char_p), False),
    "TF_OperationNumOutputs": (_INT, (_PTR,), False),
    "TF_OperationName": (c_char_p, (_PTR,), False),
    "TF_OperationOpType": (c_char_p, (_PTR,), False),
    "TF_OperationNumInputs": (_INT, (_PTR,), False),
    "TF_OperationInput": (TfOutput, (TfInput,), False),
    "TF_NewOperation": (_PTR, (_PTR, c_char_p, c_char_p), False),
    "TF_AddInput": (_VOID, (_PTR, TfOutput), False),
    "TF_FinishOperation": (_PTR, (_PTR, _PTR), False),
    "TF_GraphGetTensorNumDims": (_INT, (_PTR, TfOutput, _PTR), False),
    "TF_GraphGetTensorShape": (_VOID, (_PTR, TfOutput, POINTER(_I64), _INT, _PTR), False),
    "TF_LoadSessionFromSavedModel": (
        _PTR,
        (_PTR, _PTR, c_char_p, POINTER(c_char_p), _INT, _PTR, _PTR, _PTR),
        True,
    ),
    "TF_CloseSession": (_VOID, (_PTR, _PTR), True),
    "TF_DeleteSession": (_VOID, (_PTR, _PTR), True),
    "TF_SessionRun": (
        _VOID,
        (
            *(_PTR, _PTR),  # session, run options
            *(POINTER(TfOutput), POINTER(_PTR), _INT),  # inputs
            *(POINTER(TfOutput), POINTER(_PTR), _INT),  # outputs
            *(_PTR, _INT),  # targets
            *(_PTR, _PTR),  # run metadata, status
        ),
        True,
    ),
    "TF_AllocateTensor": (_PTR, (_INT, POINTER(_I64), _INT, _SIZE), False),
    "TF_DeleteTensor": (_VOID, (_PTR,), False),
    "TF_TensorType": (_INT, (_PTR,), False),
    "TF_NumDims": (_INT, (_PTR,), False),
    "TF_Dim": (_I64, (_PTR, _INT), False),
    "TF_TensorData": (_PTR, (_PTR,), False),
    "TF_TensorByteSize": (_SIZE, (_PTR,), False),
    "TF_StringCopy": (_VOID, (_PTR, c_char_p, _SIZE), False),
    "TF_StringGetDataPointer": (_PTR, (_PTR,), False),
    "TF_StringGetSize": (_SIZE, (_PTR,), False),
}


class CApi:
    """The C functions as attributes, typed.

    Args:
        folder: the folder of `libtensorflow_cc.so.2` and `libtensorflow_framework.so.2`.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault(MIN_LOG_LEVEL, "2")  # a refused request is the client's error, not a warning
        path = str(folder / "libtensorflow_cc.so.2")
        with stderr_held_back():  # lines that TensorFlow prints before it reads its log level
            long, quick = ctypes.CDLL(path), ctypes.PyDLL(path)
        for name, (result, arguments, takes_long) in _FUNCTIONS.items():
            function = getattr(long if takes_long else quick, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        """Raise an error for a function that is not in `_FUNCTIONS`."""
        raise AttributeError(f"{name} is not among the C functions that are used")

    def check(self, status: int) -> None:
        """Raise `RunError` if a TF_Status is not OK."""
        code = self.TF_GetCode(status)
        if code:
            raise RunError(code, self.TF_Message(status).decode("utf-8", "replace"))


@lru_cache(maxsize=1)
def open_library() -> CApi:
    """Open TensorFlow's libraries, once for the process.

    Raises:
        MissingExtra: TensorFlow is not installed, or is a build without the C API.
    """
    spec = importlib.util.find_spec("tensorflow")
    folders = list(spec.submodule_search_locations or []) if spec else []
    try:
        if not folders:
            raise OSError("the package tensorflow is not installed")
        return CApi(Path(folders[0]))
    except (OSError, AttributeError) as error:
        raise MissingExtra(
            f"`orchard serve` needs TensorFlow's C libraries: {error}",
            hint=install_hint("serving"),
        ) from error
