import sys
from tool.words import WORDS
print(sys.argv[1:], WORDS, __package__)
