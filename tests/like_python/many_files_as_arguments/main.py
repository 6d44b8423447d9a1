import sys
print(sum(len(open(n).read()) for n in sys.argv[1:]))
