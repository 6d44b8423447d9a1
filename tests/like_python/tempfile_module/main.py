import os, tempfile
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "x")
    open(path, "w").write("temporary")
    print(open(path).read(), os.path.dirname(folder))
with tempfile.NamedTemporaryFile("w+") as f:
    f.write("named")
    f.seek(0)
    print(f.read())
