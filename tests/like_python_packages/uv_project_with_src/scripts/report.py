from importlib.metadata import version

import greetings
import six
import tabulate

print(tabulate.tabulate(sorted(greetings.WORDS.items()), headers=["where", "what"]))
print(version("tabulate"), six.__version__, version("greetings"))
