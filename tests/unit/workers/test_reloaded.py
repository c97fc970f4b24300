"""Where do the windows that are made anew over a reloaded outbox end? After as much as one window may hold."""

import pytest

from paidonce.workers.reloaded import _ends


@pytest.mark.parametrize(
    ("sizes", "ends"),
    [
        ([], []),
        ([(7, 1)], [7]),
        ([(1, 1), (2, 1), (3, 1)], [3]),
        ([(1, 1), (2, 1), (3, 1), (9, 1)], [3, 9]),
        ([(1, 60), (2, 40), (3, 1)], [2, 3]),
        ([(1, 60), (2, 41), (3, 1)], [1, 3]),
        ([(1, 500), (2, 500)], [1, 2]),
    ],
)
def test_a_window_ends_at_its_events_or_bytes_and_holds_at_least_one(
    sizes: list[tuple[int, int]], ends: list[int]
) -> None:
    assert list(_ends(sizes, events_max=3, bytes_max=100)) == ends
