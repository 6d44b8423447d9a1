total = 0
for line in open("data/x.csv"):
    total += sum(int(n) for n in line.split(","))
print(total)
