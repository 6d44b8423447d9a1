import os
for year in (2024, 2025):
    os.makedirs(f"out/{year}/raw", exist_ok=True)
    with open(f"out/{year}/raw/x.txt", "w") as f:
        f.write(str(year))
os.makedirs("out/empty")
