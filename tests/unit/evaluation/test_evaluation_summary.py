import json
from dataclasses import replace

import pytest
from evaluation_samples import group

from cd4ml.contracts import evaluation as summary
from cd4ml.errors import DocumentError


def test_a_summary_is_read_as_it_was_written(found, written):
    assert summary.read(written(found)) == found


def test_what_cannot_be_computed_is_null_in_the_file(found, written):
    undefined = replace(found, slices=(group("region=east", auc=None),))

    content = json.loads((written(undefined) / "summary.json").read_text())

    assert content["slices"][0]["metrics"]["auc"] is None


def test_a_file_cut_short_says_what_to_do(found, written):
    file = written(found) / "summary.json"
    file.write_text(file.read_text()[:100])

    with pytest.raises(DocumentError, match="run evaluate_model again"):
        summary.read(file.parent)


def test_the_weakest_slice_is_large_enough_to_judge(found):
    tiny = group("region=isle", auc=0.1, rows=1000, label_rate=0.01)

    assert replace(found, slices=(*found.slices, tiny)).weakest() == ("gender=female,region=south", 0.55)


def test_of_slices_that_are_all_too_small_none_is_the_weakest(found):
    tiny = group("region=isle", auc=0.1, rows=1000, label_rate=0.029)
    undefined = group("region=east", auc=None)
    enough = group("region=south", auc=0.9, rows=1000, label_rate=0.03)

    assert replace(found, slices=(tiny, undefined)).weakest() is None
    assert replace(found, slices=(tiny, undefined, enough)).weakest() == ("region=south", 0.9)
