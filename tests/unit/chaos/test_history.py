"""Does the history keep every operation, also one that a kill cut off?"""

import hashlib
from pathlib import Path
from typing import Any

from paidonce.chaos.history import Recorder, lines, operations

WHAT: dict[str, Any] = {
    "kind": "create",
    "tenant": "acme",
    "subject": "s-1",
    "method": "POST",
    "path": "/v1/payments",
    "api": "http://127.0.0.1:1",
    "key": "pay-s-1",
    "request": {"amount": 1},
}


def test_an_operation_is_on_disk_before_it_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder:
        recorder.invoke(**WHAT)
        (sent,) = operations(path)
    assert (sent.outcome, sent.status, sent.ended) == ("info", None, None)
    assert "no answer (cut off)" in sent.told()


def test_answers_join_their_operation_in_whatever_order(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder:
        first, second, third = (recorder.invoke(**WHAT) for _ in range(3))
        recorder.answered(third, "fail", 409, b'{"code": "request-in-progress"}', {})
        recorder.answered(first, "ok", 201, b'{"id": "p-1"}', {"idempotent-replayed": "true"})
        recorder.unanswered(second, "ReadTimeout")
    ok, info, fail = operations(path)
    assert (ok.outcome, ok.status, ok.document, ok.replayed) == ("ok", 201, {"id": "p-1"}, True)
    assert ok.sha256 == hashlib.sha256(b'{"id": "p-1"}').hexdigest()
    assert (info.outcome, info.error) == ("info", "ReadTimeout")
    assert (fail.outcome, fail.code) == ("fail", "request-in-progress")
    assert ok.ended is not None
    assert ok.ended >= ok.began


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder:
        recorder.invoke(**WHAT)
    path.write_bytes(path.read_bytes() + b'{"type": "ok", "num')
    assert len(operations(path)) == 1


def test_no_file_is_no_history(tmp_path: Path) -> None:
    assert list(lines(tmp_path / "none.jsonl")) == []


def test_a_body_that_is_not_json_is_kept_as_text(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder:
        recorder.answered(recorder.invoke(**WHAT), "info", 502, b"\xff bad gateway", {})
    (found,) = operations(path)
    assert found.document == {}
    assert found.body.endswith("bad gateway")
