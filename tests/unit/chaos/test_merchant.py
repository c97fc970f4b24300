"""Does the merchant's mailbox tell a right signature from a wrong one, and is it unwell now and then?"""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
import pytest
import standardwebhooks

from paidonce.chaos.history import lines

SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture
def mailbox(tmp_path: Path) -> Path:
    return tmp_path / "deliveries.jsonl"


@pytest.fixture
def url(tmp_path: Path, mailbox: Path) -> Iterator[str]:
    config = tmp_path / "merchant.json"
    config.write_bytes(orjson.dumps({"mailbox": str(mailbox), "secrets": {"acme": SECRET}}))
    argv = [sys.executable, "-m", "paidonce.chaos.merchant", str(config)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()
        assert process.wait(10) == 0


def deliver(url: str, tenant: str, webhook_id: str, body: str = "{}", secret: str = SECRET) -> int:
    at = datetime.now(UTC)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": standardwebhooks.Webhook(secret).sign(webhook_id, at, body),
    }
    return httpx.post(f"{url}/{tenant}", content=body, headers=headers, trust_env=False).status_code


@pytest.mark.slow
def test_deliveries_are_verified_counted_and_sometimes_refused_once(url: str, mailbox: Path) -> None:
    answers = {f"e-{number}": deliver(url, "acme", f"e-{number}") for number in range(60)}
    unwell = [webhook_id for webhook_id, status in answers.items() if status == 500]
    assert unwell
    assert set(answers.values()) == {204, 500}
    assert {deliver(url, "acme", webhook_id) for webhook_id in unwell} == {204}
    assert deliver(url, "acme", "e-0", secret="whsec_" + "b3RoZXJz" * 4) == 400
    assert deliver(url, "globex", "e-1") == 400
    found = list(lines(mailbox))
    assert len(found) == 60 + len(unwell) + 2
    assert [line["verified"] for line in found[-2:]] == [False, False]
    assert all(line["verified"] for line in found[:-2])
