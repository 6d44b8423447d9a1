"""Counts the words of every text in a folder and writes them to counts.csv, beside this script."""

import collections
import csv
import pathlib
import re
import sys

folder = pathlib.Path(sys.argv[1])
total = collections.Counter()
for path in sorted(folder.glob("*.txt")):
    words = re.findall(r"[a-z']+", path.read_text(encoding="utf-8").lower())
    total.update(words)
    print(f"{path.name:<16} {len(words):>5} words, {len(set(words)):>4} different")

with open(pathlib.Path(__file__).parent / "counts.csv", "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["word", "count"])
    writer.writerows(total.most_common())

print()
widest = total.most_common(1)[0][1]
for word, count in total.most_common(8):
    print(f"{word:>8} {'█' * (40 * count // widest)} {count}")
