open("nowhere.txt")
