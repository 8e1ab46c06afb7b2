"""The gRPC server, in the same event loop as REST."""

from __future__ import annotations

import asyncio
import contextlib

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection, reflection_pb2  # type: ignore[import-untyped]

from orchard.errors import ServerError
from serving.protos import POOL
from serving.server.access_log import AccessLog
from serving.server.application import Application
from serving.server.rpc.service import GrpcService
from serving.tls_certificate import TlsCertificate

__all__ = ["GrpcServer"]

_STATUS = health_pb2.HealthCheckResponse
_CHECK_S = 0.2
for _known in (health_pb2, reflection_pb2):
    POOL.AddSerializedFile(_known.DESCRIPTOR.serialized_pb)


class GrpcServer:
    """TF Serving's gRPC API, health checks and reflection on a separate port.

    Args:
        application: the application that answers.
        host: the address to listen on.
        port: the port; 0: any free one.
        max_bytes: the maximum size of a message.
        certificate: the TLS certificate and its key; None: plain text.
        access_log: logs the calls; None: they are not logged.
        share: other workers listen on the same port.
    """

    def __init__(
        self,
        application: Application,
        host: str,
        port: int,
        max_bytes: int,
        certificate: TlsCertificate | None,
        *,
        access_log: AccessLog | None = None,
        share: bool = False,
    ) -> None:
        self._application = application
        self._access_log = access_log
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._certificate = certificate
        options = [
            ("grpc.max_receive_message_length", max_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", int(share)),
            (
                "grpc.http2.bdp_probe",
                0,
            ),  # the probe adds a ping to every request; the window grows with a message's size anyway
        ]
        self._server = grpc.aio.server(options=options)
        self._health = health.aio.HealthServicer()
        self._health_task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; returns the port. Raises `ServerError` if the port is in use."""
        service = GrpcService(self._application, asyncio.get_running_loop(), self._access_log)
        self._server.add_generic_rpc_handlers((service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*service.names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, POOL)
        try:
            if self._certificate:
                port = self._server.add_secure_port(self._address, self._certificate.grpc_credentials())
            else:
                port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise ServerError(
                f"cannot listen on {self._address} for gRPC: the port is taken",
                hint="stop the program that uses it, or choose another port with --grpc-port",
            ) from error
        await self._server.start()
        self._health_task = asyncio.create_task(self._publish_health(("", *service.names)))
        return int(port)

    async def _publish_health(self, names: tuple[str, ...]) -> None:
        """Publish the state of /readyz in gRPC's health protocol."""
        while True:
            ready = self._application.is_ready()
            for name in names:
                await self._health.set(name, _STATUS.SERVING if ready else _STATUS.NOT_SERVING)
            await asyncio.sleep(_CHECK_S)

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, answer those in flight, then stop."""
        if self._health_task:
            self._health_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._health_task
        await self._server.stop(grace_s)
