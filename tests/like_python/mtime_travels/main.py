import os
print(os.path.getsize("a.txt"), os.path.getmtime("a.txt") < os.path.getmtime("b.txt"))
