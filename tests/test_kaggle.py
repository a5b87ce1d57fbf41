"""Submission to a local server that speaks the protocol of Kaggle's official client."""

import json
import logging
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tenfold import kaggle as module
from tenfold.cli import main
from tenfold.data import write_submission
from tenfold.errors import DataError, SubmitError
from tenfold.kaggle import submit

pytest.importorskip("kaggle", reason="needs the extra tenfold[kaggle]")
kaggle_env = pytest.importorskip("kagglesdk.kaggle_env")

ENTERED = {"ref": "digit-recognizer", "userHasEntered": True, "maxDailySubmissions": 5}


class FakeKaggle(ThreadingHTTPServer):
    """Answers the client's requests from a table that a test may change."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests = []
        self.uploaded = b""
        self.statuses = ["PENDING", "COMPLETE"]
        self.responses = {
            "GetCompetition": (200, ENTERED),
            "GetSubmissionLimits": (200, {"numToday": 1, "numTotal": 7, "numAllowedNow": 4}),
            "StartSubmissionUpload": (200, {"token": "blob", "createUrl": f"{self.url}/upload"}),
            "CreateSubmission": (200, {"message": "Successfully submitted", "ref": 77}),
            "upload": (200, {}),
        }

    def submissions(self):
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        row = {
            "ref": 77,
            "status": status,
            "publicScore": "0.99610",
            "date": "2026-11-21T10:00:00Z",
        }
        if status == "ERROR":
            row["errorDescription"] = "it has 3 rows"
        return {"submissions": [{**row, "ref": 76, "publicScore": "0.1"}, row]}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self._respond(self.path.rsplit("/", 1)[1])

    def do_PUT(self):
        self._respond("upload")

    def _respond(self, name):
        server, body = self.server, self._body()
        server.requests.append((name, self.headers.get("Authorization", ""), body))
        if name == "upload":
            server.uploaded = body
        status, value = (
            (200, server.submissions()) if name == "ListSubmissions" else server.responses[name]
        )
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Kaggle-APIVersion", "99.0")  # makes the client print a warning
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_args):
        pass


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    """A server that accepts everything, and credentials for it."""
    server = FakeKaggle()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.url)
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    monkeypatch.setenv("KAGGLE_USERNAME", "digit")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def handlers():
    """`main` installs a SIGTERM handler in this process; restore the one before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def submission(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "submission.csv"
    write_submission(path, (np.arange(28_000) % 10).astype(str))
    return path


def exit_code(arguments):
    """Run a command in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tenfold", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code


def test_submit_uploads_the_file_and_returns_the_score(kaggle, submission, caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    done = submit(submission, "first try")
    assert (done.score, done.reference, done.remaining_today) == (0.9961, 77, 3)
    assert kaggle.uploaded == submission.read_bytes()
    names = [name for name, _, _ in kaggle.requests]
    assert names == [
        "GetCompetition", "GetSubmissionLimits", "StartSubmissionUpload", "upload",
        "CreateSubmission", "ListSubmissions", "ListSubmissions",
    ]  # fmt: skip
    created = json.loads(kaggle.requests[4][2])
    assert created["submissionDescription"] == "first try"
    assert created["competitionName"] == "digit-recognizer"
    assert caplog.messages == [
        f"submitting {submission} to digit-recognizer (4 left today)",
        "Kaggle: Successfully submitted",
        "waiting for the score",
    ]


def test_the_command_compares_the_score_with_the_validation_of_the_run(
    kaggle, submission, tmp_path, capsys
):
    run = tmp_path / "run"
    run.mkdir()
    (run / "submission.csv").write_bytes(submission.read_bytes())
    expected = {"accuracy": 0.9962, "correct": 9962, "n": 10000, "interval": [0.9948, 0.9972]}
    (run / "run.json").write_text(json.dumps({"validation": expected}))
    assert exit_code(["submit", str(run / "submission.csv")]) == 0
    output = capsys.readouterr().out
    assert "leaderboard score: 0.99610" in output
    assert "the score is inside it" in output
    assert json.loads((run / "kaggle.json").read_text())["score"] == 0.9961


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"validation": {"accuracy": 0.9}}', "{"])
def test_a_damaged_summary_costs_no_submission(kaggle, submission, tmp_path, capsys, content):
    (tmp_path / "submission.csv").write_bytes(submission.read_bytes())
    (tmp_path / "run.json").write_text(content)
    assert exit_code(["submit", str(tmp_path / "submission.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["expected"] is None
    assert (tmp_path / "kaggle.json").is_file()


def test_another_file_in_the_run_folder_is_not_compared_with_the_run(
    kaggle, submission, tmp_path, capsys
):
    (tmp_path / "submission.csv").write_bytes(submission.read_bytes())
    (tmp_path / "other.csv").write_bytes(submission.read_bytes())
    expected = {"accuracy": 0.9962, "interval": [0.9948, 0.9972]}
    (tmp_path / "run.json").write_text(json.dumps({"validation": expected}))
    assert exit_code(["submit", str(tmp_path / "other.csv")]) == 0
    assert "predicted:" not in capsys.readouterr().out
    assert not (tmp_path / "kaggle.json").exists()


def test_the_score_is_printed_even_if_it_cannot_be_saved(kaggle, submission, tmp_path, capsys):
    (tmp_path / "submission.csv").write_bytes(submission.read_bytes())
    (tmp_path / "run.json").write_text('{"validation": null}')
    (tmp_path / "kaggle.json").mkdir()
    assert exit_code(["submit", str(tmp_path / "submission.csv")]) == 2
    output = capsys.readouterr()
    assert "leaderboard score: 0.99610" in output.out
    assert "kaggle.json: is no ordinary file" in output.err


def test_json_is_alone_on_stdout_whatever_the_client_prints(kaggle, submission, capsys):
    assert exit_code(["submit", str(submission), "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["score"] == 0.9961
    assert "outdated" in output.err


@pytest.mark.parametrize(
    ("name", "status", "value", "message"),
    [
        ("GetCompetition", 200, {**ENTERED, "userHasEntered": False}, "rules are not accepted"),
        (
            "GetCompetition",
            200,
            {**ENTERED, "submissionsDisabled": True},
            "takes no submissions",
        ),
        (
            "GetCompetition",
            404,
            {"code": 404, "message": "Not Found"},
            "no such competition",
        ),
        ("GetCompetition", 403, {"code": 403, "message": "denied"}, "either its name is wrong"),
        ("GetCompetition", 401, {"code": 401, "message": "who?"}, "expired or was revoked"),
        ("GetCompetition", 429, {"code": 429, "message": "slow"}, "too many requests"),
        ("GetSubmissionLimits", 200, {"numToday": 5, "numTotal": 9}, "no submission is left today"),
        ("CreateSubmission", 400, {"code": 400, "message": "Bad file"}, "refuses .Bad file"),
        ("upload", 500, {}, "the upload to Kaggle failed"),
    ],
)
def test_each_refusal_has_an_error_message(kaggle, submission, name, status, value, message):
    kaggle.responses[name] = (status, value)
    with pytest.raises(SubmitError, match=message):
        submit(submission, "try")
    if name in {"GetCompetition", "GetSubmissionLimits"}:
        assert not kaggle.uploaded, "nothing may be uploaded before all checks pass"


def test_a_file_that_kaggle_cannot_score_has_an_error_message(kaggle, submission):
    kaggle.statuses = ["ERROR"]
    with pytest.raises(SubmitError, match="could not score the file"):
        submit(submission, "try")


def test_a_team_without_submissions_may_submit(kaggle, submission):
    kaggle.responses["GetSubmissionLimits"] = (200, {})
    assert submit(submission, "first").remaining_today is None


def test_a_network_failure_after_the_upload_loses_nothing(kaggle, submission, monkeypatch):
    from kaggle.api.kaggle_api_extended import KaggleApi
    from requests import ConnectionError as Lost

    real, failures = KaggleApi.competition_submissions, [Lost("reset"), Lost("reset")]

    def flaky(self, *args, **kwargs):
        if failures:
            raise failures.pop()
        return real(self, *args, **kwargs)

    monkeypatch.setattr(KaggleApi, "competition_submissions", flaky)
    assert submit(submission, "try").score == 0.9961


def test_a_score_that_does_not_come_is_logged(kaggle, submission, monkeypatch, caplog):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    kaggle.statuses = ["PENDING"]
    assert submit(submission, "try").score is None
    assert "no score yet" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(27_999) % 10, "27,999 predictions, expected 28,000"),
        (np.arange(28_000) % 11, "the label 10, expected digits"),
    ],
)
def test_a_wrong_file_is_not_submitted(kaggle, tmp_path, labels, message):
    write_submission(tmp_path / "wrong.csv", labels.astype(str))
    with pytest.raises(DataError, match=message):
        submit(tmp_path / "wrong.csv", "try")
    assert not kaggle.requests


def test_missing_credentials_have_an_error_message_that_names_their_place(
    kaggle, submission, monkeypatch, capsys
):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(SubmitError, match=r"make a token on kaggle.com"):
        submit(submission, "try")
    assert capsys.readouterr().out == ""


def test_an_expired_token_has_an_error_message(kaggle, submission, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_old")
    kaggle.responses["IntrospectToken"] = (200, {"active": False})
    with pytest.raises(SubmitError, match="it has expired"):
        submit(submission, "try")
    kaggle.responses["IntrospectToken"] = (200, {"active": True, "username": "digit"})
    assert submit(submission, "try").score == 0.9961
    assert kaggle.requests[-1][1] == "Bearer KGAT_old"


def test_an_unreachable_server_has_an_error_message(kaggle, submission, monkeypatch):
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, nowhere)
    with pytest.raises(SubmitError, match="is the network up"):
        submit(submission, "try")


def test_a_missing_client_has_an_error_message_that_names_the_package(submission, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(SubmitError, match=r"python -m pip install 'tenfold\[kaggle\]'"):
        submit(submission, "try")
