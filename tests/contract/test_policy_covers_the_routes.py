"""Is every route of the API in the policy's table, and every row of the table a route?"""

from starlette.routing import Route

from paidonce.app.api.operation import Operation
from paidonce.app.auth.policy import PUBLIC, RULES
from paidonce.app.main import OPERATIONS, create_app
from paidonce.app.settings import Settings


def rows(operations: tuple[Operation, ...]) -> set[tuple[str, str]]:
    return {(operation.method, operation.path) for operation in operations}


def test_every_operation_has_a_rule_or_is_public_and_the_table_holds_no_other() -> None:
    assert rows(OPERATIONS) == set(RULES) | PUBLIC


def test_the_app_has_no_route_beside_its_operations() -> None:
    routes = create_app(Settings()).router.routes
    assert all(isinstance(route, Route) for route in routes)
    found = {(method, route.path) for route in routes if isinstance(route, Route) for method in route.methods or ()}
    assert {row for row in found if row[0] not in {"HEAD", "OPTIONS"}} == rows(OPERATIONS)
