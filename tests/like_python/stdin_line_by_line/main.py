import sys
for n, line in enumerate(sys.stdin, 1):
    print(n, line.strip())
