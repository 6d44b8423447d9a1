import subprocess
print(subprocess.check_output("echo $((6 * 7)) | tr 4 5", shell=True, text=True), end="")
subprocess.run(["ls"])
