from . import NAME
import sys
print(NAME, __name__, sys.argv[1:])
