"""What was seen of a model within a span of time: a table of predicted rows, and a document a window."""

import pyarrow as pa

ROWS = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),  # when the request had come in
        ("request_id", pa.string()),
        ("row", pa.int32()),  # of the request, from 1
        ("arm", pa.string()),
        ("version", pa.string()),  # of the arm's model
        ("propensity", pa.float64()),  # how likely this arm was to get this request, or a copy of it
        ("mirrored", pa.bool_()),  # whether the answer was given to nobody
        ("unit", pa.string()),  # tells whose requests are one caller's; null where the caller is not known
        ("outputs", pa.list_(pa.string())),  # the names of what is predicted
        ("predictions", pa.list_(pa.float64())),  # a value an output
        ("label", pa.string()),  # a class, or a number as text; null where none has come, or contradicting ones have
        ("labelled_at", pa.timestamp("us", "UTC")),  # when the first of its labels was known
    ]
)
"""Besides `features`, a struct of texts by the names of those that were captured; null where a request lacked one."""
UNKNOWN, OTHER_ROW, OTHER_TYPE, EARLY, CONTRADICTING, TWICE = WHYS = (
    "unknown",  # of no request that was captured
    "other_row",  # of a row that the request does not have, or a feedback with labels for more or fewer rows
    "other_type",  # of no class of the model, or no number
    "early",  # known before the request had come in
    "contradicting",  # of a row that has another label too, so that none of them counts
    "twice",  # as an earlier one of its row says
)
"""Why labels are kept apart."""
APART = pa.schema(
    [
        ("why", pa.string()),  # one of `WHYS`
        ("request_id", pa.string()),
        ("key", pa.list_(pa.string())),
        ("row", pa.int32()),
        ("label", pa.string()),  # null where it is of another type
        ("at", pa.timestamp("us", "UTC")),
    ]
)
