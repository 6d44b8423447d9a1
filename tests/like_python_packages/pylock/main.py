from importlib.metadata import version

import click
import idna

click.echo(idna.encode("straße.example").decode())
print(version("click"), version("idna"))
