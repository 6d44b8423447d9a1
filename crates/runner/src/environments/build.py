# Builds an environment with uv: makes it for an interpreter, then installs a lock in it. By Python, which every image has.
import os, sys

uv, interpreter, environment, python, lock = sys.argv[1:]
options = ["--no-progress", "--index-strategy", "unsafe-best-match", "--allow-empty-requirements", "--compile-bytecode"]
try:
    made = os.spawnv(
        os.P_WAIT,
        uv,
        [uv, "venv", "--quiet", "--no-project", "--no-python-downloads", "--python", interpreter, environment],
    )
    if made == 0:
        os.execv(uv, [uv, "pip", "sync", *options, "--python", python, lock])
except OSError as error:
    sys.exit(f"uv of this worker does not run here: {error.strerror}")
if made == 127:
    sys.exit("uv of this worker does not run here; it needs an image with the GNU C library, such as Debian's")
sys.exit(made if made > 0 else 1)
