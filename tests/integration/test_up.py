"""`paidonce up` as its user meets it: everything runs, what dies is started again, nothing is left behind."""

import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from paidonce.devstack.kafka_pinned import COORDINATE
from paidonce.devstack.pace import new_secret
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

CLI = [sys.executable, "-m", "paidonce.cli"]
#: Seconds for a whole start: 6 on a quiet machine.
START_S = 100.0
SERVERS = {"postgres", "kafka", "valkey"}
OURS = {"api-1", "api-2", "relay", "consumer-charges", "consumer-ledger", "consumer-notifications"} | {
    "effects", "cleaner", "console", "issuer", "provider",
}  # fmt: skip


@dataclass
class Up:
    process: "subprocess.Popen[bytes]"
    file: Path
    env: dict[str, str]

    @property
    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found

    def cli(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with the stack's servers in its environment."""
        names = {"dsn": "DSN", "kafka": "KAFKA", "valkey": "VALKEY", "issuer": "ISSUER", "provider": "PROVIDER_URL"}
        servers = {f"PAIDONCE_{name}": str(self.said[member]) for member, name in names.items()}
        env = self.env | servers | more
        return subprocess.run([*CLI, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A TMPDIR that PostgreSQL's account can pass through when the tests run as root."""
    made = Path(tempfile.mkdtemp(prefix="paidonce-up-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def left(folder: Path) -> list[Path]:
    return [path for path in folder.glob("paidonce-*/*") if path.name != "lock"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAIDONCE_")}
    return kept | {"TMPDIR": str(folder)} | more


def start(folder: Path, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
    with (folder / "said").open("wb") as said:
        return subprocess.Popen([*CLI, "up", *arguments], env=environment(folder, **more), stdout=said, stderr=said)


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    """The stack for all tests here; at the end SIGTERM must leave nothing of it."""
    own = folder / "lasting"
    own.mkdir(mode=0o711)
    file = own / "up.json"
    process = start(own, "--replicas", "2", "--json", str(file))
    try:
        until(lambda: file.exists() or process.poll() is not None, within_s=START_S, what="paidonce up")
        assert process.poll() is None, (own / "said").read_text()
        yield Up(process, file, environment(own))
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) > len(OURS | SERVERS)
        process.terminate()
        assert process.wait(timeout=60) == 0, (own / "said").read_text()
        assert not [child for child in children if not gone(child.pid)]
        assert not file.exists()
        assert left(own) == []
    finally:
        process.kill()


@pytest.fixture(scope="module")
def token(up: Up) -> str:
    printed = up.cli("token")
    assert printed.returncode == 0, printed.stderr
    return printed.stdout.splitlines()[-1]


def get(up: Up, path: str, token: str) -> httpx.Response:
    return httpx.get(up.said["api"] + path, headers={"Authorization": f"Bearer {token}"})


def test_it_says_where_everything_is_to_its_owner_only(up: Up) -> None:
    said = up.said
    assert stat.S_IMODE(up.file.stat().st_mode) == 0o600
    assert said.keys() >= {"api", "apis", "issuer", "jwks", "provider", "dsn", "kafka", "valkey", "journal", "pids"}
    assert said["apis"][0] == said["api"]
    assert len(said["apis"]) == 2
    assert said["pids"].keys() == OURS | SERVERS
    assert not [name for name, pid in said["pids"].items() if gone(pid)]
    assert Path(said["journal"]).is_file()


def test_its_token_is_the_one_asked_for(up: Up, token: str) -> None:
    assert get(up, "/v1/me", token).json()["tenant"] == "acme"
    printed = up.cli("token", "--tenant", "globex", "--sub", "till-7", "--scope", "payments:read", "--ttl", "60")
    me = get(up, "/v1/me", printed.stdout.splitlines()[-1]).json()
    assert (me["tenant"], me["sub"], me["scopes"]) == ("globex", "till-7", ["payments:read"])


@pytest.mark.slow
def test_a_token_is_found_without_naming_the_issuer(up: Up) -> None:
    printed = subprocess.run([*CLI, "token"], env=up.env, capture_output=True, text=True, timeout=60, check=True)
    assert get(up, "/v1/me", printed.stdout.splitlines()[-1]).status_code == 200


@pytest.mark.slow
def test_a_token_that_the_issuer_refuses_is_one_line(up: Up) -> None:
    printed = up.cli("token", "--tenant", "nobody")
    assert printed.returncode == 1
    assert len(printed.stderr.splitlines()) == 1
    assert printed.stdout == ""


def test_a_payment_is_captured_whichever_replica_took_it(up: Up, token: str) -> None:
    body = {"amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}
    for number, api in enumerate(up.said["apis"]):
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"up-{number}"}
        made = httpx.post(api + "/v1/payments", json=body, headers=headers)
        assert made.status_code == 201, made.text
        place = made.headers["location"]
        until(
            lambda place=place: get(up, place, token).json()["status"] == "captured",  # type: ignore[misc]  # bound now
            within_s=30,
            what="the capture",
        )


def test_a_process_of_ours_that_dies_is_started_again_and_the_file_names_it(up: Up) -> None:
    before = up.said["pids"]["consumer-ledger"]
    os.kill(before, signal.SIGKILL)
    until(lambda: up.said["pids"]["consumer-ledger"] != before, within_s=30, what="the ledger to start again")
    command = psutil.Process(up.said["pids"]["consumer-ledger"]).cmdline()
    assert command[-2:] == ["consumer", "ledger"]


def test_status_and_doctor_read_the_running_stack(up: Up) -> None:
    printed = up.cli("status", "--json")
    assert printed.returncode == 0, printed.stderr
    status = json.loads(printed.stdout)
    assert [shard["shard"] for shard in status["outbox"]] == [0, 1]
    assert {one["name"] for one in status["consumers"]} == {"charges", "ledger", "notifications"}
    assert {lease["name"] for lease in status["leases"]} >= {"relay-shard-0", "relay-shard-1"}
    assert status["kafka_error"] is None
    well = up.cli("doctor", PAIDONCE_PROVIDER_SECRET=new_secret())
    assert well.returncode == 0, well.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "doctor"])
def test_in_a_shell_that_begins_as_it_prints_the_commands_find_everything_well(up: Up, command: str) -> None:
    printed = (up.file.parent / "said").read_text()
    [line] = re.findall(r"set -a; \. (\S+); set \+a", printed)
    assert stat.S_IMODE(Path(line).stat().st_mode) == 0o600
    script = f"set -a; . {line}; set +a; exec {shlex.join(CLI)} {command}"
    said = subprocess.run(["sh", "-c", script], env=up.env, capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, "wrong" in said.stdout) == (0, False), said.stdout + said.stderr
    assert "secret" not in printed


@pytest.mark.slow
def test_doctor_says_what_is_wrong_and_what_to_do(up: Up) -> None:
    ill = up.cli("doctor", PAIDONCE_VALKEY="redis://:wrong@" + up.said["valkey"].rpartition("@")[2])
    assert ill.returncode == 1
    assert "wrong Valkey: says" in ill.stdout
    assert "mend name and password in PAIDONCE_VALKEY" in ill.stdout
    assert "wrong secret: PAIDONCE_PROVIDER_SECRET is empty" in ill.stdout
    assert "good  PostgreSQL" in ill.stdout


@pytest.mark.slow
def test_a_signal_in_the_middle_of_the_start_leaves_nothing(folder: Path) -> None:
    own = folder / "interrupted"
    own.mkdir(mode=0o711)
    process = start(own)
    recorded = lambda: [*own.glob("paidonce-*/*/records/postgres.json")]  # noqa: E731  used twice
    until(lambda: bool(recorded()), within_s=START_S, what="PostgreSQL to be started")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert not [child for child in children if not gone(child.pid)]
    assert left(own) == []


@pytest.mark.slow
def test_the_next_start_ends_what_sigkill_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = folder / "killed"
    own.mkdir(mode=0o711)
    process = start(own)
    wanted = {"postgres", "kafka", "valkey", "issuer"}
    until(
        lambda: wanted <= {path.stem for path in own.glob("paidonce-*/*/records/*.json")},
        within_s=START_S,
        what="the servers to be started",
    )
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert [child for child in children if not gone(child.pid)], "they outlive a killed parent"
    monkeypatch.setattr("tempfile.tempdir", str(own))
    with Run() as run:
        assert not [child for child in children if not gone(child.pid)]
        assert [path.name for path in left(own)] == [run.folder.name]
    assert left(own) == []


@pytest.mark.slow
def test_without_the_jars_it_says_what_it_tried_and_what_to_do(folder: Path, tmp_path: Path) -> None:
    own = folder / "offline"
    own.mkdir(mode=0o711)
    # Nothing listens on port 9 of this machine: every repository is out of reach.
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    process = start(own, XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path), **nowhere)
    assert process.wait(timeout=60) == 1
    *_, last = (own / "said").read_text().splitlines()
    assert COORDINATE in last
    assert "PAIDONCE_KAFKA=host:port" in last
    assert "Traceback" not in (own / "said").read_text()
    assert left(own) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"] == []
