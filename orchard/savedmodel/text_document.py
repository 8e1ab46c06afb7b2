"""`saved_model.pbtxt`: a SavedModel in protobuf's text format, read into the binary form of the same messages.

TensorFlow's loader takes either file. Only the fields that `orchard.savedmodel` reads are in the table; others are
skipped. The input may be hostile: nesting is limited, and no memory is allocated from a number in the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from orchard.savedmodel.types import data_type
from orchard.savedmodel.wire import FIXED32, FIXED64, VARINT, WireError, delimited, key, varint

__all__ = ["MAX_TEXT_BYTES", "parse_text_document"]

MAX_TEXT_BYTES = 64 << 20
_MAX_DEPTH = 100

# Each field is `name number type`; a type in <> is the value of a map from strings.
_TABLE = """
SavedModel: saved_model_schema_version 1 int, meta_graphs 2 MetaGraphDef
MetaGraphDef: meta_info_def 1 MetaInfoDef, graph_def 2 GraphDef, saver_def 3 SaverDef, collection_def 4 <CollectionDef>,
 signature_def 5 <SignatureDef>
MetaInfoDef: tags 4 string
GraphDef: node 1 NodeDef, library 2 FunctionDefLibrary
NodeDef: name 1 string, op 2 string, input 3 string, device 4 string, attr 5 <AttrValue>
AttrValue: list 1 ListValue, s 2 string, i 3 int, f 4 float, b 5 bool, type 6 type, shape 7 TensorShapeProto, tensor 8 TensorProto,
 placeholder 9 string, func 10 NameAttrList
ListValue: s 2 string, i 3 int, f 4 float, b 5 bool, type 6 type, shape 7 TensorShapeProto, tensor 8 TensorProto, func 9 NameAttrList
NameAttrList: name 1 string, attr 2 <AttrValue>
TensorShapeProto: dim 2 Dim, unknown_rank 3 bool
Dim: size 1 int, name 2 string
TensorProto: dtype 1 type, tensor_shape 2 TensorShapeProto, tensor_content 4 string, half_val 13 int, float_val 5 float,
 double_val 6 double, int_val 7 int, string_val 8 string, scomplex_val 9 float, int64_val 10 int, bool_val 11 bool,
 dcomplex_val 12 double, uint32_val 16 int, uint64_val 17 int
FunctionDefLibrary: function 1 FunctionDef
FunctionDef: signature 1 OpDef, node_def 3 NodeDef, ret 4 <string>, control_ret 6 <string>
OpDef: name 1 string, input_arg 2 ArgDef, output_arg 3 ArgDef
ArgDef: name 1 string
SaverDef: filename_tensor_name 1 string, save_tensor_name 2 string, restore_op_name 3 string
CollectionDef: node_list 1 NodeList
NodeList: value 1 string
SignatureDef: inputs 1 <TensorInfo>, outputs 2 <TensorInfo>, method_name 3 string, defaults 4 <TensorProto>
TensorInfo: name 1 string, dtype 2 type, tensor_shape 3 TensorShapeProto, coo_sparse 4 CooSparse, composite_tensor 5 CompositeTensor
CooSparse: values_tensor_name 1 string, indices_tensor_name 2 string, dense_shape_tensor_name 3 string
CompositeTensor: components 2 TensorInfo
"""
_SCALARS = ("int", "bool", "float", "double", "string", "type")


def _read_table() -> dict[str, dict[str, tuple[int, str]]]:
    messages: dict[str, dict[str, tuple[int, str]]] = {}
    for line in _TABLE.strip().replace("\n ", " ").splitlines():
        name, _, rest = line.partition(":")
        fields = {field: (int(number), kind) for field, number, kind in map(str.split, rest.split(","))}
        messages[name] = fields
        for _, kind in fields.values():
            if kind.startswith("<"):
                messages[kind] = {"key": (1, "string"), "value": (2, kind[1:-1])}
    return messages


_MESSAGES = _read_table()
_TYPES = {data_type(number).proto: number for number in range(24)}
_TYPES |= {f"{name}_REF": number + 100 for name, number in _TYPES.items()}
_TOKEN = re.compile(
    rb"""\s+|\#[^\n]*|(?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
    |(?P<word>-?\s*[A-Za-z0-9_.][A-Za-z0-9_.+]*(?:(?<=[0-9.][eE])-[0-9]+[fF]?)?)|(?P<mark>[{}<>\[\]:;,/-])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_CLOSING = {b"{": b"}", b"<": b">"}


def _unescape(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, short, long, simple = match.groups()
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    code = short or long
    if code:
        number = int(code, 16)
        if number > 0x10FFFF:
            raise WireError(f"the text has an escape beyond Unicode: {number:x}")
        return chr(number).encode("utf-8", "surrogatepass")
    return _SIMPLE.get(simple, simple)


class _TextReader:
    """Reads tokens, one ahead."""

    def __init__(self, text: bytes) -> None:
        self._tokens = self._scan(text)
        self.kind, self.token = "", b""
        self.advance()

    @staticmethod
    def _scan(text: bytes) -> Iterator[tuple[str, bytes]]:
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise WireError(f"the text is not in protobuf's text format at byte {at}")
            at = match.end()
            if match.lastgroup:
                yield match.lastgroup, match[0]

    def advance(self) -> bytes:
        """Return the token and read the next one; an empty one is the end."""
        token = self.token
        self.kind, self.token = next(self._tokens, ("", b""))
        return token

    def skip(self, token: bytes) -> bool:
        """Skip a token, if it is the next one."""
        found = self.token == token and self.kind == "mark"
        if found:
            self.advance()
        return found

    def message(self, name: str, closing: bytes, depth: int) -> bytes:
        """Read the fields of a message up to its closing token; returns them in binary form."""
        if depth > _MAX_DEPTH:
            raise WireError("the text is nested too deeply")
        fields = _MESSAGES[name]
        parts: list[bytes] = []
        while not (self.token == closing and self.kind in ("mark", "")):
            if self.kind not in ("word", "mark") or not self.token or self.token in b"}>:;,":
                raise WireError(f"the text has {self.token[:40]!r} where a field of {name} must be")
            number, kind = fields.get(self._field_name(), (0, ""))
            self.skip(b":")
            parts += self._values(number, kind, depth)
            if not self.skip(b";"):
                self.skip(b",")
        self.advance()
        return b"".join(parts)

    def _field_name(self) -> str:
        if not self.skip(b"["):
            return self.advance().decode("ascii", "replace")
        while self.token and not self.skip(b"]"):  # an extension, or a message of any type: nothing that is read
            self.advance()
        return ""

    def _values(self, number: int, kind: str, depth: int) -> Iterator[bytes]:
        if not self.skip(b"["):
            yield self._value(number, kind, depth)
            return
        while not self.skip(b"]"):
            yield self._value(number, kind, depth)
            if not self.skip(b",") and self.token != b"]":
                raise WireError(f"the text has {self.token[:40]!r} in a list")

    def _value(self, number: int, kind: str, depth: int) -> bytes:
        opening = self.token
        if self.kind == "mark" and opening in _CLOSING:
            self.advance()
            if not kind or kind in _SCALARS:
                self._skip_message()
                return b""
            return delimited(number, self.message(kind, _CLOSING[opening], depth + 1))
        if self.kind == "string":
            strings = []
            while self.kind == "string":
                strings.append(_ESCAPE.sub(_unescape, self.advance()[1:-1]))
            return delimited(number, b"".join(strings)) if kind == "string" else b""
        if self.kind != "word":
            raise WireError(f"the text has {opening[:40]!r} where a value must be")
        return _scalar(number, kind, self.advance().replace(b" ", b"").decode("ascii", "replace"))

    def _skip_message(self) -> None:
        depth = 1
        while depth:
            if not self.token:
                raise WireError("the text ends within a message")
            if self.kind == "mark":
                depth += (self.token in (b"{", b"<")) - (self.token in (b"}", b">"))
            self.advance()


def _scalar(number: int, kind: str, text: str) -> bytes:
    """A number, a truth value or a name in binary form; nothing for a field that is not in the table."""
    try:
        if kind == "int":
            return key(number, VARINT) + varint(_integer(text))
        if kind == "bool":
            return key(number, VARINT) + varint(text in ("true", "True", "t", "1"))
        if kind == "type":
            return key(number, VARINT) + varint(
                _TYPES[text] if text in _TYPES else _integer(text) if text.isdigit() else 0
            )
        if kind == "float":
            return key(number, FIXED32) + struct.pack("<f", _float(text))
        if kind == "double":
            return key(number, FIXED64) + struct.pack("<d", _float(text))
    except (ValueError, OverflowError) as error:
        raise WireError(f"the text has {text[:40]!r} where a number must be") from error
    return b""


def _integer(text: str) -> int:
    digits = text.lstrip("-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    return int(text, 8 if octal else 0)


def _float(text: str) -> float:
    lower = text.lower()
    plain = lower.removesuffix("f") if not lower.endswith("inf") and not lower.startswith("0x") else lower
    return float(plain)


def parse_text_document(text: bytes) -> bytes:
    """Return the binary form of a `saved_model.pbtxt`.

    Raises:
        WireError: it is not a SavedModel in protobuf's text format, or is larger than `MAX_TEXT_BYTES`.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise WireError(f"saved_model.pbtxt has more than {MAX_TEXT_BYTES} bytes; save it as saved_model.pb")
    return _TextReader(text).message("SavedModel", b"", 0)
