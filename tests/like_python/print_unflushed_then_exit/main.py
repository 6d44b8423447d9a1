import sys
print("buffered", end="")
sys.exit(0)
