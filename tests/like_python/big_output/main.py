for i in range(60000):
    print(i, "x" * 40)
