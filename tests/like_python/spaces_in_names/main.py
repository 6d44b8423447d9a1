import sys
print(open(sys.argv[1]).read())
open("my result.txt", "w").write("ok")
