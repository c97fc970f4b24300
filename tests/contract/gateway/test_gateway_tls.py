"""Who is at the other end? The gateway's own certificate, and the one that it shows to a service."""

import ssl

import httpx
import pytest

pytestmark = pytest.mark.gateway


@pytest.fixture
def folder(run, here):
    return here.new_folder(run)


def test_it_speaks_tls_itself(run, here, keys, serve, folder, parties):
    _, pem, private = here.certified(folder, "gateway.example")
    listening = {"tls_certificate": str(pem), "tls_key": str(private)}
    document = {"gateway": listening, "issuers": [here.issuer_at(keys)], "services": [here.paidonce(serve(here.echo))]}
    gateway = here.start(run, document)
    trusting = ssl.create_default_context(cafile=pem)
    trusting.check_hostname = False
    with httpx.Client(verify=trusting, trust_env=False, timeout=20) as caller:
        answer = caller.get(f"https://127.0.0.1:{gateway.port}/v1/me", headers=here.bearing(parties.issuer.token()))
        assert answer.status_code == 200
    # Plain HTTP on that port is no way in: NGINX says so, Envoy ends the connection.
    in_the_clear = gateway.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 400 " in in_the_clear.split(b"\r\n")[0] or (here.kind, in_the_clear) == ("Envoy", b"")


@pytest.mark.parametrize(
    ("shown", "name", "status"),
    [("ours", "api.example", 200), ("none", "api.example", 502), ("ours", "another.example", 502)],
)
def test_a_service_that_asks_for_the_gateways_certificate(
    run, here, keys, serve, caller, folder, parties, shown, name, status
):
    _, pem, private = here.certified(folder, "gateway.example")
    private.chmod(0o644)
    asking, vouching, _ = here.certified(folder, "api.example")
    asking.load_verify_locations(pem)
    asking.verify_mode = ssl.CERT_REQUIRED
    service = serve(here.echo, tls=asking)
    tls = {"authority": str(vouching), "name": name}
    if shown == "ours":
        tls |= {"certificate": str(pem), "key": str(private)}
    planned = here.paidonce(service) | {"upstreams": [f"https://127.0.0.1:{service.port}"], "upstream_tls": tls}
    gateway = here.start(run, {"issuers": [here.issuer_at(keys)], "services": [planned]})
    answer = caller.get(f"{gateway.url}/v1/me", headers=here.bearing(parties.issuer.token()))
    # Without a certificate the service ends the handshake: no answer, too.
    assert answer.status_code == status
    assert len(service.seen) == (answer.status_code == 200)
