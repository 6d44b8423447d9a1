from importlib.metadata import PackageNotFoundError, version

import click
import six


@click.command()
@click.option("--name", required=True)
def greet(name):
    click.secho(f"Hello {name}!", fg="green")
    click.echo(f"{version('click')} {six.__version__}")
    for tool in ("tabulate", "idna"):
        try:
            click.echo(f"{tool} {version(tool)}")
        except PackageNotFoundError:
            click.echo(f"no {tool}: it is of a group that is optional")


greet()
