import pytest
from audited import clean, found_in


@pytest.mark.parametrize("seed", range(12))
def test_a_clean_table_raises_no_alarm(seed):
    assert found_in(clean(seed)) == []
