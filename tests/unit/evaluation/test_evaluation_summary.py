import json
from dataclasses import replace

import pytest
from evaluation_samples import group

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import record
from cd4ml.errors import DocumentError
from cd4ml.registry import card


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


def test_a_run_is_known_by_the_metrics_of_its_classes_but_for_those_of_many(of_classes, written):
    few = record.found_by(written(of_classes(tuple("abc"))))
    many = record.found_by(written(of_classes(tuple("abcdefghijklmnopqrstu"))))

    assert few["models"]["candidate"]["class_recall@a"] == 0.6
    assert few["slices"]["region=south"] == record.SliceScore(3_000, 0.8)
    assert many["models"]["candidate"].keys() == {name for name in few["models"]["candidate"] if "@" not in name}


def test_the_widest_gap_of_classes_is_that_of_the_class_and_rate_that_differ_most(of_classes):
    found = of_classes()
    gaps = {"class_selection_rate@gold": 0.1, "class_recall@gold": 0.3, "class_recall@silver": 0.2}

    fairness = [replace(one, gap=gaps.get(one.metric, 0.0)) for one in found.fairness]

    assert [one.metric for one in card.widest(fairness)] == ["class_recall@gold"]
