import gzip, zipfile
with zipfile.ZipFile("out.zip", "w") as z:
    info = zipfile.ZipInfo("hello.txt", (2024, 1, 2, 3, 4, 6))
    z.writestr(info, "hello")
print(zipfile.ZipFile("out.zip").read("hello.txt"))
with open("out.gz", "wb") as f, gzip.GzipFile("", "wb", fileobj=f, mtime=0) as g:
    g.write(b"hello")
print(gzip.open("out.gz").read())
