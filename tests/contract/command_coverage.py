"""How each command of the pages is run: by a reader's terminal, by a named test, or not here, with the reason.

Blocks of `READ_PAGES` are run line by line (`test_reader.py`), unless `COVERAGE` names another test for a line. Every other
command of a block or a table needs an entry, or to be the same as a line that is run. The first entry that fits counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.contract.documented_commands import DocumentedCommand

__all__ = ["COVERAGE", "READ_PAGES", "Coverage", "find_coverage", "is_read", "uncovered"]

READ_PAGES = (
    "docs/tutorial.md",
    "README.md",
    "docs/stores.md",
    "docs/reference/settings.md",
    "docs/operating.md",
    "data/README.md",
)
"""Pages whose blocks are run line by line, in this order, in the workspace that the tutorial made."""

READ_TABLES = ("docs/operating.md",)
"""Pages whose tables are run too."""


@dataclass(frozen=True)
class Coverage:
    """Commands that a test runs, or that no test can run.

    Attributes:
        pattern: what a command is, in one line, with `*` for any text.
        test: the test that runs it, as pytest names it, or `.ci/run`, which runs the command itself.
        reason: why nothing here runs it.
        page: a pattern of the pages where that counts.
    """

    pattern: str
    test: str = ""
    reason: str = ""
    page: str = "*"

    def fits(self, command: DocumentedCommand) -> bool:
        """Return whether the entry is about a command."""
        return fnmatchcase(" ".join(command.text.split()), self.pattern) and fnmatchcase(command.page, self.page)


_E2E = "tests/e2e/"
_LOOP = f"{_E2E}test_loop.py::test_the_version_that_the_cluster_trained_predicts_a_photo_that_training_never_saw"
_HELM_TEST = f"{_E2E}test_loop.py::test_helm_test_predicts_golden_photos"
_CANARY_ON_A_CLUSTER = f"{_E2E}test_router.py::test_a_canary_and_rolling_updates_behind_the_router_lose_nothing"
_ROLLBACK = f"{_E2E}test_registry_jobs.py::test_a_promotion_and_its_rollback_are_in_the_history_with_who_and_why"
_RUNS = f"{_E2E}test_registry_jobs.py::test_the_training_job_of_the_deployment_is_a_run_with_its_verdict_and_version"
_SHOWN = f"{_E2E}test_registry_jobs.py::test_versions_and_history_name_what_is_served"
_DOCTOR = f"{_E2E}test_loop.py::test_the_doctor_finds_nothing"
_AIRFLOW = f"{_E2E}airflow/test_airflow_runs.py::test_new_photos_become_a_live_version"
_SCENARIOS = f"{_E2E}test_scenarios.py::"
_UPGRADE = f"{_E2E}test_upgrade.py::test_an_upgrade_keeps_keys_and_models_and_serves_on"
_FIRST_HOUR = "tests/contract/test_wheel.py::test_first_hour_goes_from_photos_to_a_served_prediction"
_DEMO = (
    "tests/orchestration/test_demo.py::test_interrupted_demo_leaves_no_process_and_the_next_run_ends_with_predictions"
)
_CALLING = "tests/contract/test_calling.py::test_code_block_of_the_callers_page_works"
_TUTORIAL = "tests/contract/test_reader.py::test_tutorial_works_line_by_line"
_PREDICT = "tests/orchard/test_client.py::test_predict_prints_photo_label_and_probability"
_LABELS = "tests/training/test_label_verb.py::"
_ROUTER = "tests/serving/router/"
_CONSOLE = "tests/serving/console/"
_CAPTURE = "tests/serving/server/test_capture.py::"
_CAPTURES = "tests/training/test_captures.py::"
_REVIEW = "tests/orchard/test_corrections_review.py::"
_NOTIFY = "tests/orchard/webhooks/test_notify_verb.py::test_"
_FIGURES = "a benchmark of minutes, whose figures are in docs/benchmarks.md"
_CLOUD = "it needs a registry or a store of the reader's own"
_CLUSTER = "it needs a cluster; tests/e2e installs the chart by the same call of helm"
_SKAFFOLD = "it needs skaffold and a cluster; tests/k8s/test_overlays.py checks the files that it reads"
_MINUTES = "a training of minutes to an hour, whose figures are in docs/training.md"

_CHECKOUT = (
    Coverage(
        "make setup",
        reason="make test and make demo call it before anything else; tests/contract/test_setup.py tests it",
        page="CONTRIBUTING.md",
    ),
    Coverage("make test", test=".ci/run"),
    Coverage("make e2e", test=".ci/run"),
    Coverage('make e2e ARGS="-m long"', reason="the tests of `make e2e` that it leaves out for their time"),
    Coverage("make demo", test=".ci/run"),
    Coverage("orchard demo*", test=_DEMO),
    Coverage("make serve", test=_DEMO),
    Coverage("make notebooks EXECUTE=1", test="tests/notebooks/test_notebooks.py::test_notebook_runs_on_short_data"),
    Coverage(
        "make notebooks",
        test="tests/notebooks/test_notebooks.py::test_jupyterlab_listens_on_loopback_with_its_token_and_stores_no_outputs",
    ),
    Coverage("make pytest*", reason="a part of `make test`"),
    Coverage("make long", reason="tests of `make pytest`, which leaves them out for their time"),
    Coverage(
        "make smoke *", reason="another Python, in which it runs tests of `make test` and the loop of `make demo`"
    ),
    Coverage("make format", reason="it changes the checkout; `make lint` checks the same"),
    Coverage(".venv/bin/pytest tests/orchard -q", reason="a part of `make test`"),
    Coverage("*.venv/bin/pytest *tests/faults/*", reason="the same tests run in `make test`, with fewer examples"),
    Coverage(
        "*.venv/bin/pytest tests/serving/conformance",
        reason="for a server of the reader's own; `make test` runs the same tests on ours",
    ),
    Coverage(
        ".venv/bin/python -m tests.serving.model_fixtures *",
        test="tests/serving/conformance/test_api.py::test_metadata_names_every_type",
    ),
    Coverage(
        ".venv/bin/python -m tests.photo_sets",
        reason="trainings of minutes; tests/orchestration/test_demo_own_photos.py runs one of them",
    ),
    Coverage(
        ".venv/bin/python -m tests.faults.fuzz *",
        test="tests/faults/test_hostile.py::test_almost_valid_requests_never_get_a_5xx",
    ),
    Coverage("orchard serve --capture*", test=f"{_CAPTURE}test_each_kind_of_request_is_stored_with_its_predictions"),
    Coverage("curl *x-orchard-no-capture*", test=f"{_CAPTURE}test_what_its_sender_forbids_is_not_stored"),
    Coverage("orchard captures show*", test=f"{_CAPTURES}test_show_counts_by_day_version_and_label"),
    Coverage("orchard captures export *", test=f"{_CAPTURES}test_every_form_has_the_photos_and_a_table"),
    Coverage("make bench", reason=_FIGURES),
    Coverage("python -m bench.*", reason=_FIGURES),
    Coverage(
        "luigi *",
        test="tests/orchestration/test_luigi.py::test_a_retraining_publishes_once_and_a_second_run_of_it_does_nothing",
    ),
)

_LIBRARY = (
    Coverage(
        'PHOTOS="../shared*', reason="the real photos are no part of the product; the test draws some, as the page says"
    ),
    Coverage("*", test=_CALLING, page="docs/calling.md"),
    Coverage("orchard init *", test=_FIRST_HOUR),
    Coverage("orchard init", test=_FIRST_HOUR),
    Coverage("orchard run", test=_FIRST_HOUR),
    Coverage("orchard predict PHOTO", test=_FIRST_HOUR),
    Coverage("orchard predict", test=_PREDICT),
    Coverage("orchard predict photo.jpg", test=_PREDICT),
    Coverage("orchard sync --serve", test=_FIRST_HOUR, page="docs/project.md"),
    Coverage("cd signs", test=_FIRST_HOUR),
    Coverage("pip install 'orchard_loop-*", test=_FIRST_HOUR),
    Coverage("pip install *", reason="it needs a package index; `make setup` installs the same packages"),
    Coverage(
        "orchard doctor",
        test="tests/orchestration/test_machine_checks.py::test_good_machine_lacks_nothing_and_nothing_is_written",
    ),
    Coverage(
        "orchard store run -- bash", test="tests/orchard/test_store_verbs.py::test_store_lives_as_long_as_the_command"
    ),
    Coverage("orchard ingest", test=_FIRST_HOUR),
    Coverage(
        "orchard ingest PATH --test-share *",
        test="tests/training/test_test_share.py::test_a_share_of_each_class_tests_the_model_if_no_folder_names_a_split",
    ),
    Coverage("orchard gate && orchard publish && orchard promote *", test=_TUTORIAL),
    Coverage("orchard step", test="tests/training/test_steps.py::test_a_step_that_has_ended_is_not_run_again"),
    Coverage(
        "mkdir /tmp/step *",
        test="tests/training/test_steps.py::test_a_step_needs_the_one_before_it_and_a_folder_of_its_own",
    ),
    Coverage(
        "orchard serve",
        test="tests/serving/server/test_process.py::test_sigterm_answers_what_is_under_way_and_then_ends",
    ),
    Coverage("orchard sync", test="tests/serving/sync/test_following.py::test_sigterm_ends_it_at_once"),
    Coverage(
        "orchard sync --once",
        test="tests/serving/sync/test_following.py::test_once_returns_when_the_channels_version_is_live",
    ),
    Coverage("orchard keys create", test="tests/orchard/test_registry_verbs.py::test_keys_create_makes_a_pair_once"),
    Coverage("orchard prune*", test="tests/orchard/test_pruning.py::test_the_verb_on_the_real_store"),
    Coverage("orchard train", test=_TUTORIAL),
    Coverage("orchard evaluate", test=_TUTORIAL),
    Coverage("orchard diff", test=_TUTORIAL),
    Coverage("orchard train --set *", test="tests/training/test_params.py::test_overrides_change_one_value"),
    Coverage("orchard train --profile *", reason=_MINUTES),
    Coverage("for name in mobilenet_v2 *", reason=_MINUTES),
    Coverage("orchard cross-validate *", test=f"{_LABELS}test_cross_validation_prints_figures_with_intervals_by_class"),
    Coverage(
        "orchard validate --labels *",
        test=f"{_LABELS}test_wrong_label_is_listed_with_its_picture_and_the_command_that_corrects_it",
    ),
    Coverage("orchard data relabel --from artifacts/*", test=f"{_LABELS}test_commands_of_the_page_correct_the_label"),
    Coverage('orchard rollback --why "…"', test=_TUTORIAL),
    Coverage("orchard sync --serve", test=_FIRST_HOUR, page="docs/canary.md"),
    Coverage("orchard sync --serve*", test=_FIRST_HOUR, page="docs/console.md"),
    Coverage(
        "orchard corrections list",
        test=f"{_REVIEW}test_classes_are_counted_by_photo_and_client_and_few_clients_are_held",
    ),
    Coverage(
        "orchard corrections export *",
        test=f"{_REVIEW}test_an_export_has_photos_by_class_and_a_label_file_and_holds_back",
    ),
    Coverage("orchard corrections remove *", test=f"{_REVIEW}test_what_was_exported_is_removed_and_all_else_stays"),
    Coverage(
        "orchard ingest to-review *",
        test="tests/training/test_reviewed_corrections.py::test_an_export_is_ingested_as_the_page_says",
    ),
    Coverage(
        "orchard console --sync *",
        test=f"{_CONSOLE}test_loop_pages.py::test_the_page_shows_channels_versions_refusals_and_runs",
    ),
    Coverage(
        "orchard console --token-file *",
        test=f"{_CONSOLE}test_access.py::test_a_token_opens_a_session_and_only_its_cookie_keeps_it",
    ),
    Coverage(
        "orchard console*",
        test=f"{_CONSOLE}test_console_process.py::test_after_sigterm_a_request_in_flight_is_answered_and_the_process_ends_with_0",
    ),
    Coverage(
        "orchard route --console *",
        test=f"{_CONSOLE}test_behind_the_router.py::test_the_page_asks_the_model_server_by_the_router_and_shows_the_channel",
    ),
    Coverage(
        "curl * http://127.0.0.1:8503/console/api/state",
        test=f"{_CONSOLE}test_loop_pages.py::test_the_state_for_programs_is_what_the_verbs_print",
    ),
    Coverage(
        'curl * "Authorization: Bearer *',
        test=f"{_ROUTER}test_route_tokens.py::test_the_model_server_gets_the_routers_token_and_not_the_callers",
    ),
    Coverage(
        "orchard route*",
        test=f"{_ROUTER}test_front.py::test_after_sigterm_requests_in_flight_are_answered_and_nothing_is_left",
    ),
    Coverage("orchard canary *", test="tests/orchard/test_canaries.py::test_the_verbs_canary_promote_and_history"),
    Coverage("orchard shadow *", test="tests/orchard/test_canaries.py::test_the_verb_shadow_and_its_way_to_stable"),
    Coverage(
        "export ORCHARD_CHANNELS=*", test="tests/orchard/test_channel_names.py::test_the_setting_is_a_list_with_commas"
    ),
    Coverage(
        "orchard predict photo.jpg --channel staging",
        test="tests/orchard/test_client.py::test_predict_uses_the_version_that_the_channel_points_to",
    ),
    Coverage(
        "orchard * --why *",
        test="tests/orchard/test_registry_verbs.py::test_promote_history_rollback_versions",
        page="docs/canary.md",
    ),
    Coverage(
        "orchard history *",
        test="tests/orchard/test_canaries.py::test_the_verbs_canary_promote_and_history",
        page="docs/canary.md",
    ),
    Coverage(
        "curl * 'x-orchard-channel: canary' *",
        test=f"{_ROUTER}test_model_server.py::test_rest_goes_to_the_version_of_the_channel",
    ),
    Coverage("orchard promote * --why …", test=_TUTORIAL),
    Coverage(
        "python -c 'import base64, secrets; *",
        test="tests/orchard/webhooks/test_webhook_receivers.py::test_the_command_of_the_page_writes_a_secret",
        page="docs/webhooks.md",
    ),
    Coverage("export ORCHARD_WEBHOOKS_FILE=*", test=f"{_NOTIFY}a_promotion_goes_to_the_receiver_and_is_listed"),
    Coverage("orchard notify --ping", test=f"{_NOTIFY}ping_shows_which_receiver_is_reached_and_records_nothing"),
    Coverage("orchard notify", test=f"{_NOTIFY}the_loop_sends_what_happens_until_sigterm"),
    Coverage("orchard notify --once --resend*", test=f"{_NOTIFY}what_was_given_up_ends_with_11_until_it_is_sent_again"),
    Coverage("*orchard notify *", test=f"{_NOTIFY}a_promotion_goes_to_the_receiver_and_is_listed"),
)

_ON_A_CLUSTER = (
    Coverage("make deploy AIRFLOW=1", test=_AIRFLOW),
    Coverage("make deploy", test=_LOOP),
    Coverage("orchard deploy", test=f"{_E2E}test_project.py::test_a_project_is_deployed_and_removed"),
    Coverage("make predict *", test=_LOOP),
    Coverage("make doctor", test=_DOCTOR),
    Coverage(
        "make airflow",
        test="tests/orchestration/test_deploy_airflow.py::test_the_command_for_the_password_is_one_line_for_a_shell",
    ),
    Coverage("make retrain", test=_AIRFLOW),
    Coverage("make screenshots", reason="it needs Chromium and a cluster with Airflow"),
    Coverage("make runs", test=_RUNS),
    Coverage("make versions", test=_SHOWN),
    Coverage("make history", test=_SHOWN),
    Coverage("orchard job history", test=_SHOWN),
    Coverage("make rollback *", test=_ROLLBACK),
    Coverage("orchard job rollback", test=_ROLLBACK),
    Coverage("orchard job canary *", test=_CANARY_ON_A_CLUSTER),
    Coverage("orchard job shadow *", test=_CANARY_ON_A_CLUSTER),
    Coverage("orchard job promote *", test=_CANARY_ON_A_CLUSTER),
    Coverage("make promote *", test=_ROLLBACK),
    Coverage("make port-forward", test=_LOOP),
    Coverage("make logs", reason="`kubectl logs --follow` of the release; tests/e2e reads the same logs"),
    Coverage("make evidence", reason="the e2e tests collect it by the same code when one of them fails"),
    Coverage("make undeploy", reason="it deletes the release; `make e2e` removes its namespaces by the same code"),
    Coverage("orchard job*", test=f"{_E2E}test_training.py::test_each_published_once"),
    Coverage("orchard ingest photos.tar.gz", test=_LOOP),
    Coverage("scripts/cluster up", test=_LOOP),
    Coverage("scripts/images *", test="tests/charts/test_images.py::test_the_script_names_what_it_would_build"),
    Coverage("docker pull *", reason=_CLOUD),
    Coverage("helm test *", test=_HELM_TEST),
    Coverage("helm upgrade --install*", test=_LOOP),
    Coverage(
        "helm upgrade * --set serving.engine=orchard,*", test=f"{_SCENARIOS}test_our_engine_with_tokens_and_as_any_user"
    ),
    Coverage(
        "kubectl * create secret generic callers *", test=f"{_SCENARIOS}test_our_engine_with_tokens_and_as_any_user"
    ),
    Coverage("helm upgrade*", test=_UPGRADE),
    Coverage("helm install *", reason=_CLUSTER),
    Coverage("helm uninstall*", reason="it deletes the release; `make undeploy` calls it, and tests/e2e at its end"),
    Coverage(
        "kubectl * delete *", reason="it deletes keys and photos; `make undeploy` calls it, and tests/e2e at its end"
    ),
    Coverage("kubectl * create secret generic s3-*", test=f"{_E2E}test_existing_keys.py::test_existing_keys_are_used"),
    Coverage("export ORCHARD_STORE_URL=*", reason=_CLOUD),
    Coverage(
        "for key in ingest *",
        test="tests/orchestration/test_keys.py::test_the_check_of_a_store_passes_with_the_key_of_the_identity",
    ),
    Coverage("kubectl * apply -k *", test=f"{_SCENARIOS}test_the_overlay_for_kind_is_applied_by_kubectl"),
    Coverage("kubectl *", reason=_CLUSTER),
    Coverage("skaffold *", reason=_SKAFFOLD),
    Coverage("CLUSTER=offline skaffold *", reason=_SKAFFOLD),
    Coverage("kind create *", reason=_SKAFFOLD),
)

COVERAGE = (*_CHECKOUT, *_LIBRARY, *_ON_A_CLUSTER)


def find_coverage(command: DocumentedCommand) -> Coverage | None:
    """Return the first entry that fits a command."""
    return next((entry for entry in COVERAGE if entry.fits(command)), None)


def is_read(command: DocumentedCommand) -> bool:
    """Return whether a reader's terminal runs a command: its page and place are read, and no entry names another test."""
    place = command.place == "block" or (command.place == "table" and command.page in READ_TABLES)
    return place and command.page in READ_PAGES and find_coverage(command) is None


def uncovered(commands: Iterable[DocumentedCommand]) -> list[DocumentedCommand]:
    """Return the commands of blocks and tables that nothing runs and no entry explains."""
    found = list(commands)
    texts = {" ".join(command.text.split()) for command in found if is_read(command)}
    return [
        command
        for command in found
        if command.place != "sentence"
        and not is_read(command)
        and find_coverage(command) is None
        and " ".join(command.text.split()) not in texts
    ]
