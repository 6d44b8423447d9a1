import pandas as pd


def totals(path):
    return pd.read_csv(path).groupby("shape")["area"].sum().sort_index()
