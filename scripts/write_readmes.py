"""Writes the README.md of every component and pipeline from what it says of itself.

    .venvs/tools/bin/python scripts/write_readmes.py [--check]

With --check nothing is written; the exit code is 1 when a README is not what would be written.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kfp.pipeline_spec import pipeline_spec_pb2

ROOT = Path(__file__).parent.parent
KINDS = {value: name.lower() for name, value in pipeline_spec_pb2.ParameterType.ParameterTypeEnum.items()}
WORDS = {"number_integer": "integer", "number_double": "float", "struct": "dict"}


def main() -> int:
    """Writes the READMEs, or checks them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for folder, spec, image in _assets():
        target = folder / "README.md"
        text = _readme(yaml.safe_load((folder / "metadata.yaml").read_text()), spec, image)
        if target.exists() and target.read_text() == text:
            continue
        stale.append(str(target.relative_to(ROOT)))
        if not check:
            target.write_text(text)
    for name in stale:
        print(f"{name}: {'not up to date; run `make pipelines`' if check else 'written'}")  # noqa: T201
    return 1 if check and stale else 0


def _assets() -> Iterator[tuple[Path, Any, str]]:
    for file in sorted(ROOT.glob("components/*/*/component.py")):
        stage, name = file.parts[-3:-1]
        module = importlib.import_module(f"cd4ml.components.{stage}.{name}.component")
        component = getattr(module, name)
        yield file.parent, component.component_spec, component.component_spec.implementation.container.image
    for file in sorted(ROOT.glob("pipelines/*/pipeline.py")):
        name = file.parts[-2]
        pipeline = getattr(importlib.import_module(f"cd4ml.pipelines.{name}.pipeline"), name)
        yield file.parent, pipeline.component_spec, ""


def _readme(metadata: dict[str, Any], spec: Any, image: str) -> str:
    lines = [f"# {metadata['name']}", "", (spec.description or metadata["description"]).strip(), ""]
    if image:
        lines += [f"Stage `{metadata['stage']}`, image `{image}`.", ""]
    inputs = [
        (name, one.type, "" if not one.optional else repr(one.default), one.description)
        for name, one in (spec.inputs or {}).items()
    ]
    lines += _table("Inputs", ("input", "type", "default", ""), inputs)
    outputs = [(name, one.type, one.description) for name, one in (spec.outputs or {}).items()]
    lines += _table("Outputs", ("output", "type", ""), outputs)
    return "\n".join(lines).rstrip() + "\n"


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    for name, kind, *rest in rows:
        cells = [f"`{name}`", _kind(kind), *(_cell(value) for value in rest)]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _kind(kind: str) -> str:
    return WORDS.get(kind.lower(), kind.split("@")[0].removeprefix("system."))


def _cell(value: Any) -> str:
    return " ".join(str(value or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
