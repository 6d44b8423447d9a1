# Builds an environment with uv: makes it for an interpreter, then installs a lock in it. By Python, which every image has.
# There is no network here but for a socket behind which the worker decides: it is offered as a proxy.
import os, socket, sys, threading

uv, interpreter, environment, python, lock, way = sys.argv[1:]
options = ["--no-progress", "--index-strategy", "unsafe-best-match", "--allow-empty-requirements", "--compile-bytecode"]


def pour(source, sink):
    try:
        while piece := source.recv(1 << 18):
            sink.sendall(piece)
    except OSError:
        pass
    finally:
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def relay(inside):
    outside = socket.socket(socket.AF_UNIX)
    try:
        outside.connect(way)
    except OSError:
        inside.close()
        return
    threading.Thread(target=pour, args=(outside, inside), daemon=True).start()
    pour(inside, outside)


def listen():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def accept():
        while True:
            inside, _ = listener.accept()
            threading.Thread(target=relay, args=(inside,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    proxy = "http://127.0.0.1:%d" % listener.getsockname()[1]
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ[name] = os.environ[name.upper()] = proxy


try:
    ended = os.spawnv(
        os.P_WAIT,
        uv,
        [uv, "venv", "--quiet", "--no-project", "--no-python-downloads", "--python", interpreter, environment],
    )
    if ended == 0:
        listen()
        ended = os.spawnv(os.P_WAIT, uv, [uv, "pip", "sync", *options, "--python", python, lock])
except OSError as error:
    sys.exit(f"uv of this worker does not run here: {error.strerror}")
if ended == 127:
    sys.exit("uv of this worker does not run here; it needs an image with the GNU C library, such as Debian's")
sys.exit(ended if ended >= 0 else 1)
