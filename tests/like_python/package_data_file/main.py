import lib
print(lib.read())
