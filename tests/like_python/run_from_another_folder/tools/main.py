import os, sys
print(os.getcwd().endswith("work"), sys.argv[0], os.path.basename(__file__))
print(sys.path[0].endswith("tools"))
open("here.txt", "w").write("made in the working folder")
