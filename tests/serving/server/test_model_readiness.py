"""A model is ready when what its configuration names answers; the log and the reload RPC report the same."""

from __future__ import annotations

import shutil

import grpc
import pytest

from serving.models_config import All, Latest, ModelConfig, Specific
from serving.protos import message, method_types
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, until

NEW = "half_plus_two/124"


def problems(server: Serve, model: str = "m") -> list[str]:
    return server.get("/readyz").json["models"].get(model, [])


@pytest.mark.parametrize("versions", [(77,), (1, 77), (76, 77)])
def test_a_version_that_is_named_and_missing_is_not_ready(folder, served, versions):
    folder.write(Specific(versions), {})
    until(lambda: any("version 77 is configured" in text for text in problems(served)), "it is reported")

    assert served.get("/readyz").status == served.get("/readyz/m").status == 503
    assert "version 77 is configured, but not in base_path" in served.text
    assert served.predict("m", {"instances": [0.0]}).status == 200  # version 1 answers
    folder.put(77, NEW)
    if 76 in versions:
        folder.put(76, NEW)
    until(served.ready, "it has come")


def test_a_label_on_a_version_that_nobody_loads_is_not_ready(folder, served):
    folder.write(Specific((1,)), {"stable": 1, "canary": 5})
    until(lambda: "label canary points to a version that is not available: 5" in served.text, "the log has it")

    assert served.get("/readyz").status == 503
    assert any("label canary" in text for text in problems(served))


def test_one_missing_model_of_several_is_named(folder, served, zoo, tmp_path):
    folder.write(
        Specific((1,)),
        {},
        ModelConfig("matrix", str(zoo / "matrix"), All()),
        ModelConfig("ghost", str(tmp_path / "nowhere"), Latest()),
        ModelConfig("partial", str(zoo / "half_plus_two"), Specific((123, 99))),
    )
    until(
        lambda: "version 99 is configured" in served.text and "nowhere does not exist" in served.text, "both are logged"
    )

    until(lambda: served.get("/readyz/matrix").status == 200, "the others are ready")
    assert (served.get("/readyz").status, served.get("/readyz/m").status) == (503, 200)
    assert served.get("/readyz/ghost").status == served.get("/readyz/partial").status == 503


def test_a_newer_version_that_cannot_be_loaded_is_a_warning_under_latest(folder, served):
    folder.write(Latest(), {})
    bad = folder.put(2, NEW)
    shutil.rmtree(bad / "variables")
    until(lambda: served.state("m", 2) == "END", "it is given up")

    reply = served.get("/readyz")
    assert reply.status == 200
    assert any("version 2 cannot be loaded" in text for text in reply.json["warnings"]["m"])
    assert served.state("m", 1) == "AVAILABLE"


def test_the_newest_whole_version_answers_after_a_start_beside_a_broken_one(folder, tmp_path):
    folder.put(1)
    bad = folder.put(2, NEW)
    shutil.rmtree(bad / "variables")
    folder.write(Latest())
    with Serve(folder.config, tmp_path / "log", ENVIRONMENT) as server:
        assert server.predict("m", {"instances": [0.0]}).json == {"predictions": [2.0]}
        folder.put(3, NEW)
        until(lambda: server.predict("m", {"instances": [0.0]}).json == {"predictions": [3.0]}, "a mended one answers")


def test_the_reload_rpc_reports_what_readiness_does(folder, tmp_path):
    folder.put(1)
    folder.write(Specific((1,)))
    with Serve(folder.config, tmp_path / "log", ENVIRONMENT, "--grpc-port", "0") as server:
        line = until(lambda: next((x for x in server.text.splitlines() if "grpc_port=" in x), ""), "gRPC listens")
        with grpc.insecure_channel("127.0.0.1:" + line.rsplit("=", 1)[1]) as channel:
            method = "HandleReloadConfigRequest"
            request_type, response_type = method_types("ModelService")[method]
            call = channel.unary_unary(
                f"/tensorflow.serving.ModelService/{method}", request_type.SerializeToString, response_type.FromString
            )

            def reload(base: str, *versions: int):
                request = message("ReloadConfigRequest")()
                config = request.config.model_config_list.config.add(name="m", base_path=base)
                config.model_version_policy.specific.versions.extend(versions)
                return call(request, timeout=20).status

            assert reload(str(folder.base), 1).error_code == 0
            missing = reload(str(folder.base), 1, 77)
            assert missing.error_code == 2
            assert missing.error_message.startswith("Some models did not become available: {m: version 77")
            assert server.get("/readyz").status == 503
            assert "does not exist" in reload(str(tmp_path / "nowhere"), 1).error_message
            assert "orchard sync" in reload("s3://bucket/m", 1).error_message
            folder.put(2, NEW)
            assert reload(str(folder.base), 1, 2).error_code == 0
            assert (server.state("m", 2), server.get("/readyz").status) == ("AVAILABLE", 200)
