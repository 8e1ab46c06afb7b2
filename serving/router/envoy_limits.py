"""How many requests a client may send: Envoy's local rate limit, with a bucket for each client and each address."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from orchard.errors import SettingsError

__all__ = ["CLIENT_COOKIE", "CLIENT_HEADER", "COOKIE_PATTERN", "REGEX_LAYER", "RateLimits", "rate_filter"]

CLIENT_HEADER, CLIENT_COOKIE = "x-client", "orchard-client"
_FILTER = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_MOST_CLIENTS = 10_000
"""How many clients, and addresses, are remembered. Above that the one seen longest ago is forgotten and begins anew."""
_MOST_TOKENS = (1 << 32) - 1
COOKIE_PATTERN = f"(.*;)? *{CLIENT_COOKIE}=[^;].*"
"""A regular expression of Cookie headers that have a client's cookie."""
_NAME, _COOKIES = "[ -~]{1,128}", "[ -~]{1,256}"
"""Longer headers count as absent: they are kept in memory."""
REGEX_LAYER = {"name": "regex", "static_layer": {"re2.max_program_size.error_level": 1000}}
"""Of Envoy's runtime: a regular expression that counts to 256 has more than the 100 instructions that it allows."""
_ADDRESS = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
"""A host has a whole /64 of IPv6 addresses."""
_ADDRESS_KEY = "masked_remote_address"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How many requests a client may send.

    Attributes:
        client: requests per second of a client: a name at an address, or an address without a name.
        burst: how many requests a client may send at once.
        address: requests per second of an address, whatever names its requests have.
    """

    client: float
    burst: int
    address: float

    def __post_init__(self) -> None:
        if self.address < self.client:
            raise SettingsError(
                f"an address may send {self.address:g} requests a second and each of its clients {self.client:g}",
                hint="--address-rate must not be less than --client-rate",
            )


def rate_filter(rates: RateLimits) -> dict[str, Any]:
    """Return the filter that answers 429.

    A request takes from the bucket of its client and from that of its address: who sends another name with each request
    gets no more than an address may. The bucket with the smaller rate is the first, so the requests of a client that is
    refused take nothing from its address. A name counts together with its address: nobody can use up the requests of a
    name from elsewhere.

    Args:
        rates: how many requests pass.
    """
    named = _header(CLIENT_HEADER, _NAME)
    known = [_header("cookie", COOKIE_PATTERN), _header("cookie", _COOKIES)]
    unnamed = _header(CLIENT_HEADER, _NAME, absent=True)
    kinds = {
        "client": [_is("client", named), _value(CLIENT_HEADER)],
        "cookie": [_is("cookie", unnamed, *known), _value("cookie")],
        "unknown": [_is("unknown", unnamed), _is_not("unknown", *known)],
        "address": [],
    }
    burst = min(math.ceil(rates.burst * rates.address / rates.client), _MOST_TOKENS)
    client, address = _bucket(rates.client, rates.burst), _bucket(rates.address, burst)
    descriptors = []
    for kind, actions in kinds.items():
        entries = [_entry_of(action) for action in [*actions, _ADDRESS]]
        descriptors.append({"entries": entries, "token_bucket": address if kind == "address" else client})
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "@type": _FILTER,
        "stat_prefix": "rates",
        "filter_enabled": always,
        "filter_enforced": always,
        "token_bucket": address,  # of requests without a descriptor: there are none
        "always_consume_default_token_bucket": False,
        "rate_limits": [{"actions": [*actions, _ADDRESS]} for actions in kinds.values()],
        "descriptors": descriptors,
        "max_dynamic_descriptors": _MOST_CLIENTS,
        "enable_retry_after_header": True,
        "rate_limited_as_resource_exhausted": True,
    }


def _bucket(rate: float, burst: int) -> dict[str, Any]:
    seconds = 1 if rate == round(rate) else 100
    return {"max_tokens": burst, "tokens_per_fill": max(round(rate * seconds), 1), "fill_interval": f"{seconds}s"}


def _header(name: str, regex: str, *, absent: bool = False) -> dict[str, Any]:
    matcher = {"name": name, "string_match": {"safe_regex": {"regex": regex}}}
    return {**matcher, "invert_match": True, "treat_missing_header_as_empty": True} if absent else matcher


def _is(key: str, *headers: dict[str, Any]) -> dict[str, Any]:
    return {"header_value_match": {"descriptor_key": key, "descriptor_value": "yes", "headers": list(headers)}}


def _is_not(key: str, *headers: dict[str, Any]) -> dict[str, Any]:
    match = _is(key, *headers)["header_value_match"]
    return {"header_value_match": {**match, "expect_match": False}}


def _value(header: str) -> dict[str, Any]:
    return {"request_headers": {"header_name": header, "descriptor_key": "value"}}


def _entry_of(action: dict[str, Any]) -> dict[str, Any]:
    """The entry of a descriptor that an action makes; one without a value has a bucket for each value."""
    if "header_value_match" in action:
        return {"key": action["header_value_match"]["descriptor_key"], "value": "yes"}
    return {"key": "value" if "request_headers" in action else _ADDRESS_KEY}
