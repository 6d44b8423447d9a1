import subprocess, sys
subprocess.run([sys.executable, "child.py", "x"], check=True)
