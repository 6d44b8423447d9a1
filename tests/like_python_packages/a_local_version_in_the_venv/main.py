from importlib.metadata import version

import units

print(version("units"), units.MILE)
