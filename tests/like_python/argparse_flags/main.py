import argparse
p = argparse.ArgumentParser(description="Sum numbers.")
p.add_argument("numbers", type=int, nargs="+")
p.add_argument("--scale", "-s", type=float, default=1.0)
p.add_argument("--verbose", action="store_true")
a = p.parse_args()
if a.verbose:
    print("numbers:", a.numbers)
print(sum(a.numbers) * a.scale)
