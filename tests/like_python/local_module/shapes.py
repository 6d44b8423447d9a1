from units import scale

def area(a, b):
    return a * b * scale
