"""Do the benchmarks run from start to end, on real servers, and write what they say?"""

import json
from functools import partial

import psycopg
import pytest
from kafka import KafkaProducer
from rich.console import Console

from paidonce import bench
from paidonce.app.messaging.envelope import decode
from paidonce.bench import (
    api,
    backlog,
    broker,
    children,
    database,
    e2e,
    events,
    gateways,
    inbox,
    latency,
    outage,
    relay,
    tokens,
)
from paidonce.bench.errors import BenchError
from paidonce.bench.grounds import Grounds, drain
from paidonce.bench.terms import Terms
from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.gateway.render import KINDS
from paidonce.workers.ledger import movement


def measured(tmp_path, name: str, first: str = "POST") -> dict[tuple[str, str], dict]:
    bench.run([name], tmp_path / "bench.json")
    rows = json.loads((tmp_path / "bench.json").read_text())
    for row in rows:
        assert row["theirs"] == 0 or row["ratio"] == pytest.approx(row["ours"] / row["theirs"], abs=0.001)
        assert (row["reached"] is None) == (row["target"] is None)
    assert rows[0]["figure"] in {name, first}, "the benchmark's rate comes first, under its name"
    assert rows[0]["ours"] > 0
    return {(row["figure"], row["beside"]): row for row in rows}


@pytest.fixture
def small(monkeypatch):
    """Set constants of a benchmark, and wear in no more of the server's log than that takes."""
    monkeypatch.setattr(database, "LOG_SEGMENTS", 5)

    def shrink(module, **values):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)

    return shrink


@pytest.mark.slow
def test_a_relay_is_measured_on_real_servers(run, postgres, kafka, settings, topic):
    events.fill(settings.dsn.get_secret_value(), 600)
    server = database.Server(settings.dsn.get_secret_value(), "", postgres.process.pid if postgres.process else None)
    grounds = Grounds(run, server, kafka)
    over = broker.quiet(600, quiet_s=0.2)
    drained, process = drain(
        grounds,
        topic,
        partial(children.product, run, ["relay"], grounds.settings(server.dsn, topic), wait=False),
        events=600,
        is_over=lambda process, series: process.alive() and over(series),
        within_s=30,
    )
    process.stop()
    assert 0 < drained.seconds < 30
    assert drained.cpu_per_100k("it") > 0
    assert drained.peak_mb > 10
    broker.check_exactly_once(kafka.bootstrap, topic, 600)
    with pytest.raises(BenchError, match="600 records of 600 events, not 601"):
        broker.check_exactly_once(kafka.bootstrap, topic, 601)
    assert database.dead_rows(server.dsn, "outbox") == 0
    for record in broker.records(kafka.bootstrap, topic):
        assert len(record.value) == events.PAYLOAD_BYTES
        message = decode(record.key, record.value, record.headers)
        assert message.type == "payment.accepted" or movement(message).amount == 1_999


@pytest.mark.parametrize(
    ("sent", "error"),
    [([1, 2], None), ([1, 1], "comes after event 1"), ([2, 1], "comes after event 2"), ([1], "1 records of 1 events")],
)
def test_what_was_published_twice_or_out_of_order_is_no_figure(kafka, topic, sent, error):
    broker.make_topic(kafka.bootstrap, topic)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, allow_auto_create_topics=False)
    for sequence in sent:
        headers = [("message-id", str(sequence).encode()), ("ce_sequence", str(sequence).encode())]
        producer.send(topic, key=b"payment", value=b"{}", headers=headers)
    producer.close()
    check = partial(broker.check_exactly_once, kafka.bootstrap, topic, 2)
    if error is None:
        check()
    else:
        with pytest.raises(BenchError, match=error):
            check()


def test_a_server_that_may_lose_commits_is_not_measured(postgres):
    if postgres.process is None:
        pytest.skip("the server is not ours")
    with pytest.raises(BenchError, match="no figure without durability"):
        database.check_durable(postgres.dsn)


def test_dead_rows_are_counted(settings):
    dsn = settings.dsn.get_secret_value()
    events.fill(dsn, 10)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE outbox SET sequence = sequence + 1")
        connection.execute("SELECT pg_stat_force_next_flush()")
    assert database.dead_rows(dsn, "outbox") == 10


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_of_the_api(tmp_path, small):
    small(api, ROUNDS=1, ROUND_S=1.0, WARM_S=0.5)
    found = measured(tmp_path, "api")
    assert {beside for figure, beside in found if figure == "POST"} == {"null", "idemkit"}
    assert {figure for figure, _ in found} == {
        f"{name}{part}" for name in ("POST", "replay") for part in ("", " p50", " p99")
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_of_the_relay(tmp_path, small):
    small(relay, ROUNDS=1, EVENTS=3_000, FASTSTREAM_EVENTS=300)
    found = measured(tmp_path, "relay")
    assert {("relay", "kafka-python"), ("relay", "faststream"), ("relay memory", "faststream")} <= found.keys()
    assert found["relay n_dead_tup", "faststream"]["ours"] == 0
    assert found["relay n_dead_tup", "faststream"]["theirs"] > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_of_a_backlog(tmp_path, small):
    small(backlog, ROUNDS=1, MANY=6_000, FEW=500, BURSTS=2, WARM=2_000, PART=2_000)
    found = measured(tmp_path, "backlog")
    assert {figure for figure, _ in found} == {"backlog", "backlog behind an open transaction", "backlog memory"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_of_latency(tmp_path, small):
    small(latency, LOADS={100: 2.0, 5: 2.0}, WARM_S={100: 1.0, 5: 1.0}, IDLE_S=2.0)
    found = measured(tmp_path, "latency")
    assert found["latency", "asked"]["theirs"] == 100
    assert {"latency p50", "latency p99", "latency 5/s p50", "latency 5/s p99", "latency idle"} <= {
        figure for figure, _ in found
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_of_the_inbox(tmp_path, small):
    small(inbox, ROUNDS=1, MESSAGES=3_000, PEER_MESSAGES=200)
    found = measured(tmp_path, "inbox")
    assert {("inbox", "one transaction"), ("inbox", "limit"), ("inbox ledger", "one transaction")} <= found.keys()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_from_end_to_end(tmp_path, small):
    small(e2e, RATE=20.0, EASY_RATE=10.0, SECONDS=3.0, WARM_S=1.0)
    found = measured(tmp_path, "e2e")
    assert found["e2e", "asked"]["ours"] > 0
    assert found["e2e p50", "limit"]["ours"] > 20, "the provider alone takes as long"
    assert {"e2e CPU relay", "e2e CPU api-1", "e2e CPU postgres", "e2e CPU kafka"} <= {figure for figure, _ in found}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_of_a_token(tmp_path, small):
    small(tokens, ROUNDS=1, TOKENS=200, WARM_UP=20)
    rows = measured(tmp_path, "token")
    assert {beside for figure, beside in rows if figure == "token"} == {"joserfc", "PyJWT", "RSA alone"}
    assert rows["token", "RSA alone"]["ours"] > rows["token", "RSA alone"]["theirs"], "nobody is faster than the check"
    assert rows["token again", "PyJWT"]["ours"] < rows["token", "PyJWT"]["ours"], "a token seen again costs less"


@pytest.mark.gateway
@pytest.mark.timeout(300)
def test_the_figures_of_the_gateways(tmp_path, small):
    small(gateways, ROUNDS=1, ROUND_S=0.5, WARM_S=0.3)
    rows = measured(tmp_path, "gateway", first=f"gateway {next(iter(KINDS))}")
    assert {figure for figure, _ in rows} == {
        f"gateway {kind}{asked}{part}" for kind in KINDS for asked in ("", " me") for part in ("", " p50", " p99")
    }
    assert all(row["theirs"] > 0 for row in rows.values())


@pytest.mark.slow
def test_without_any_gateway_there_is_no_figure(monkeypatch, capsys):
    def none(*_: object, **__: object) -> None:
        raise PackagesUnobtainableError("no apt-get here")

    monkeypatch.setattr(gateways, "STARTS", {"nginx": none})
    with pytest.raises(BenchError, match="none of nginx can be had"):
        gateways.measure(Terms(Console()))
    assert "nginx is left out: no apt-get here" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_of_an_outage(tmp_path, small):
    small(outage, REQUESTS=400, RATE=200.0)
    rows = measured(tmp_path, "outage")
    assert rows["outage", "PyJWT"]["ours"] == 400
    assert rows["outage refused", "PyJWT"]["ours"] == 0
    assert rows["outage refused", "PyJWT"]["theirs"] == 400
    steps = rows["outage fetches", "back-off steps"]
    assert 0 < steps["ours"] <= steps["theirs"], "the issuer was asked, once a step"
    assert rows["outage fetches", "PyJWT"]["theirs"] >= 400
