import sys, os
print(__file__, sys.argv, __name__)
print(os.getcwd(), sys.path[0])
