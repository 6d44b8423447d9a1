from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    print(sorted(pool.map(lambda n: n * n, range(10))))
raise SystemExit(3)
