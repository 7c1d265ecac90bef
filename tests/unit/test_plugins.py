"""`cd4ml.plugins`: what other packages add to the tables of cd4ml."""

import json
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import pytest

from cd4ml import plugins
from cd4ml.data.sources import SOURCES
from cd4ml.errors import PluginError
from cd4ml.plugins import PluginPoint

CODE = "from collections import OrderedDict\nclass Sorted(OrderedDict): pass\nnothing = None\n"


@pytest.fixture
def mappings() -> PluginPoint[type[OrderedDict[str, str]]]:
    built_in = {"ordered": "collections:OrderedDict", "broken": "collections:Nothing"}
    return PluginPoint(kind="mapping", group="cd4ml.mappings", of=OrderedDict, built_in=built_in)


def test_a_package_adds_what_its_entry_points_name(mappings, installed):
    assert mappings.names == ["ordered", "broken"]

    installed("acme", CODE, "[cd4ml.mappings]\nsorted = acme:Sorted\n[cd4ml.others]\nother = acme:Sorted\n")

    assert mappings.names == ["ordered", "broken", "sorted"]
    assert mappings.load("sorted").__module__ == "acme"
    assert mappings.load("ordered") is OrderedDict


def test_nothing_is_imported_before_it_is_used(mappings, installed):
    installed("acme", "raise RuntimeError('imported')", "[cd4ml.mappings]\nsorted = acme:Sorted\n")

    assert "sorted" in mappings.names
    assert mappings.load("ordered") is OrderedDict
    with pytest.raises(PluginError, match="cannot be imported .RuntimeError: imported."):
        mappings.load("sorted")


def test_a_name_that_is_not_there_is_told_with_the_nearest(mappings, installed):
    installed("acme", CODE, "[cd4ml.mappings]\nsorted = acme:Sorted\n")

    with pytest.raises(PluginError) as sortd:
        mappings.load("sortd")
    with pytest.raises(PluginError) as other:
        mappings.load("x")

    assert str(sortd.value) == "'sortd' is no mapping that is installed here; did you mean 'sorted'?"
    assert str(other.value).endswith("there are ordered, broken, sorted")


def test_a_name_that_two_give_is_refused_where_it_is_used(mappings, installed):
    installed("acme", CODE, "[cd4ml.mappings]\nordered = acme:Sorted\nsorted = acme:Sorted\n")
    installed("emca", CODE, "[cd4ml.mappings]\nsorted = emca:Sorted\nemca = emca:Sorted\n")

    with pytest.raises(PluginError) as of_ours:
        mappings.load("ordered")
    with pytest.raises(PluginError) as of_two:
        mappings.load("sorted")

    assert "cd4ml and the package acme 1.0 both have one of this name" in str(of_ours.value)
    assert "the package acme 1.0 and the package emca 1.0 both have one of this name" in str(of_two.value)
    assert mappings.load("emca").__module__ == "emca"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("acme:Nothing", "cannot be imported"),
        ("emca:Sorted", "cannot be imported"),
        ("acme:nothing", "is no cd4ml.OrderedDict"),
        ("collections:Counter", "is no cd4ml.OrderedDict"),
    ],
)
def test_a_package_that_names_what_is_not_there_is_told(mappings, installed, path, said):
    installed("acme", CODE, f"[cd4ml.mappings]\nsorted = {path}\n")

    with pytest.raises(PluginError, match=f"(?s)the package acme 1.0 .*{path}.*{said}.*mend the package"):
        mappings.load("sorted")


@pytest.mark.parametrize("code", ["class Sorted(", "1 / 0", "import sys; sys.exit()", "import os.nothing"])
def test_a_package_that_cannot_be_imported_is_told(mappings, installed, code):
    installed("acme", code, "[cd4ml.mappings]\nsorted = acme:Sorted\n")

    with pytest.raises(
        PluginError, match="(?s)the package acme 1.0 .*acme:Sorted.*cannot be imported.*mend the package"
    ):
        mappings.load("sorted")


def test_a_class_that_lacks_what_each_of_its_kind_has_is_told(installed):
    installed(
        "acme", "from cd4ml import Source\nclass Ftp(Source):\n    ftp: str\n", "[cd4ml.sources]\nftp = acme:Ftp\n"
    )

    with pytest.raises(
        PluginError, match="source 'ftp': acme:Ftp of the package acme 1.0 lacks read, which each cd4ml.S"
    ):
        SOURCES.load("ftp")


def test_a_package_that_was_removed_in_part_still_has_its_other_files(installed, tmp_path):
    installed("acme", CODE, "[cd4ml.mappings]\nsorted = acme:Sorted\n")
    site = Path(find_spec("acme").origin).parent
    (record,) = site.glob("acme*/RECORD")
    record.write_text("acme.py,,\nacme_more.py,,\n")

    assert list(plugins.files([site])) == [site / "acme.py"]


def test_cd4ml_adds_nothing_to_itself_wherever_it_is_edited(tmp_path):
    about = tmp_path / "cd4ml-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: cd4ml\nVersion: 1.0\n")
    (about / "direct_url.json").write_text(json.dumps({"url": tmp_path.as_uri(), "dir_info": {"editable": True}}))
    (tmp_path / "acme.py").touch()

    assert list(plugins.files([tmp_path], {"acme"})) == []


def test_a_package_whose_entry_points_are_malformed_is_told(mappings, installed):
    site = installed("acme", CODE, "[cd4ml.mappings]\nsorted acme:Sorted\n")

    for use in (lambda: mappings.names, lambda: list(plugins.files([site]))):
        with pytest.raises(PluginError, match="the package acme 1.0: its entry_points.txt cannot be read .*again"):
            use()


def test_annotations_that_cannot_be_resolved_are_told(installed):
    code = (
        "from cd4ml import Source\nclass Ftp(Source):\n    ftp: str\n    since: 'datetime'\n    def read(self): ...\n"
    )
    installed("acme", code, "[cd4ml.sources]\nftp = acme:Ftp\n")

    with pytest.raises(PluginError, match="source 'ftp': the annotations of acme:Ftp of the package acme 1.0 cannot"):
        SOURCES.load("ftp")


def test_a_mistake_of_cd4ml_itself_keeps_its_traceback(mappings):
    with pytest.raises(AttributeError):
        mappings.load("broken")
