import collections, pathlib, sys
words = collections.Counter()
for path in sorted(pathlib.Path(sys.argv[1]).glob("**/*.txt")):
    words.update(path.read_text().split())
out = pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
(out / "counts.tsv").write_text("".join(f"{w}\t{n}\n" for w, n in sorted(words.items())))
print(words.most_common(2))
