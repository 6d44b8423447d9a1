with open("run.log", "a") as f:
    f.write("second\n")
print(open("run.log").read(), end="")
