import dbm.dumb
with dbm.dumb.open("cache", "c") as db:
    db["k"] = "v"
with dbm.dumb.open("cache", "r") as db:
    print(db["k"])
