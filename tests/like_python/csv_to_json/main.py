import csv, json, sys
with open(sys.argv[1], newline="") as f:
    rows = list(csv.DictReader(f))
for row in rows:
    row["total"] = int(row["price"]) * int(row["count"])
with open("out.json", "w") as f:
    json.dump(rows, f, indent=2, sort_keys=True)
print(len(rows), "rows")
