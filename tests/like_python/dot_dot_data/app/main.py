with open("../data/in.txt") as f:
    text = f.read()
with open("../data/out.txt", "w") as f:
    f.write(text[::-1])
print(len(text))
