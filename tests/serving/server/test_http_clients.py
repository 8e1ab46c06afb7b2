"""Real HTTP clients against the server: each must get its answers, without a pause.

A client that is not installed is skipped by name: ab and wrk are part of no image of ours.
"""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import requests

from tests.serving.programs import Serve

BODY = json.dumps({"instances": [[1, 2, 3, 4]]})
ANSWER = {"predictions": [[7.0, 10.0]]}
LARGE = json.dumps({"instances": [[1, 2, 3, 4]] * 100_000})
"""1.6 MB: curl and Java wait for permission to send so much."""

JAVA = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int round = 0; round < 3; round++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .expectContinue(true)
                .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[1]))).build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body().length());
        }
    }
}
"""
NODE = """
const http = require('node:http');
const fs = require('node:fs');
const [url, file] = process.argv.slice(2);
const agent = new http.Agent({keepAlive: true, maxSockets: 1});
const send = (headers) => new Promise((done, failed) => {
  const request = http.request(url, {method: 'POST', agent, headers}, (response) => {
    let length = 0;
    response.on('data', (piece) => { length += piece.length; });
    response.on('end', () => { console.log(response.statusCode + ' ' + length); done(); });
  });
  request.on('error', failed);
  if (headers.Expect) request.on('continue', () => fs.createReadStream(file).pipe(request));
  else fs.createReadStream(file).pipe(request);
});
send({}).then(() => send({Expect: '100-continue'})).then(() => send({})).then(() => agent.destroy());
"""


def needs(program: str) -> str:
    """Return the path of a client."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed here")
    return path


def output(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def url(server: Serve) -> str:
    return f"http://127.0.0.1:{server.port}/v1/models/matrix:predict"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.json"
    path.write_text(LARGE)
    return path


def test_java_sends_what_it_has_asked_for(url, large, tmp_path):
    java = needs("java")
    (tmp_path / "Client.java").write_text(JAVA)

    lines = output(java, str(tmp_path / "Client.java"), url, str(large)).splitlines()

    assert len(lines) == 3
    assert {line.split()[0] for line in lines} == {"200"}


def test_node_streams_over_one_connection(url, large, tmp_path):
    node = needs("node")
    (tmp_path / "client.js").write_text(NODE)

    lines = output(node, str(tmp_path / "client.js"), url, str(large)).splitlines()

    assert len(lines) == 3
    assert {line.split()[0] for line in lines} == {"200"}


@pytest.mark.parametrize(
    "options",
    [
        [], ["--http1.0"], ["--http2"], ["--http2", "-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"],
        ["-H", "Connection: close"], ["--http1.0", "-H", "Connection: keep-alive"],
        ["--http2", "-H", "Transfer-Encoding: chunked"],
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("size", ["small", "large"])
def test_curl_in_its_ways(url, large, options, size):
    data = BODY if size == "small" else f"@{large}"
    codes = ["-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null", "--max-time", "30"]
    one = [url, "-sS", *options, "--data-binary", data, *codes]
    begin = time.monotonic()

    lines = output(needs("curl"), *one, "--next", *one).splitlines()

    assert [line.split()[0] for line in lines] == ["200", "200"]
    if "Connection: close" not in options and options != ["--http1.0"]:
        assert lines[1].split()[1] == "0", "the connection was not used again"
    assert time.monotonic() - begin < 10


def test_curl_through_the_server_as_a_proxy(server, url):
    answer = output(needs("curl"), "-sS", "-x", f"http://127.0.0.1:{server.port}", "-d", BODY, url, "--max-time", "10")

    assert json.loads(answer) == ANSWER


def test_python_keeps_its_connection(server, url):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(3):
        connection.request("POST", url, BODY)  # the absolute form
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, ANSWER)
        used = connection.sock
        connection.request("POST", "/v1/models/matrix:predict", "{")
        assert connection.getresponse().read()
        assert connection.sock is used, "an error has closed the connection"
    connection.close()


def test_requests_streams_and_keeps_its_connection(url):
    with requests.Session() as session:
        assert session.post(url, data=iter([BODY[:5].encode(), BODY[5:].encode()]), timeout=10).json() == ANSWER
        assert session.post(url, data=BODY, timeout=10, headers={"Connection": "close"}).json() == ANSWER
        assert session.options(url, headers={"Origin": "http://a"}, timeout=10).status_code == 200
        assert session.head(url, timeout=10).status_code == 400


@pytest.mark.parametrize("options", [[], ["-k"]], ids=["", "-k"])
def test_ab(url, tmp_path, options):
    (tmp_path / "body").write_text(BODY)

    report = output(
        needs("ab"), "-n", "50", "-c", "4", "-s", "10", *options, "-p", str(tmp_path / "body"), "-T", "text/json", url
    )

    assert "Non-2xx" not in report
    assert "Complete requests:      50" in report
    if options:
        assert "Keep-Alive requests:    50" in report


def test_wrk(url):
    report = output(needs("wrk"), "-d", "1", "-c", "4", "-t", "1", url.replace(":predict", ""))

    assert "Non-2xx" not in report
    assert "Socket errors" not in report
