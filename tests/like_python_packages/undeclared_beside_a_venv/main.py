import pandas as pd
import shapes

totals = shapes.totals("areas.csv")
print(pd.__version__)
print(totals.to_string())
totals.to_json("totals.json")
