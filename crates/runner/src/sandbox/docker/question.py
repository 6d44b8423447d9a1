# What of an image is there for a job to see, outside of the system's folders: printed as one line of JSON.
import json, os, platform, sys, sysconfig

depth, hidden = int(sys.argv[1]), set(sys.argv[2:])


def filled(folder, left):
    found = []
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return found
    for entry in entries:
        if entry.path in hidden:
            continue
        if not entry.is_dir(follow_symlinks=False):
            found.append(entry.path)
            continue
        try:
            empty = not os.listdir(entry.path)
        except OSError:
            continue  # nothing that a job could read
        if not empty:
            found.append(entry.path)
            if left > 1:
                found += filled(entry.path, left - 1)
    return found


build = [sys.version, sysconfig.get_config_var("SOABI") or "", platform.machine(), *platform.libc_ver()]
answer = {
    "executable": sys.executable,
    "base_executable": getattr(sys, "_base_executable", None) or sys.executable,
    "build": " ".join(build),
    "taken": filled("/", depth),
}
print(json.dumps(answer))
