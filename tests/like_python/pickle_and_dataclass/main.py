import pickle
from dataclasses import dataclass

@dataclass
class Point:
    x: int
    y: int

with open("p.pkl", "wb") as f:
    pickle.dump(Point(1, 2), f, protocol=4)
print(pickle.load(open("p.pkl", "rb")))
