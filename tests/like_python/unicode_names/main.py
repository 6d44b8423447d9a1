import sys
name = "größe-数据.txt"
print(open(name, encoding="utf-8").read(), end="")
with open("ausgabe-é.txt", "w", encoding="utf-8") as f:
    f.write("naïve café ☃\n")
print(sys.argv[1], "☃")
