import argparse, pathlib
p = argparse.ArgumentParser()
p.add_argument("--config")
a = p.parse_args()
print(pathlib.Path(a.config).read_text(), end="")
