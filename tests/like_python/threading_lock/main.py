import threading
lock, total = threading.Lock(), 0

def add():
    global total
    for _ in range(1000):
        with lock:
            total += 1

threads = [threading.Thread(target=add) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print(total)
