from concurrent.futures import ProcessPoolExecutor

def double(n):
    return 2 * n

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        print(list(pool.map(double, [1, 2, 3])))
