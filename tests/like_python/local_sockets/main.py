import socket, threading
server = socket.create_server(("127.0.0.1", 0))

def serve():
    peer, _ = server.accept()
    peer.sendall(peer.recv(100).upper())
    peer.close()

thread = threading.Thread(target=serve)
thread.start()
client = socket.create_connection(server.getsockname())
client.sendall(b"hello")
print(client.recv(100))
thread.join()
