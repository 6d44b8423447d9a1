import os
import sys

import tabulate

rows = [line.split() for line in open(sys.argv[1])]
print(os.path.basename(os.getcwd()), sys.argv)
with open("table.txt", "w") as out:
    out.write(tabulate.tabulate(rows))
