import pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*")):
    print(path, path.is_dir())
(pathlib.Path(sys.argv[1]) / "summary.txt").write_text("done")
