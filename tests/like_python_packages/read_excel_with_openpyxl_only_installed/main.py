import pandas as pd

pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).to_excel("/tmp/like_python_book.xlsx", index=False)
print(pd.read_excel("/tmp/like_python_book.xlsx").to_csv())
