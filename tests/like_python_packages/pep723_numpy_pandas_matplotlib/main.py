# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy==2.1.3", "pandas==2.2.3", "matplotlib==3.10.0"]
# ///
import logging

import matplotlib

# It says so when it looks for fonts for long.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "same"
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

frame = pd.read_csv("prices.csv", index_col="day")
frame["mean"] = frame["price"].rolling(2).mean()
print(np.__version__, pd.__version__, matplotlib.__version__)
print(frame)
print("std", np.round(np.std(frame["price"].to_numpy()), 6))
axes = frame["price"].plot(title="Prices")
plt.savefig("prices.svg", metadata={"Date": None})
frame.to_csv("out/means.csv")
