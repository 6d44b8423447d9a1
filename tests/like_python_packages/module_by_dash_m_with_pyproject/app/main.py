import click

from app.words import WORD


@click.command()
@click.option("--shout", is_flag=True)
def main(shout):
    click.echo(WORD.upper() if shout else WORD)


if __name__ == "__main__":
    main(prog_name="app")
