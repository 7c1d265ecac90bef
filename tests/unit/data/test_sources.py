"""`cd4ml.data.sources`: what a team may say about where its table comes from, and a team's own kinds."""

import json
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.data.ingest import ingest
from cd4ml.data.sources import parse
from cd4ml.errors import DataError, PluginError

ORDERS = '''
import os
import pyarrow as pa
from cd4ml import DataError, Source

class Orders(Source):
    """The orders of a shop."""
    orders: str
    since: int = 2020

    def read(self):
        if "SHOP_TOKEN" not in os.environ:
            raise DataError(f"{self}: SHOP_TOKEN is not set; ask the shop for one")
        return pa.table({"order": ["b", "a"], "year": [self.since, self.since + 1]})
'''
ENTRY = "[cd4ml.sources]\norders = acme_shop:Orders\n"


def test_a_teams_own_source_is_ingested_as_a_file_is(tmp_path, installed, monkeypatch):
    installed("acme_shop", ORDERS, ENTRY)
    monkeypatch.setenv("SHOP_TOKEN", "secret")

    version = ingest(
        json.dumps({"orders": "eu", "since": 2024}), store=str(tmp_path / "store"), name="orders", key="order"
    )

    table = pa.table({"order": ["b", "a"], "year": [2024, 2025]})
    assert deltalake.DeltaTable(version.uri).to_pyarrow_table().equals(table)


def test_the_source_of_the_documentation_reads_the_years_that_are_asked_for(tmp_path, documented, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for year in (2024, 2025):
        Path(f"exports/orders/year={year}").mkdir(parents=True)
        pq.write_table(pa.table({"order": [f"a{year}"]}), f"exports/orders/year={year}/orders.parquet")

    source = json.dumps(documented("A new source")["source"])

    assert ingest(source, store="store", name="orders", key="order").rows == 1
    with pytest.raises(DataError, match="sinse: unknown; did you mean 'since'?"):
        parse(source.replace("since", "sinse"))


def test_the_key_of_a_teams_own_source_is_checked(tmp_path, installed, monkeypatch):
    installed("acme_shop", ORDERS, ENTRY)
    monkeypatch.setenv("SHOP_TOKEN", "secret")

    with pytest.raises(DataError) as refused:
        ingest('{"orders": "eu"}', store=str(tmp_path / "store"), name="orders", key="ordr")

    assert str(refused.value) == """{"orders":"eu"}: has no key column 'ordr'; did you mean 'order'?"""


def test_an_error_of_a_teams_own_source_is_told(tmp_path, installed):
    installed("acme_shop", ORDERS, ENTRY)

    with pytest.raises(DataError, match='{"orders":"eu"}: SHOP_TOKEN is not set; ask the shop for one'):
        ingest('{"orders": "eu"}', store=str(tmp_path / "store"), name="orders", key="order")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('{"orders": "eu", "sinse": 3}', "sinse: unknown; did you mean 'since'?"),
        ('{"orders": "eu", "since": "3"}', "since: .* not '3'"),
        ('{"order": "eu"}', "names no source; .* did you mean 'orders'?"),
        ('{"orders": "eu", "file": "a.csv"}', "names 2 sources, orders and file; write one of them"),
        ('{"orders": "eu", "orders": "us"}', "is no object in JSON .a key stands in it twice.; write a path"),
        ('{"orders": ' * 20_000, "is no object in JSON"),
    ],
)
def test_a_mistake_in_a_teams_own_source_is_told(installed, source, told):
    installed("acme_shop", ORDERS, ENTRY)

    with pytest.raises(DataError, match=told):
        parse(source)


def test_a_source_that_is_not_installed_here_is_told():
    with pytest.raises(DataError, match=r"source: names no source; .*; there are file"):
        parse('{"orders": "eu"}')


def test_a_package_that_cannot_be_imported_is_told(installed):
    installed("acme_shop", "import nothing_of_this_name", ENTRY)

    with pytest.raises((DataError, PluginError), match="the package acme_shop 1.0 .* cannot be imported"):
        parse('{"orders": "eu"}')
