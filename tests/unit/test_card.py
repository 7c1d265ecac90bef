"""The model card: the parts of Mitchell et al. (2019), filled from what is known, as Markdown and as a page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from evaluated import GRADES, a_summary, a_summary_of_classes, a_summary_of_numbers

from cd4ml.contracts.calibrated import Calibration
from cd4ml.contracts.chosen import ChosenThreshold
from cd4ml.contracts.evaluation import Summary
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.ordinal import ORDINAL
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.registry import card

DATASET = DatasetReference("players", 7, "sha256:d")
VERSION = Version("uptake", 3, "sha256:m", "2024-05-01T06:00:00+00:00", "run-1", "", DATASET)
CONTRACT = Contract("took", ("no", "yes"), (Input("age", "number"), Input("region", "category")), {"model": "dnn"})
CHECK = Check(
    "auc on overall", "at least 0.7", 0.8, Outcome.PASSED, "auc on overall is 0.8 [0.78, 0.82], at least 0.7 wanted"
)
VERDICT = Verdict("check_model", {"model": "sha256:m", "limits": "sha256:l"}, (CHECK,))

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def text(found: Summary | None = None, contract: Contract = CONTRACT, verdict: Verdict = VERDICT) -> str:
        return card.text(VERSION, contract=contract, verdict=verdict, summary=found or a_summary())

    return text


def part(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_a_card_has_the_parts_of_mitchell_et_al_and_says_what_is_left_to_the_team(write: Write) -> None:
    text = write()

    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
    ]
    for title in ("Model details", "Intended use", "Factors", "Ethical considerations"):
        assert "Left to the team: " in part(text, title)


def test_a_card_says_what_was_trained_on_what_and_judged_by_what(write: Write) -> None:
    text = write()

    assert '| trained with | `{"model": "dnn"}` |' in part(text, "Model details")
    assert "| code | unknown |" in part(text, "Model details")
    assert "`took` is `yes` and not `no`" in part(text, "Intended use")
    assert "`age` (number), `region` (category)." in part(text, "Intended use")
    assert "All 200 rows of the test split (`sha256:t`)" in part(text, "Evaluation data")
    assert "40.0 % of them are positive" in part(text, "Evaluation data")
    assert "has judged 3 models." in part(text, "Evaluation data")
    assert "players version 7, `sha256:d`" in part(text, "Training data")
    assert "weighted" not in part(text, "Training data")
    assert "held against (`sha256:l`)" in part(text, "Caveats and recommendations")
    assert "- auc on overall is 0.8 [0.78, 0.82], at least 0.7 wanted" in part(text, "Caveats and recommendations")


def test_analyses_are_unitary_and_intersectional_with_intervals(write: Write) -> None:
    unitary, crossed = part(write(), "Quantitative analyses").split("### Intersectional")

    assert "| overall | 200 | 0.800 [0.780, 0.820] | 0.700 | 0.500 |" in unitary
    assert "| region=south | 79 | 0.800 [0.780, 0.820] | 0.700 | 0.200 |" in unitary
    assert "gender=female" not in unitary
    assert "| gender=female,region=south | 40 | " in crossed
    assert "- AUC less that of the baseline: +0.050 [0.030, 0.070]" in crossed
    assert "| region | true positive rate | 0.5 | south 0.200 | north 0.600 | 0.400 [0.329, 0.471] | 0.333 [" in crossed
    assert "| 0.333 [0.247, 0.424] |" in crossed
    assert "| region | precision | 0.5 | too few rows | too few rows | – | – |" in crossed
    assert "| region | calibration | – | " in crossed


def test_a_card_names_sensitive_columns_that_the_model_sees_and_the_widest_gap(write: Write) -> None:
    text = write()

    assert "`region` (an input of the model)" in part(text, "Factors")
    assert "is 0.200 in south and 0.600 in north" in part(text, "Ethical considerations")
    unseen = write(contract=replace(CONTRACT, inputs=(Input("age", "number"),)))
    assert "`region` (no input of the model)" in part(unseen, "Factors")


def test_the_widest_gap_of_a_column_is_that_of_the_rate_that_differs_most(write: Write) -> None:
    found = a_summary()
    gaps = {"selection_rate": 0.0, "true_positive_rate": 0.3, "false_positive_rate": 0.1}
    fairness = tuple(replace(one, gap=gaps.get(one.metric, None if one.threshold else 0.9)) for one in found.fairness)

    ethics = part(write(replace(found, fairness=fairness)), "Ethical considerations")

    assert "- region: true positive rate at 0.5 is" in ethics
    assert ethics.count("- region") == 1


def test_a_column_without_a_name_is_seen(write: Write) -> None:
    text = write(contract=replace(CONTRACT, inputs=(Input("", "number"), Input(" ", "number"))))

    assert '`""` (number), `" "` (number).' in part(text, "Intended use")


def test_the_card_of_ordered_classes_says_how_far_the_predicted_is_from_the_true_one(write: Write) -> None:
    contract = Contract("grade", GRADES, CONTRACT.inputs, {"model": "dnn"}, ORDINAL)

    analyses = part(write(a_summary_of_classes(ORDINAL), contract=contract), "Quantitative analyses")

    assert "| slice | rows | log_loss | top_1_accuracy | mean_class_error | macro_auc |" in analyses
    assert "| region=south | 80 | 0.75 | 0.700 | 0.9 | 0.800 |" in analyses
    assert "| region | mean class error | – | north 0.4 | south 0.9 | 0.5 | 0.4444 |" in analyses


def test_groups_too_small_and_warnings_are_caveats(write: Write) -> None:
    text = write(verdict=replace(VERDICT, warnings=("this test_split has judged 23 models",)))

    assert "- this test\\_split has judged 23 models." in part(text, "Caveats and recommendations")
    assert "Groups too small to judge by at least one rate: region is\\|le &lt;b>; region south." in text


def test_the_card_of_a_number_speaks_of_its_unit_and_of_no_class(write: Write) -> None:
    contract = Contract("price", (), CONTRACT.inputs, {"model": "dnn"}, REGRESSION)

    text = write(a_summary_of_numbers(), contract=contract)

    assert "It gives `price`, a number, for one row of:" in part(text, "Intended use")
    assert "The root of the mean squared error" in part(text, "Metrics")
    assert "; their labels are 182,000 on average." in part(text, "Evaluation data")
    analyses = part(text, "Quantitative analyses")
    assert "| overall | 200 | 12,346 [11,000, 14,000] | 9,000 | 0.877 |" in analyses
    assert "- RMSE less that of the baseline: -1,500 [-2,500, -400]" in analyses
    assert "| region | mean error | – | south -4,250 | north -500 | 3,750 [" in analyses
    ethics = part(text, "Ethical considerations")
    assert "The widest gaps between groups:\n\n- region: mean error is -4,250 in south and -500 in north" in ethics
    for word in ("probabilit", "positive", "threshold", "class", "AUC", "selected", "None"):
        assert word not in text


def test_the_card_of_several_classes_has_what_is_known_of_each(write: Write) -> None:
    contract = Contract("grade", GRADES, CONTRACT.inputs, {"model": "dnn"}, MULTICLASS)

    text = write(a_summary_of_classes(), contract=contract)

    gives = "It gives the probabilities that `grade` is `bronze`, `silver` or `gold`, for one row of:"
    assert gives in part(text, "Intended use")
    assert "The log loss is" in part(text, "Metrics")
    analyses = part(text, "Quantitative analyses")
    assert "| overall | 200 | 0.75 | 0.700 | 0.800 |" in analyses
    assert "| class | share | predicted share | precision | recall | AUC |\n| --- | ---: |" in analyses
    assert "| gold | 0.500 | 0.400 | 0.400 | 0.400 [0.350, 0.450] | 0.400 |\n" in analyses
    assert "|\n\n### Beside other models\n\n- log loss less that of the baseline: -0.25 [-0.3, -0.2]" in analyses
    assert "| region | recall of gold | – | south 0.100 | north 0.600 | 0.500" in analyses
    ethics = part(text, "Ethical considerations")
    assert "- region: predicted share of gold is 0.100 in south and 0.600 in north" in ethics
    for word in ("positive", "threshold", "selected", "None", "@"):
        assert word not in text


def test_what_was_not_asked_for_is_said(write: Write) -> None:
    found = a_summary()

    text = write(replace(found, slices=found.slices[:1], fairness=(), changes=()))

    assert "It was evaluated on no slices." in text
    assert "No cross of columns was evaluated." in text
    assert "No sensitive column was declared, so no groups were compared." in text
    assert "nothing is known of how groups are treated" in text


def test_groups_that_many_classes_keep_from_being_compared_are_named_with_why(write: Write) -> None:
    contract = replace(CONTRACT, label="grade", classes=GRADES, problem=MULTICLASS)

    text = write(replace(a_summary_of_classes(), fairness=(), sensitive=("region",)), contract)

    why = "of more than 20 classes each is measured on all rows alone."
    assert f"whose groups were not compared: `region` (an input of the model): {why}" in part(text, "Factors")
    assert f"nothing is known of how they are treated: {why}" in part(text, "Ethical considerations")
    assert "No sensitive column" not in text


def test_a_model_of_weighted_rows_says_by_what(write: Write) -> None:
    weighted = replace(CONTRACT, model={"model": "dnn", "reweight": ["region", "gender"]})

    assert "the same in each group of `region` × `gender`" in part(write(contract=weighted), "Training data")


def test_a_model_of_weighted_classes_says_so_and_what_that_does_to_its_probabilities(write: Write) -> None:
    weighted = replace(CONTRACT, model={"model": "dnn", "class_weights": {"yes": 5.0}})

    said = part(write(contract=weighted), "Training data")
    assert 'Its rows were weighted by class (`{"yes": 5.0}`), so its probabilities are of classes as' in said


def test_a_card_says_which_threshold_was_chosen_and_by_what(write: Write) -> None:
    chosen = ChosenThreshold(0.2, rows=100, cost=0.31, false_positive=1, false_negative=5)

    said = part(write(contract=replace(CONTRACT, threshold=chosen)), "Training data")
    assert "was chosen on eval: 0.2, at which a row of the 100 of eval costs 0.31 in the mean" in said
    assert "threshold" not in part(write(), "Training data")


def test_a_card_says_whether_probabilities_are_calibrated_and_by_what(write: Write) -> None:
    calibrated = Calibration("temperature", 200, positives=80, loss=(0.5, 0.4), error=(0.1, 0.02), temperature=1.5)

    said = part(write(contract=replace(CONTRACT, calibration=calibrated)), "Training data")
    assert "were calibrated by a temperature of 1.5, fitted to the 200 rows of eval, 80 of them positive" in said
    assert "Evaluation judges that on the test split." in said
    assert "Its probabilities are not calibrated." in part(write(), "Training data")


def test_the_page_has_all_of_the_card_and_what_comes_from_the_data_stays_text(write: Write) -> None:
    verdict = replace(VERDICT, warnings=("a <script> is a warning",))

    page = card.html(write(verdict=verdict), verdict)

    assert "<title>uptake, version 3</title>" in page
    assert page.count('<div class="card">') == 9
    assert "<h2>Ethical considerations</h2>" in page
    assert "<td>region=is|le &lt;b&gt;</td>" in page
    assert "<script> is" not in page
    assert "1 of 1 limits kept, 1 warning" in page
    assert "Left to the team: licence" in page


def test_a_limit_that_was_not_held_is_said_to_be_skipped(write: Write) -> None:
    skipped = Check("change of auc", "at least 0", None, Outcome.SKIPPED, "first model: no champion to compare with")
    verdict = Verdict("check_model", {}, (CHECK, skipped))

    text = write(verdict=verdict)

    assert "- skipped: first model: no champion to compare with" in part(text, "Caveats and recommendations")
    assert "1 of 1 limits kept, 1 skipped" in card.html(text, verdict)
