import sys
for name in sys.argv[1:]:
    text = open(name).read()
    open(name, "w").write(text.replace("old", "new"))
