import importlib
m = importlib.import_module("chosen")
print(m.NAME)
