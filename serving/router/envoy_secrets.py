"""The files of tokens and of the certificate that Envoy follows, and the filters that read them.

Each has one resource. Envoy reads a file again when another one takes its name, and keeps the resource before when it
rejects the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchard.request_headers import CHANNEL_HEADER
from serving.tls_certificate import CertificatePair

__all__ = [
    "CALLERS", "CERTIFICATE", "CHOOSERS", "ENGINE", "callers_document", "certificate_document", "choosers_document",
    "engine_document", "engine_filter", "from_file", "hide_token_filter", "secret_file", "token_filter",
]  # fmt: skip

CALLERS, CHOOSERS, ENGINE, CERTIFICATE = "callers", "choosers", "engine", "certificate"

_TYPES = "type.googleapis.com/envoy.extensions"
_RBAC = f"{_TYPES}.filters.http.rbac.v3.RBAC"
_ANY: list[dict[str, Any]] = [{"any": True}]
_SCHEMES = ("Bearer", "bearer")


def secret_file(folder: Path, name: str) -> Path:
    """Return the file of a resource."""
    return folder / f"{name}.json"


def from_file(folder: Path, name: str) -> dict[str, Any]:
    """Return Envoy's source of a resource."""
    return {"path_config_source": {"path": str(secret_file(folder, name))}, "resource_api_version": "V3"}


def token_filter(name: str, folder: Path) -> dict[str, Any]:
    """Return the filter that answers 403 unless a rule of its file allows the request.

    It is the one for roles: `api_key_auth` is work in progress in this Envoy, which its makers' security team does not support.
    """
    return {"name": name, "config_discovery": {"config_source": from_file(folder, name), "type_urls": [_RBAC]}}


def engine_filter(folder: Path) -> dict[str, Any]:
    """Return the filter that sends the router's own token to the model server, instead of the caller's."""
    generic = {
        "@type": f"{_TYPES}.http.injected_credentials.generic.v3.Generic",
        "credential": {"name": ENGINE, "sds_config": from_file(folder, ENGINE)},
        "header_value_prefix": "Bearer ",
    }
    injector = f"{_TYPES}.filters.http.credential_injector.v3.CredentialInjector"
    credential = {"name": "generic", "typed_config": generic}
    return {"name": ENGINE, "typed_config": {"@type": injector, "overwrite": True, "credential": credential}}


def hide_token_filter() -> dict[str, Any]:
    """Return the filter that takes the caller's token out of the request."""
    mutation = f"{_TYPES}.filters.http.header_mutation.v3.HeaderMutation"
    return {
        "name": ENGINE,
        "typed_config": {"@type": mutation, "mutations": {"request_mutations": [{"remove": "authorization"}]}},
    }


def callers_document(tokens: Sequence[str]) -> dict[str, Any]:
    """Return the file of CALLERS: who has one of the tokens passes."""
    return _rules(CALLERS, {"token": {"permissions": _ANY, "principals": [_one_of(tokens)]}})


def choosers_document(tokens: Sequence[str]) -> dict[str, Any]:
    """Return the file of CHOOSERS: a request passes that chooses no channel, or has one of the tokens."""
    no_choice = {"not_rule": {"header": {"name": CHANNEL_HEADER, "present_match": True}}}
    return _rules(
        CHOOSERS,
        {
            "no choice": {"permissions": [no_choice], "principals": _ANY},
            "token": {"permissions": _ANY, "principals": [_one_of(tokens)]},
        },
    )


def engine_document(token: str) -> dict[str, Any]:
    """Return the file of ENGINE: the token that the router sends."""
    return _secret(ENGINE, {"generic_secret": {"secret": {"inline_string": token}}})


def certificate_document(pair: CertificatePair) -> dict[str, Any]:
    """Return the file of CERTIFICATE: both in one file, so that Envoy never sees half of a renewal."""
    chain, key = ({"inline_string": part.decode()} for part in (pair.certificate, pair.key))
    return _secret(CERTIFICATE, {"tls_certificate": {"certificate_chain": chain, "private_key": key}})


def _one_of(tokens: Sequence[str]) -> dict[str, Any]:
    values = [f"{scheme} {token}" for token in tokens for scheme in _SCHEMES]
    ids = [{"header": {"name": "authorization", "string_match": {"exact": value}}} for value in values]
    return {"or_ids": {"ids": ids}}


def _rules(name: str, policies: dict[str, Any]) -> dict[str, Any]:
    config = {"@type": _RBAC, "rules": {"action": "ALLOW", "policies": policies}}
    resource = {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": name}
    return {"resources": [{**resource, "typed_config": config}]}


def _secret(name: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": f"{_TYPES}.transport_sockets.tls.v3.Secret", "name": name, **content}]}
