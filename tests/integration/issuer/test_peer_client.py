"""Does a client that others wrote (Authlib's) get through a token's whole life here?"""

import re
from urllib.parse import parse_qsl, urlsplit

from authlib.integrations.httpx_client import AsyncOAuth2Client

from paidonce.devstack.issuer.clients import NATIVE, api_credentials
from paidonce.devstack.issuer.first_people import first_person


async def test_authlib_logs_in_refreshes_introspects_and_revokes(http, monkeypatch):
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # it takes plain http on `localhost` only
    found = (await http.get("/.well-known/oauth-authorization-server")).json()
    transport = http._transport
    program = AsyncOAuth2Client(
        NATIVE,
        redirect_uri="http://127.0.0.1:5173/callback",
        scope="payments:read",
        token_endpoint_auth_method="none",
        code_challenge_method="S256",
        revocation_endpoint_auth_method="none",
        transport=transport,
    )
    api = AsyncOAuth2Client(*api_credentials(), transport=transport)
    async with program, api:
        verifier = "v" * 48
        url, state = program.create_authorization_url(found["authorization_endpoint"], code_verifier=verifier)
        page = await http.get(url)
        name, password = first_person("acme")
        form = dict(parse_qsl(urlsplit(url).query)) | {"username": name, "password": password}
        assert set(re.findall(r'type="hidden" name="(\w+)"', page.text)) == set(form) - {"username", "password"}
        back = (await http.post("/authorize", data=form)).headers["location"]
        first = await program.fetch_token(
            found["token_endpoint"], authorization_response=back, code_verifier=verifier, state=state
        )
        assert first["expires_in"] == 600
        second = await program.refresh_token(found["token_endpoint"], first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"]

        async def active():
            said = await api.introspect_token(found["introspection_endpoint"], second["access_token"])
            return said.json()["active"]

        assert await active()
        answer = await program.revoke_token(found["revocation_endpoint"], second["refresh_token"])
        assert answer.status_code == 200
        assert not await active()
