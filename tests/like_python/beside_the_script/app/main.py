import os
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "words.txt")) as f:
    print(sorted(f.read().split()))
