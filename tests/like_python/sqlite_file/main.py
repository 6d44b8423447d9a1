import sqlite3
db = sqlite3.connect("shop.db")
db.execute("create table item (name text, price integer)")
db.executemany("insert into item values (?, ?)", [("a", 3), ("b", 4)])
db.commit()
print(db.execute("select sum(price) from item").fetchone()[0])
db.close()
import os
os.remove("shop.db")
