"""Whether labels by a key can be of any row, which is told before they are taken."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.captured_values import by_feature, is_hashed
from cd4ml.contracts.model import Contract
from cd4ml.errors import DataError
from cd4ml.monitoring import window_table
from cd4ml.names import nearest
from cd4ml.storage import Store


def check(store: Store, model: str, *, contract: Contract, key: Sequence[str]) -> str:
    """Makes sure that the windows have each feature of a key, and nobody keeps it hashed or leaves it out.

    Args:
        store: Holds the windows.
        model: The model's name.
        contract: What it takes.
        key: The features.

    Returns:
        A sentence of what may be wrong, where no window with rows tells; empty otherwise.

    Raises:
        DataError: They have not, or a feature is personal; or the windows cannot be read.
    """
    personal = [one.name for one in contract.inputs if one.personal and one.name in key]
    if personal:
        raise DataError(
            f"key {personal[0]!r}: nothing was taken, for it is personal by the contract of {model}, and so captured "
            "hashed or not at all; take labels by request"
        )
    windows = [one for one in window_table.every(store, model) if one.rows]
    captured = {name for one in windows for name in one.features}
    inputs = [one.name for one in contract.inputs]
    strange = [name for name in key if name not in (captured if windows else inputs)]
    if not strange:
        return ""
    if windows:
        raise DataError(
            f"key {strange[0]!r}: nothing was taken, for no window of {model} has such a feature; take labels by "
            f"request, or have it captured first; {nearest(strange[0], sorted(captured))}"
        )
    return (
        f"key {strange[0]!r}: the model has no such feature, and no window is collected yet; unless it is captured all "
        f"the same, these labels are of no row; {nearest(strange[0], inputs)}"
    )


def check_plain(store: Store, model: str, *, labels: pa.Table, key: Sequence[str]) -> None:
    """Makes sure that values are not taken as they are where the last window that has some has them hashed.

    Args:
        store: Holds the windows.
        model: The model's name.
        labels: By this key (`late_labels.LABELS`).
        key: The features.

    Raises:
        DataError: They would be; or the windows cannot be read.
    """
    windows = [one for one in window_table.every(store, model) if one.rows and {*key} <= {*one.features}]
    captured = by_feature(window_table.rows(store, windows[-1])) if windows else {}
    values = labels["key"].combine_chunks()
    for place, name in enumerate(key):
        if name in captured and is_hashed(captured[name]) and not is_hashed(pc.list_element(values, place)):
            raise DataError(
                f"key {name!r}: nothing was taken, for the last window of {model} has it hashed, as personal data are, "
                "and labels keep it as it is; take labels by request"
            )
