# A proxy for `torch.rs`, behind which two package indexes lie: PyTorch's for machines without a GPU, and everybody's. What it
# is asked for lies in its folder: `cert.pem`, `key.pem`, and `down` while PyTorch's does not answer.
import hashlib, io, os, socketserver, ssl, sys, zipfile

PYTORCH, EVERYBODYS = "download.pytorch.org", "packages.test"


def wheel(name, version, *needs):
    module = name.replace("-", "_")
    about = f"{module}-{version}.dist-info/"
    needs = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{module}.py": f"__version__ = '{version}'\n",
        about + "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        about + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[about + "RECORD"] = "".join(file + ",,\n" for file in [*files, about + "RECORD"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return name, f"{module}-{version}-py3-none-any.whl".replace("+", "%2B"), out.getvalue()


GPU = ["filelock", "nvidia-x", "triton"]
INDEXES = {
    # As the real one has it: other packages too, and not always in the newest version.
    PYTORCH: ("/whl/cpu/", [wheel("torch", "2.5.1+cpu", "filelock"), wheel("filelock", "3.13")]),
    EVERYBODYS: (
        "/simple/",
        [
            wheel("torch", "2.5.1", *GPU),
            wheel("torch", "2.5.0", *GPU),
            wheel("filelock", "3.16"),
            wheel("nvidia-x", "12"),
            wheel("triton", "3.1", "filelock"),
            wheel("nvidia-meter", "1"),
            wheel("meter", "1", "nvidia-meter"),
        ],
    ),
}


def answer(host, path):
    root, wheels = INDEXES[host]
    links = [
        f'<a href="/files/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>\n'
        for name, file, content in wheels
        if path == f"{root}{name}/"
    ]
    if links:
        return "200 OK", "text/html", ("<!DOCTYPE html>\n" + "".join(links)).encode()
    for _, file, content in wheels:
        if path == f"/files/{file}":
            return "200 OK", "application/zip", content
    return "404 Not Found", "text/plain", b""


def asked(stream):
    first = stream.readline().decode().split()
    while stream.readline().strip():
        pass
    return first


class Proxy(socketserver.StreamRequestHandler):
    def handle(self):
        _, authority, _ = asked(self.rfile)
        host = authority.split(":")[0]
        if host not in INDEXES or host == PYTORCH and os.path.exists("down"):
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        stream = context.wrap_socket(self.connection, server_side=True).makefile("rwb")
        while first := asked(stream):
            status, kind, body = answer(host, first[1])
            head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
            stream.write(head.encode() + (b"" if first[0] == "HEAD" else body))
            stream.flush()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # Whoever looks only once hangs up.
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server = Server(("127.0.0.1", 0), Proxy)
print(server.server_address[1], flush=True)
server.serve_forever()
