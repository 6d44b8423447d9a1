import sys
for i in range(0, 101, 20):
    sys.stderr.write(f"\r{i:3d}%")
    sys.stderr.flush()
sys.stderr.write("\n")
