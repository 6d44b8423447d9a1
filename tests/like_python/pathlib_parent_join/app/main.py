from pathlib import Path
root = Path(__file__).resolve().parent.parent
print((root / "data" / "notes.txt").read_text().upper(), end="")
