from __future__ import annotations

import base64
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from orchard.documents import canonical_json
from orchard.errors import DataError, IntegrityError, SettingsError
from orchard.signing import TrustedKeys, create_pair, load_key, load_trusted, read_signed, sign, verify
from tests.orchard.version_fixtures import KEY, STRANGER, TRUSTED

PAYLOAD = {"model": "fruits", "version": 3, "figures": [0.5, 1e-7], "name": "Ä"}


def test_pair_signs_and_verifies(tmp_path):
    pair = create_pair(tmp_path / "keys")

    document = sign(PAYLOAD, load_key(pair.private))

    assert verify(document, load_trusted(pair.public), "it") == PAYLOAD
    assert document["signature"]["key_id"] == pair.key_id
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600


def test_pair_that_is_there_is_kept(tmp_path):
    first = create_pair(tmp_path)
    body = first.private.read_bytes()

    second = create_pair(tmp_path)

    assert (first.created, second.created) == (True, False)
    assert (second.key_id, second.private.read_bytes()) == (first.key_id, body)


@pytest.mark.parametrize("half", ["private", "public"])
def test_half_a_pair_is_an_error_and_is_left_alone(tmp_path, half):
    pair = create_pair(tmp_path)
    getattr(pair, half).unlink()

    with pytest.raises(DataError, match="half of a key pair"):
        create_pair(tmp_path)

    assert len(list(tmp_path.iterdir())) == 1


def test_halves_of_two_pairs_are_an_error(tmp_path):
    pair, other = create_pair(tmp_path / "a"), create_pair(tmp_path / "b")
    pair.public.write_bytes(other.public.read_bytes())

    with pytest.raises(DataError, match="does not hold the public half"):
        create_pair(tmp_path / "a")


def test_one_file_holds_several_trusted_keys(tmp_path):
    first, second = create_pair(tmp_path / "a"), create_pair(tmp_path / "b")
    both = tmp_path / "both.pem"
    both.write_bytes(b"# ours\n" + first.public.read_bytes() + b"\n# theirs\n" + second.public.read_bytes())

    trusted = load_trusted(both)

    assert set(trusted.keys) == {first.key_id, second.key_id}
    for pair in (first, second):
        assert verify(sign(PAYLOAD, load_key(pair.private)), trusted, "it") == PAYLOAD


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not a valid private key"),
        (pem(KEY.private, BestAvailableEncryption(b"secret")), "not a valid private key"),
        (pem(rsa.generate_private_key(65537, 2048)), "another kind of key"),
    ],
    ids=["empty", "encrypted", "rsa"],
)
def test_invalid_private_key_file_is_named(tmp_path, body, sentence):
    path = tmp_path / "key.pem"
    path.write_bytes(body)

    with pytest.raises(SettingsError, match=sentence):
        load_key(path)


def test_invalid_trusted_keys_file_is_named(tmp_path):
    path = tmp_path / "keys.pem"
    path.write_bytes(b"hello")
    with pytest.raises(SettingsError, match="no PEM public key"):
        load_trusted(path)
    path.write_bytes(pem(KEY.private))
    with pytest.raises(SettingsError, match="expected PUBLIC KEY blocks only"):
        load_trusted(path)
    path.write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(SettingsError, match="not a valid public key"):
        load_trusted(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_trusted(tmp_path / "nowhere")


def change(document, **signature):
    return {**document, "signature": {**document["signature"], **signature}}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (PAYLOAD, "is unsigned"),
        ({"payload": PAYLOAD}, "is unsigned"),
        ({"payload": PAYLOAD, "signature": {}}, "is unsigned"),
        ({**sign(PAYLOAD, KEY), "more": 1}, "is unsigned"),
        (change(sign(PAYLOAD, KEY), more=1), "is unsigned"),
        (change(sign(PAYLOAD, KEY), key_id=7), "is unsigned"),
        (sign(PAYLOAD, STRANGER), f"unknown key '{STRANGER.key_id}'; trusted are {KEY.key_id}"),
        (change(sign(PAYLOAD, STRANGER), key_id=KEY.key_id), "wrong signature"),
        (change(sign(PAYLOAD, KEY), ed25519="AAAA"), "wrong signature"),
        (change(sign(PAYLOAD, KEY), ed25519="?"), "wrong signature"),
        ({**sign(PAYLOAD, KEY), "payload": {**PAYLOAD, "version": 4}}, "wrong signature"),
    ],
)
def test_each_way_not_to_be_signed_has_its_own_sentence(document, sentence):
    with pytest.raises(IntegrityError, match=f"^it .*{sentence}"):
        verify(document, TRUSTED, "it")


def test_no_key_is_trusted_by_default():
    with pytest.raises(IntegrityError, match="trusted are none"):
        verify(sign(PAYLOAD, KEY), TrustedKeys({}), "it")


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_no_flipped_bit_changes_a_trusted_payload(at, bit):
    body = bytearray(canonical_json(sign(PAYLOAD, KEY)))
    body[at % len(body)] ^= 1 << bit

    try:
        payload = read_signed(bytes(body), TRUSTED, "it")
    except IntegrityError:
        return
    assert payload == PAYLOAD  # the 1e-07 has become 1E-07


def test_signature_survives_another_layout_of_the_file():
    document = sign(PAYLOAD, KEY)
    spaced = canonical_json(document).replace(b",", b" ,\n ")

    assert read_signed(spaced, TRUSTED, "it") == PAYLOAD
    assert len(base64.b64decode(document["signature"]["ed25519"])) == 64
