import atexit, sys
atexit.register(lambda: print("atexit"))
try:
    sys.exit(2)
finally:
    print("finally")
