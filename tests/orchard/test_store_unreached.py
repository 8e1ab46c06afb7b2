"""Each way a store cannot be reached has its own sentence, code and way out: names, ports, TLS, authorities, proxies."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

import pytest

from orchard.errors import StoreError, StoreUnavailable
from orchard.store import open_store
from orchard.store.s3 import send_request
from tests.orchard.answering_store import CALLS, OBJECT, Authority, answer_all, error_document, settings_for

pytestmark = pytest.mark.usefixtures("impatient_store")


def fail(settings, call="get"):
    with pytest.raises(StoreError) as caught:
        CALLS[call](open_store(settings))
    with pytest.raises(StoreError) as again:  # the other client
        send_request(settings, "look", lambda s3: s3.list_objects_v2(Bucket="bucket"), attempts=1)
    assert (again.value.code, type(again.value)) == (caught.value.code, type(caught.value))
    return caught.value


def test_an_unknown_name(keys):
    error = fail(settings_for(keys, 80, host="no-such-host.invalid"))

    assert (error.code, type(error)) == ("UnknownHost", StoreUnavailable)
    assert "no-such-host.invalid" in error.message
    assert "its address right" in error.hint


def test_a_port_without_a_server(keys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = fail(settings_for(keys, unused.getsockname()[1]))

    assert (error.code, type(error)) == ("ConnectionRefused", StoreUnavailable)
    assert "is the store running" in error.hint


def test_a_connection_that_is_not_accepted(keys):
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # its queue is full: the kernel drops what comes then, as a firewall does
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(StoreUnavailable) as caught:
            open_store(settings_for(keys, full.getsockname()[1])).get("key")

    assert caught.value.code == "ConnectTimeout"
    assert "firewall" in caught.value.hint


def test_a_server_that_accepts_and_is_silent(keys):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        with pytest.raises(StoreUnavailable) as caught:
            open_store(settings_for(keys, silent.getsockname()[1])).get("key")

    assert caught.value.code == "ReadTimeout"


def test_a_private_authority_is_trusted_when_it_is_named(keys, authority):
    with answer_all(authority.server("127.0.0.1"), body=b"x") as running:
        error = fail(settings_for(keys, running.port, "https"))

        assert (error.code, type(error)) == ("UnknownIssuer", StoreError)
        assert "ORCHARD_STORE_CA_FILE" in error.hint
        assert "objectStore.caSecret" in error.hint
        trusting = settings_for(keys, running.port, "https", store_ca_file=authority.file())
        assert open_store(trusting).get("key").body == b"x"
        assert list(open_store(trusting).stream("key")) == [b"x"]
        running.answer(404, error_document("NoSuchKey"))
        assert not send_request(trusting, "look", lambda s3: s3.get_object(Bucket="b", Key="k"), ("NoSuchKey",))


def test_the_variables_of_other_programs_name_the_authority_in_this_order(keys, authority, monkeypatch, tmp_path):
    right = authority.file()
    wrong = Authority(tmp_path, "another").file("wrong.pem")
    names = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    with answer_all(authority.server("127.0.0.1"), body=b"x") as running:
        settings = settings_for(keys, running.port, "https")
        for position, name in enumerate(names):
            monkeypatch.setenv(name, str(right))
            for later in names[position + 1 :]:
                monkeypatch.setenv(later, str(wrong))
            assert open_store(settings).get("key").body == b"x"
            monkeypatch.setenv(name, str(wrong))
            if name != "SSL_CERT_FILE":
                monkeypatch.setenv("SSL_CERT_FILE", str(wrong))
            error = fail(settings)
            assert error.code == "UnknownIssuer"
            assert f"{wrong} ({name}) does not have that authority" in error.hint
            assert open_store(settings.model_copy(update={"store_ca_file": right})).get("key").body == b"x"
            monkeypatch.delenv(name)


def test_an_authority_that_was_replaced_is_trusted_without_a_restart(keys, authority, tmp_path):
    first = authority.file()
    with answer_all(authority.server("127.0.0.1"), body=b"x") as running:
        store = open_store(settings_for(keys, running.port, "https", store_ca_file=first))
        running.answer(200, b"x", Connection="close", **OBJECT)  # each request has a connection of its own
        assert store.get("key").body == b"x"
        first.write_text("half a fi")  # while it is written, the authority before stays
        assert store.get("key").body == b"x"
        second = Authority(tmp_path, "another")
        second.server("127.0.0.1")  # the server has a certificate of another authority now
        with pytest.raises(StoreError, match="not trusted"):
            store.get("key")
        second.file("new.pem").replace(first)

        assert store.get("other").body == b"x"
        authority.server("127.0.0.1")
        with pytest.raises(StoreError, match="not trusted"):
            open_store(settings_for(keys, running.port, "https", store_ca_file=first)).get("key")


@pytest.mark.parametrize(
    ("names", "days", "ca", "code", "sentence"),
    [
        (("other.example", "10.0.0.1"), range(-1, 30), False, "CertificateNameMismatch", "is not for 127.0.0.1"),
        ((), range(-1, 30), False, "CertificateNameMismatch", "is not for 127.0.0.1"),
        (("127.0.0.1",), range(-9, -2), False, "CertificateExpired", "has expired"),
        (("127.0.0.1",), range(2, 9), False, "CertificateNotYetValid", "not valid yet"),
    ],
)
def test_a_certificate_with_a_fault(keys, authority, names, days, ca, code, sentence):
    with answer_all(authority.server(*names, days=days, ca=ca)) as running:
        error = fail(settings_for(keys, running.port, "https", store_ca_file=authority.file()))

    assert (error.code, type(error)) == (code, StoreError)
    assert sentence in error.message
    assert not names or names[0] != "other.example" or "but for other.example, 10.0.0.1" in error.message


def test_a_certificate_of_an_authority_is_none_of_a_server(keys, authority):
    own = authority.server("127.0.0.1", ca=True)
    with answer_all(own) as running, pytest.raises(StoreError) as caught:
        open_store(settings_for(keys, running.port, "https", store_ca_file=own)).get("key")

    assert caught.value.code == "CertificateIsAuthority"
    assert "CA:FALSE" in caught.value.hint


def test_tls_to_a_port_without_it_and_http_to_a_port_with_it(keys, there, authority):
    error = fail(settings_for(keys, there.port, "https"))
    assert (error.code, "http://" in error.hint) == ("HttpExpected", True)

    with answer_all(authority.server("127.0.0.1")) as running:
        error = fail(settings_for(keys, running.port))
    assert (error.code, "https://" in error.hint) == ("HttpsExpected", True)


def test_a_server_of_another_protocol_is_not_waited_for(keys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(50)
        other.settimeout(0.01)
        stop = threading.Event()

        def greet():
            while not stop.is_set():
                try:
                    connection, _ = other.accept()
                except TimeoutError:
                    continue
                connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
                connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        try:
            with pytest.raises(StoreError, match="did not answer for 'key'") as caught:
                open_store(settings_for(keys, other.getsockname()[1])).get("key")
        finally:
            stop.set()
            thread.join()

    assert caught.value.code == "HttpNotSpoken"


# proxies


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_is_between_this_machine_and_itself(keys, there, monkeypatch, host):
    there.answer(200, b"x", ETag='"0"', Last_Modified="Tue, 24 Nov 2026 00:00:00 GMT")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    settings = settings_for(keys, there.port, host=host)

    assert open_store(settings).get("key").body == b"x"
    assert send_request(settings, "look", lambda s3: s3.head_object(Bucket="b", Key="k"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named_without_its_password(keys, there, monkeypatch, scheme):
    there.answer(407, b"who are you?")
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://name:pass-word@127.0.0.1:{there.port}")

    error = fail(settings_for(keys, 9000, scheme, host="store.example"))

    assert type(error) is StoreError
    assert f"127.0.0.1:{there.port} ({scheme.upper()}_PROXY)" in error.hint
    assert "NO_PROXY=store.example" in error.hint
    assert "NAME:PASSWORD" in error.hint
    assert "pass-word" not in error.message + error.hint


def test_a_proxy_that_does_not_run_is_named(keys, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")

    error = fail(settings_for(keys, 9000, "https", host="store.example"))

    assert "requests go through the proxy 127.0.0.1:1 (HTTPS_PROXY)" in error.hint
