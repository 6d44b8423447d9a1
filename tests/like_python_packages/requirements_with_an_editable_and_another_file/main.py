from importlib.metadata import version

import idna
import library

print(version("library"), library.VERSION, idna.__version__)
