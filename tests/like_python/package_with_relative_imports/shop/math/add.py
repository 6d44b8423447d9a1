def add(xs):
    return sum(xs)
