import sys
print("child got", sys.argv[1:])
