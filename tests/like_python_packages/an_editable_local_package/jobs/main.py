from importlib.metadata import version

import geometry

print(geometry.area(3, 4), version("geometry"), geometry.six.__version__)
