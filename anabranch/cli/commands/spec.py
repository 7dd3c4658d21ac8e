"""``init``, ``validate``, ``plan`` and ``schema``: commands that need no engine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.reports.validation import Findings, validation_json, validation_text
from anabranch.cli.template import EXTRAS, Template, make
from anabranch.cli.terminal import note, progress, result, result_json
from anabranch.errors import Forbidden, InvalidRequest, Problem, SpecError, TooLarge


class DocumentKind(StrEnum):
    """The kinds of documents."""

    INFERENCE_GRAPH = "InferenceGraph"
    MODEL = "Model"
    ACCESS_POLICY = "AccessPolicy"


class PlanFormat(StrEnum):
    """The format in which ``plan`` prints a plan on stdout."""

    TABLE = "table"
    JSON = "json"
    MERMAID = "mermaid"


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the graph.", file_okay=False)
    ] = Path(),
    template: Annotated[
        Template,
        typer.Option(
            "--template",
            help="tabular: a model on columns of mixed types; image: a network on images; text: a "
            "model on texts; ab: two models that compete.",
        ),
    ] = Template.TABULAR,
) -> None:
    """Make a folder with a graph that works: spec, components or a training script, a request.

    The graph is named after the folder, where that is a name for a graph. No file is replaced.
    """
    name, files = make(folder, template)
    for file in files:
        result(str(file))
    steps = []
    if extras := EXTRAS[template]:
        steps += [f"pip install 'anabranch[{extras}]'", f"python {quote(f'{folder}/train.py')}"]
    spec = quote(f"{folder}/graph.yaml")
    steps += [
        f"anabranch serve {spec}   # in this terminal, without Ray",
        f"anabranch run {spec}   # or on an engine, which deploys each change",
        f"anabranch infer {name} --data {quote(f'@{folder}/request.json')}   # in another terminal",
    ]
    note("\n  ".join(["next:", *steps]))


def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Graphs, shared models and access policies in YAML, portable bundles, or "
            "oci://host/name:tag.",
            parser=options.source,
        ),
    ],
    load: Annotated[
        bool,
        typer.Option("--load", help="Construct and load every node and monitor, too. Runs code."),
    ] = False,
    timeout: options.Timeout = 120.0,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Check specs and the files beside them, and print all mistakes with line and column.

    Warnings follow, and what could not be checked; neither fails. Components are read but not run,
    unless --load is given; --timeout is for each node then.
    """
    found = {file: _findings(file, home, timeout if load else None) for file in files}
    if output is options.Format.JSON:
        result_json(validation_json(found))
    else:
        for file, findings in found.items():
            result(validation_text(file, findings))
    if any(findings.error for findings in found.values()):
        raise typer.Exit(1)


def plan(
    file: options.GraphSource,
    home: options.Home = None,
    output: Annotated[
        PlanFormat, typer.Option("--output", "-o", help="Format of the plan.")
    ] = PlanFormat.TABLE,
) -> None:
    """Show the plan of a graph: segments, hops, resources, and the changes that a deploy makes."""
    from anabranch.cli.reports.graph import plan_text
    from anabranch.client.portable.sources import opened
    from anabranch.graph.compile.loading import open_graph
    from anabranch.graph.compile.render import plan_to_json, to_mermaid
    from anabranch.graph.shared.documents import DocumentedModels

    with opened(file) as (spec, bundle):
        loaded = open_graph(spec, models=DocumentedModels(spec.parent))
    if output is PlanFormat.MERMAID:
        result(to_mermaid(loaded.plan))
    elif output is PlanFormat.JSON:
        result_json(plan_to_json(loaded.plan))
    else:
        from anabranch.cli.commands.changes import changes_against_live
        from anabranch.client.connection.engine_state import resolve_home

        changes = changes_against_live(loaded, file, bundle, resolve_home(home))
        result(plan_text(plan_to_json(loaded.plan), changes))


def schema(
    kind: Annotated[
        DocumentKind | None,
        typer.Option("--kind", help="Documents of one kind; graphs and models if left out."),
    ] = None,
) -> None:
    """Print the JSON Schema of the language, for editors."""
    from anabranch.specs.schema import json_schema, schema_of

    match kind:
        case None:
            result_json(json_schema())
        case DocumentKind.INFERENCE_GRAPH:
            from anabranch.specs.models import InferenceGraph

            result_json(schema_of(InferenceGraph))
        case DocumentKind.MODEL:
            from anabranch.specs.shared.document import SharedModelDocument

            result_json(schema_of(SharedModelDocument))
        case DocumentKind.ACCESS_POLICY:
            from anabranch.control.access.policy import Policy

            result_json(schema_of(Policy))


def _findings(file: str, home: Path | None, timeout: float | None) -> Findings:
    """Return what is found in a file; its nodes are loaded where there is a ``timeout`` for it."""
    from anabranch.client.bundle.checks import bundle_passes
    from anabranch.client.connection.engine_state import resolve_home
    from anabranch.client.portable.sources import opened
    from anabranch.graph.compile.bundled import note_unchecked
    from anabranch.graph.compile.loading import open_graph
    from anabranch.graph.shared.documents import DocumentedModels
    from anabranch.specs.loader import read
    from anabranch.specs.unvalidated import as_map

    try:
        with opened(file) as (spec, _):
            if as_map(read(spec).data).get("kind") == DocumentKind.ACCESS_POLICY:
                from anabranch.control.access.policy import read_policy

                read_policy(spec.read_bytes(), str(spec))
                return Findings()
            root = spec.parent.resolve()
            passes = (
                *bundle_passes(root, resolve_home(home)),
                lambda draft: note_unchecked(draft, root),
            )
            loaded = open_graph(spec, passes, DocumentedModels(spec.parent))
            warnings, unchecked = loaded.plan.warnings, loaded.unchecked
            if timeout is None:
                return Findings(None, warnings, unchecked)
            still = [one for one in unchecked if one.path[-1] != "component"]
            return Findings(_load_mistakes(spec, timeout), warnings, still)
    except SpecError as error:
        return Findings(error)
    except (Forbidden, InvalidRequest, TooLarge) as error:  # unsigned, or no bundle can be made
        return Findings(SpecError([Problem((), str(error), file=file)]))


def _load_mistakes(file: Path, timeout: float) -> SpecError | None:
    from anabranch.graph.trial import load_problems

    with progress(f"loading {file}") as say:
        problems = load_problems(file, timeout, say)
    return SpecError(problems) if problems else None
