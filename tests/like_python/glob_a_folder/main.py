import glob
for name in sorted(glob.glob("texts/*.txt")):
    print(name, len(open(name).read()))
