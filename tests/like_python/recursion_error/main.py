import sys
sys.setrecursionlimit(200)

def deep(n):
    return deep(n + 1)

try:
    deep(0)
except RecursionError as error:
    print("caught", type(error).__name__)
