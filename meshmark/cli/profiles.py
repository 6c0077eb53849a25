"""`meshmark profile`: the hardware that a run can give its hosts, each figure with its source."""

from __future__ import annotations

from typing import Annotated

import typer

from meshmark.cli.output import emit

app = typer.Typer(help="List and print hardware profiles.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_profiles() -> None:
    """List the built-in profiles."""
    from meshmark import planfile

    names = planfile.profile_names()
    width = max(map(len, names))
    emit("\n".join(f"{name:{width}}  {planfile.find_profile(name).description}" for name in names))


@app.command("show", epilog="\b\nExample:\n  meshmark profile show eks-r5.4xlarge-io1 > my-profile.yaml")
def show(
    name: Annotated[str, typer.Argument(metavar="PROFILE", help="A built-in profile's name, or a file.")],
) -> None:
    """Print a profile as YAML, with the source of each figure."""
    from meshmark import planfile

    emit(planfile.dump_profile(planfile.find_profile(name)))


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of profile files."""
    from meshmark import planfile

    emit(planfile.profile_schema_text())
