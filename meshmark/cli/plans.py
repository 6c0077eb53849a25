"""`meshmark plan`: what a run would do, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.output import emit, note

if TYPE_CHECKING:
    from meshmark.plan import Plan, Scenario

DEFAULT_PLAN = "banzai-2019"

app = typer.Typer(help="Print, check and list plans.", no_args_is_help=True, rich_markup_mode=None)


def find(name: str) -> Plan:
    """A built-in plan by its name, or a file by its path; a file is meant where there is one, or the name has a
    slash or ends as YAML files do."""
    from meshmark import planfile

    path = Path(name)
    if "/" in name or path.suffix in (".yaml", ".yml") or path.exists():
        return planfile.load(path)
    return planfile.builtin(name)


@app.command("show", epilog="\b\nExamples:\n  meshmark plan show > my.yaml\n  meshmark plan show produce-consume")
def show(
    name: Annotated[str, typer.Argument(metavar="PLAN", help="A built-in plan's name, or a file.")] = DEFAULT_PLAN,
) -> None:
    """Print a plan as YAML, with every default spelt out."""
    from meshmark import planfile

    emit(planfile.dump(planfile.effort(find(name), "default")))


@app.command("check", epilog="\b\nExample:\n  meshmark plan check my.yaml")
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan file.")]) -> None:
    """Check a plan file; tell all its mistakes with their lines (exit code 2), or what it would take."""
    from meshmark import planfile
    from meshmark.units import duration

    plan = planfile.furnished(planfile.effort(planfile.load(file), "default"))
    rounds = len(plan.order())
    emit(
        f"{file}: fine: {rounds} rounds of {len(plan.scenarios)} scenarios, about "
        f"{duration(planfile.estimate_seconds(plan))}"
    )
    for text in remarks(plan):
        note(f"warning: {text}")


@app.command("import", epilog="\b\nExample:\n  meshmark plan import workload.yaml > my.yaml")
def import_plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An OpenMessaging Benchmark workload.")],
) -> None:
    """Print a plan that measures an OpenMessaging Benchmark workload under every data plane."""
    from meshmark import planfile
    from meshmark.planfile import openmessaging

    plan, left = openmessaging.as_plan(file)
    said = [f"# From {file.name}. Not taken, because a run decides it:", *(f"#   {text}" for text in left)]
    emit("\n".join(said) + "\n" + planfile.dump(planfile.effort(plan, "default")))
    for text in left:
        note(f"not taken: {text}")


@app.command("list")
def list_plans() -> None:
    """List the built-in plans."""
    from meshmark import planfile

    names = planfile.builtin_names()
    width = max(map(len, names))
    emit("\n".join(f"{name:{width}}  {planfile.builtin(name).description}" for name in names))


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of plan files."""
    from meshmark import planfile

    emit(planfile.schema_text())


def remarks(plan: Plan) -> list[str]:
    """What is allowed, but hardly what a person wants."""
    from meshmark.planfile import estimate_seconds
    from meshmark.units import duration

    found = []
    names = [scenario.name for scenario in plan.scenarios]
    found += [
        f"without the baseline scenario {name} the loss of the others stays unknown"
        for name in plan.baselines
        if name not in names
    ]
    found += [
        f"{scenario.name}: {threshold.name} cannot be told: no load of that share is measured"
        for scenario, threshold in plan.thresholds()
        if threshold.share is not None and not any(map(threshold.is_at, scenario.method.equal_load))
    ]
    found += [text for scenario in plan.scenarios for text in _of_flaps(scenario)]
    if plan.repeats == 1:
        found.append("one repeat shows no spread, so no difference can be told from noise")
    needed = estimate_seconds(plan)
    if needed > plan.budget_seconds:
        found.append(
            f"about {duration(needed)} are needed and budgetSeconds is {plan.budget_seconds:.0f} "
            f"({duration(plan.budget_seconds)}): the last rounds will not run"
        )
    return found


def _of_flaps(scenario: Scenario) -> list[str]:
    """Of links that go down for nothing, or not at all."""
    links, method = scenario.cluster.topology.flapping(), scenario.method
    load_s = method.settle_seconds + method.window_seconds
    found = [
        f"{scenario.name}: the link {link.name} stays up for {link.flap.up_seconds:g} s (flap.upSeconds), and a "
        f"trial's load takes {load_s:g} s (settleSeconds and windowSeconds): it never goes down"
        for link in links
        if link.flap.up_seconds >= load_s
    ]
    if links and not scenario.workload.subscriptions_per_topic:
        found.append(
            f"{scenario.name}: links go down and nothing is read back (subscriptionsPerTopic is 0): whether "
            "acknowledged records are lost stays unknown"
        )
    return found
