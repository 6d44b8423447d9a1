import os, stat
open("run.sh", "w").write("#!/bin/sh\necho hi\n")
os.chmod("run.sh", 0o755)
print(oct(stat.S_IMODE(os.stat("tool.sh").st_mode)))
