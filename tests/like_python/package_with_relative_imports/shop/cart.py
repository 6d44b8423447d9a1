from . import tax
from .math.add import add

def total(xs):
    return add(xs) * (1 + tax.RATE)
