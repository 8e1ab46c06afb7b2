"""The messages of TF Serving's gRPC API and of `models.config`, built from a table.

The package tensorflow-serving-api has them too, but importing it imports TensorFlow's Python package, which costs three
seconds and half a gigabyte. Names, numbers and types are those of the public .proto files, so that any client of
TF Serving understands the messages. protobuf's C parser reads them in both cases.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)

from orchard.savedmodel.types import REFERENCE, all_types
from serving.status_codes import StatusCode

__all__ = ["POOL", "STATES", "message", "method_types"]

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "double": _F.TYPE_DOUBLE, "float": _F.TYPE_FLOAT, "int64": _F.TYPE_INT64, "uint64": _F.TYPE_UINT64,
    "int32": _F.TYPE_INT32, "bool": _F.TYPE_BOOL, "string": _F.TYPE_STRING, "bytes": _F.TYPE_BYTES,
    "uint32": _F.TYPE_UINT32,
}  # fmt: skip

# Each field is `name number type`; `*type` is repeated, `<type>` is a map from strings. A message's name is a path.
_TENSORFLOW = """
TensorShapeProto: dim 2 *TensorShapeProto.Dim, unknown_rank 3 bool
TensorShapeProto.Dim: size 1 int64, name 2 string
TensorProto: dtype 1 DataType, tensor_shape 2 TensorShapeProto, version_number 3 int32, tensor_content 4 bytes,
 half_val 13 *int32, float_val 5 *float, double_val 6 *double, int_val 7 *int32, string_val 8 *bytes,
 scomplex_val 9 *float, int64_val 10 *int64, bool_val 11 *bool, dcomplex_val 12 *double, uint32_val 16 *uint32,
 uint64_val 17 *uint64
TensorInfo: name 1 string, dtype 2 DataType, tensor_shape 3 TensorShapeProto
SignatureDef: inputs 1 <TensorInfo>, outputs 2 <TensorInfo>, method_name 3 string
"""
_SERVING = """
ModelSpec: name 1 string, version 2 Int64Value, version_label 4 string, signature_name 3 string
PredictRequest: model_spec 1 ModelSpec, inputs 2 <TensorProto>, output_filter 3 *string
PredictResponse: model_spec 2 ModelSpec, outputs 1 <TensorProto>
ExampleList: examples 1 *bytes
ExampleListWithContext: examples 1 *bytes, context 2 bytes
Input: example_list 1 ExampleList, example_list_with_context 2 ExampleListWithContext
ClassificationRequest: model_spec 1 ModelSpec, input 2 Input
Class: label 1 string, score 2 float
Classifications: classes 1 *Class
ClassificationResult: classifications 1 *Classifications
ClassificationResponse: model_spec 2 ModelSpec, result 1 ClassificationResult
RegressionRequest: model_spec 1 ModelSpec, input 2 Input
Regression: value 1 float
RegressionResult: regressions 1 *Regression
RegressionResponse: model_spec 2 ModelSpec, result 1 RegressionResult
InferenceTask: model_spec 1 ModelSpec, method_name 2 string
MultiInferenceRequest: tasks 1 *InferenceTask, input 2 Input
InferenceResult: model_spec 1 ModelSpec, classification_result 2 ClassificationResult, regression_result 3 RegressionResult
MultiInferenceResponse: results 1 *InferenceResult
ClassifyLog: request 1 ClassificationRequest, response 2 ClassificationResponse
RegressLog: request 1 RegressionRequest, response 2 RegressionResponse
PredictLog: request 1 PredictRequest, response 2 PredictResponse
MultiInferenceLog: request 1 MultiInferenceRequest, response 2 MultiInferenceResponse
SessionRunLog:
PredictionLog: classify_log 2 ClassifyLog, regress_log 3 RegressLog, predict_log 6 PredictLog,
 multi_inference_log 4 MultiInferenceLog, session_run_log 5 SessionRunLog
SignatureDefMap: signature_def 1 <SignatureDef>
GetModelMetadataRequest: model_spec 1 ModelSpec, metadata_field 2 *string
GetModelMetadataResponse: model_spec 1 ModelSpec, metadata 2 <Any>
GetModelStatusRequest: model_spec 1 ModelSpec
StatusProto: error_code 1 ErrorCode, error_message 2 string
ModelVersionStatus: version 1 int64, state 2 ModelVersionStatus.State, status 3 StatusProto
GetModelStatusResponse: model_version_status 1 *ModelVersionStatus
Latest: num_versions 1 uint32
All:
Specific: versions 1 *int64
ServableVersionPolicy: latest 100 Latest, all 101 All, specific 102 Specific
LogCollectorConfig: type 1 string, filename_prefix 2 string
PerTaskSamplingConfig: dc 1 string, task_index 2 int32, sampling_rate 3 double
SamplingConfig: sampling_rate 1 double, attributes 2 int32, per_task_sampling_configs 3 *PerTaskSamplingConfig
LoggingConfig: log_collector_config 1 LogCollectorConfig, sampling_config 2 SamplingConfig, custom_logging_config 3 Any
ModelConfig: name 1 string, base_path 2 string, model_type 3 ModelType, model_platform 4 string,
 logging_config 6 LoggingConfig, model_version_policy 7 ServableVersionPolicy, version_labels 8 <int64>
ModelConfigList: config 1 *ModelConfig
ModelServerConfig: model_config_list 1 ModelConfigList
ReloadConfigRequest: config 1 ModelServerConfig
ReloadConfigResponse: status 1 StatusProto
"""
_ONE_OF = {
    "Input": "kind", "ServableVersionPolicy": "policy_choice", "ModelServerConfig": "config",
    "InferenceResult": ("result", "classification_result", "regression_result"),
    "ModelSpec": ("version_choice", "version", "version_label"), "TensorInfo": ("encoding", "name"),
    "PredictionLog": (
        "log_type", "classify_log", "regress_log", "predict_log", "multi_inference_log", "session_run_log",
    ),
    "PerTaskSamplingConfig": ("_task_index", "task_index"),
}  # fmt: skip
STATES = {"UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
_MODEL_TYPES = {"MODEL_TYPE_UNSPECIFIED": 0, "TENSORFLOW": 1, "OTHER": 2}
_ENUMS = {
    "DataType": "tensorflow", "ErrorCode": "tensorflow.serving", "ModelType": "tensorflow.serving",
    "ModelVersionStatus.State": "tensorflow.serving",
}  # fmt: skip
_WELL_KNOWN = {"Int64Value": ".google.protobuf.Int64Value", "Any": ".google.protobuf.Any"}
_SERVICES = {
    "PredictionService": {
        "Predict": ("PredictRequest", "PredictResponse"),
        "Classify": ("ClassificationRequest", "ClassificationResponse"),
        "Regress": ("RegressionRequest", "RegressionResponse"),
        "GetModelMetadata": ("GetModelMetadataRequest", "GetModelMetadataResponse"),
        "MultiInference": ("MultiInferenceRequest", "MultiInferenceResponse"),
    },
    "ModelService": {
        "GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse"),
        "HandleReloadConfigRequest": ("ReloadConfigRequest", "ReloadConfigResponse"),
    },
}


def _entry_name(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_")) + "Entry"


class _ProtoFile:
    """A .proto file under construction."""

    def __init__(self, name: str, package: str, dependencies: list[str]) -> None:
        self.proto = descriptor_pb2.FileDescriptorProto(
            name=name, package=package, syntax="proto3", dependency=dependencies
        )
        self._messages: dict[str, Any] = {}

    def _type(self, field: Any, kind: str) -> None:
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
            return
        if kind in _ENUMS:
            field.type, field.type_name = _F.TYPE_ENUM, f".{_ENUMS[kind]}.{kind}"
            return
        field.type = _F.TYPE_MESSAGE
        first = kind.split(".", 1)[0]
        here = first in self._messages or self.proto.package == "tensorflow" or first not in _TENSORFLOW_NAMES
        package = self.proto.package if here else "tensorflow"
        field.type_name = _WELL_KNOWN.get(kind, f".{package}.{kind}")

    def add(self, path: str, fields: list[list[str]]) -> None:
        """Add a message with its fields."""
        outer, _, name = path.rpartition(".")
        siblings = self._messages[outer].nested_type if outer else self.proto.message_type
        descriptor = self._messages[path] = siblings.add(name=name)
        choice = _ONE_OF.get(path, ())
        members = choice[1:] if isinstance(choice, tuple) else [field[0] for field in fields]
        if choice:
            descriptor.oneof_decl.add(name=choice[0] if isinstance(choice, tuple) else choice)
        for field_name, number, kind in fields:
            field = descriptor.field.add(name=field_name, number=int(number), label=_F.LABEL_OPTIONAL)
            if kind.startswith("*"):
                field.label = _F.LABEL_REPEATED
            if kind.startswith("<"):
                self._map(descriptor, field, field_name, kind[1:-1], path)
                continue
            self._type(field, kind.lstrip("*"))
            if choice and field_name in members:
                field.oneof_index = 0

    def _map(self, descriptor: Any, field: Any, name: str, kind: str, path: str) -> None:
        entry = descriptor.nested_type.add(name=_entry_name(name))
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_F.LABEL_OPTIONAL, type=_F.TYPE_STRING)
        self._type(entry.field.add(name="value", number=2, label=_F.LABEL_OPTIONAL), kind)
        field.label, field.type = _F.LABEL_REPEATED, _F.TYPE_MESSAGE
        field.type_name = f".{self.proto.package}.{path}.{_entry_name(name)}"


def _rows(table: str) -> list[tuple[str, list[list[str]]]]:
    rows = []
    for line in table.strip().replace("\n ", " ").splitlines():
        name, _, rest = line.partition(":")
        rows.append((name, [field.split() for field in rest.split(",") if field.strip()]))
    return rows


_TENSORFLOW_NAMES = {name for name, _ in _rows(_TENSORFLOW)}


def _fill_enum(enum: Any, values: dict[str, int]) -> None:
    for name, number in values.items():
        enum.value.add(name=name, number=number)


def _data_types() -> dict[str, int]:
    plain = {dtype.proto: dtype.number for dtype in all_types()}
    return plain | {f"{name}_REF": number + REFERENCE for name, number in plain.items() if number}


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    tensorflow = _ProtoFile("orchard/tensorflow.proto", "tensorflow", [])
    _fill_enum(tensorflow.proto.enum_type.add(name="DataType"), _data_types())
    serving = _ProtoFile(
        "orchard/serving.proto",
        "tensorflow.serving",
        [any_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name, tensorflow.proto.name],
    )
    _fill_enum(serving.proto.enum_type.add(name="ErrorCode"), {code.name: code.value for code in StatusCode})
    _fill_enum(serving.proto.enum_type.add(name="ModelType"), _MODEL_TYPES)
    for file, table in ((tensorflow, _TENSORFLOW), (serving, _SERVING)):
        for name, fields in _rows(table):
            file.add(name, fields)
    status = next(item for item in serving.proto.message_type if item.name == "ModelVersionStatus")
    _fill_enum(status.enum_type.add(name="State"), STATES)
    for service, methods in _SERVICES.items():
        descriptor = serving.proto.service.add(name=service)
        for method, (request, response) in methods.items():
            descriptor.method.add(
                name=method, input_type=f".tensorflow.serving.{request}", output_type=f".tensorflow.serving.{response}"
            )
    for file in (tensorflow, serving):
        pool.AddSerializedFile(file.proto.SerializeToString())
    return pool


POOL = _pool()
_CLASSES: dict[str, Any] = {}


def message(name: str) -> Any:
    """Return the class of a message of `tensorflow.serving`, or of another package if the name includes it."""
    full = name if "." in name else f"tensorflow.serving.{name}"
    message_class = _CLASSES.get(full)
    if message_class is None:
        message_class = _CLASSES[full] = message_factory.GetMessageClass(POOL.FindMessageTypeByName(full))
    return message_class


def method_types(service: str) -> dict[str, tuple[Any, Any]]:
    """Return the request and response class of each method of a service, by method name."""
    return {name: (message(request), message(response)) for name, (request, response) in _SERVICES[service].items()}
