"""Does each process of a stack log in as its own role does, by both ways to PostgreSQL?"""

from urllib.parse import urlsplit

from paidonce.app.settings import Settings
from paidonce.devstack.logins import Logins
from paidonce.devstack.members import Ports, insiders


def test_every_process_of_ours_has_a_login_of_its_role_by_both_ways() -> None:
    logins = Logins()
    settings = Settings(
        dsn="postgresql://super:hidden@127.0.0.1:6432/d", dsn_direct="postgresql://super:hidden@h:5432/d"
    )
    members = [logins.of(one, settings) for one in insiders(Ports([1, 2]))]
    users = {one.name: urlsplit(one.env["PAIDONCE_DSN"]).username for one in members}
    assert users["api-1"] == users["api-2"] == "paidonce_api_login"
    assert {users[name] for name in ("consumer-charges", "consumer-ledger")} == {"paidonce_consumer_login"}
    assert {*users.values()} == {*logins.users}
    direct = {urlsplit(one.env["PAIDONCE_DSN_DIRECT"]).netloc.rpartition("@")[2] for one in members}
    assert direct == {"h:5432"}
    assert "hidden" not in str([one.env for one in members])
