"""Writes the README.md of every component and pipeline from what it says of itself, and schema.json of every pipeline.

    .venvs/tools/bin/python scripts/write_readmes.py [--check]

With --check nothing is written; the exit code is 1 when a file is not what would be written.
"""

import argparse
import importlib
import json
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from kfp.pipeline_spec import pipeline_spec_pb2

from cd4ml.cli import asked
from cd4ml.running import schema
from cd4ml.running.arguments import model_of

ROOT = Path(__file__).parent.parent
KINDS = {value: name.lower() for name, value in pipeline_spec_pb2.ParameterType.ParameterTypeEnum.items()}
WORDS = {"number_integer": "integer", "number_double": "float", "struct": "dict"}


def main() -> int:
    """Writes the files, or checks them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for target, text in (*_of_components(), *_of_pipelines()):
        if target.exists() and target.read_text() == text:
            continue
        stale.append(str(target.relative_to(ROOT)))
        if not check:
            target.write_text(text)
    for name in stale:
        print(f"{name}: {'not up to date; run `make pipelines`' if check else 'written'}")  # noqa: T201
    return 1 if check and stale else 0


def _of_components() -> Iterator[tuple[Path, str]]:
    for file in sorted(ROOT.glob("components/*/*/component.py")):
        stage, name = file.parts[-3:-1]
        module = importlib.import_module(f"cd4ml.components.{stage}.{name}.component")
        yield file.with_name("README.md"), _component(_metadata(file), getattr(module, name).component_spec)


def _of_pipelines() -> Iterator[tuple[Path, str]]:
    for file in sorted(ROOT.glob("pipelines/*/pipeline.py")):
        name, model = file.parts[-2], model_of(file.parts[-2])
        spec = asked.pipeline(name).component_spec
        yield file.with_name("README.md"), _pipeline(_metadata(file), spec, schema.tables(model))
        json_schema = json.dumps(schema.of_run_file(name, model), indent=2, ensure_ascii=False)
        yield file.with_name("schema.json"), f"{json_schema}\n"


def _metadata(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.with_name("metadata.yaml").read_text())
    return content


def _component(metadata: dict[str, Any], spec: Any) -> str:
    image = spec.implementation.container.image
    lines = [*_head(metadata, spec), f"Stage `{metadata['stage']}`, image `{image}`.", ""]
    inputs = [
        (name, _kind(one.type), "" if not one.optional else repr(one.default), one.description)
        for name, one in (spec.inputs or {}).items()
    ]
    lines += _table("Inputs", ("input", "type", "default", ""), inputs)
    outputs = [(name, _kind(one.type), one.description) for name, one in (spec.outputs or {}).items()]
    lines += _table("Outputs", ("output", "type", ""), outputs)
    return "\n".join(lines).rstrip() + "\n"


def _pipeline(metadata: dict[str, Any], spec: Any, tables: list[schema.Table]) -> str:
    lines = _head(metadata, spec)
    names = {table.name for table in tables}
    for place, table in enumerate(tables):
        rows = [(row.name, _linked(row.kind, names), _default(row), row.description) for row in table.rows]
        title = table.name if place else "Arguments"
        heading, *rest = _table(title, ("name", "what", "default", ""), rows)
        lines += [heading, "", table.description, *rest] if place else [heading, *rest]
    return "\n".join(lines).rstrip() + "\n"


def _head(metadata: dict[str, Any], spec: Any) -> list[str]:
    return [f"# {metadata['name']}", "", (spec.description or metadata["description"]).strip(), ""]


def _default(row: schema.Row) -> str:
    return "required" if row.required else f"`{row.default}`" if row.default else ""


def _linked(kind: str, names: Collection[str]) -> str:
    return re.sub(r"\w+", lambda word: f"[{word[0]}](#{word[0].lower()})" if word[0] in names else word[0], kind)


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    for name, *rest in rows:
        cells = [f"`{name}`", *(_cell(value) for value in rest)]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _kind(kind: str) -> str:
    return WORDS.get(kind.lower(), kind.split("@")[0].removeprefix("system."))


def _cell(value: Any) -> str:
    return " ".join(str(value or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
