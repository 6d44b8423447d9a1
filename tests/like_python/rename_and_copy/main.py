import os, shutil
shutil.copy("in.txt", "copy.txt")
os.rename("copy.txt", "renamed.txt")
shutil.copytree("tree", "tree2")
print(sorted(os.listdir(".")))
