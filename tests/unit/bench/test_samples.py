"""Do percentiles and rates say what they should?"""

import random
from collections import Counter

import pytest

from paidonce.bench.samples import percentile, rate_of_batches


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(share, expected):
    values = list(range(1, 101))
    random.shuffle(values)
    assert percentile(values, share) == expected


def test_the_p99_of_three_hundred_is_the_fourth_largest():
    assert percentile([float(value) for value in range(300)], 0.99) == 296


def test_one_value_is_every_percentile():
    assert percentile([7.0], 0.01) == percentile([7.0], 0.99) == 7.0


def test_there_is_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_the_last_batch_does_not_count_since_nobody_knows_its_end():
    assert rate_of_batches(Counter({10.0: 500, 10.5: 300, 11.0: 200})) == 800.0


def test_one_batch_has_no_rate():
    with pytest.raises(ValueError, match="fewer than two"):
        rate_of_batches(Counter({10.0: 500}))
