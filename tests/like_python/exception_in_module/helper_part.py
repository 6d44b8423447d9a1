def fail():
    raise ValueError("from a module")
