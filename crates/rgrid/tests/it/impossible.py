# Tries each deed in a process of its own and prints how it went. `facts.json` says what there is to be found outside.
import ctypes, errno, json, os, socket, sys

facts = json.load(open('facts.json'))
globals().update(facts['there'])
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
# Version 2, effective; every capability there is.
CAPABILITY = (0x02000001).to_bytes(4, 'little') + b'\xff' * 16
held = []


def call(name, *arguments):
    """A system call by its name; a refusal is an OSError."""
    as_c = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    answer = libc.syscall(ctypes.c_long(facts['calls'][name]), *as_c)
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def buffer(size=4096):
    held.append(ctypes.create_string_buffer(size))
    return ctypes.addressof(held[-1])


def read(path):
    with open(path, 'rb') as file:
        file.read(1)


def write(path):
    with open(path, 'ab') as file:
        file.write(b'x')


def trace(pid):
    call('ptrace', 16, pid, 0, 0)


def peek(pid):
    local, remote = (ctypes.c_size_t * 2)(buffer(), 8), (ctypes.c_size_t * 2)(4096, 8)
    call('process_vm_readv', pid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)


def connect(family, address):
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)


def become(change, path='/proc/self'):
    """Any error will do, as long as nothing belongs to somebody else afterwards."""
    before = os.getresuid(), os.getresgid(), os.stat(path).st_uid
    try:
        change()
    except OSError:
        pass
    if (os.getresuid(), os.getresgid(), os.stat(path).st_uid) == before:
        raise PermissionError(errno.EPERM, 'still the same')


def same_namespace(kind):
    if os.readlink(f'/proc/self/ns/{kind}') != namespaces[kind]:
        raise PermissionError(errno.EPERM, 'another one')


def sees_process(word):
    for pid in filter(str.isdigit, os.listdir('/proc')):
        with open(f'/proc/{pid}/cmdline', 'rb') as file:
            if word.encode() in file.read():
                return
    raise ProcessLookupError(errno.ESRCH, 'not seen')


def has_descriptor():
    """A descriptor beyond the three: the one that lists them is gone when it is looked at."""
    for number in os.listdir('/proc/self/fd'):
        if int(number) > 2 and os.path.exists(f'/proc/self/fd/{number}') and int(number) != report:
            return
    raise FileNotFoundError(errno.ENOENT, 'none')


for what, code in facts['deeds']:
    sys.stdout.flush()
    listen, report = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(listen)
        try:
            exec(code)
            said = 'DONE'
        except OSError as error:
            said = errno.errorcode.get(error.errno, repr(error))
        except BaseException as error:
            said = repr(error)
        os.write(report, said.encode())
        os._exit(0)
    os.close(report)
    with os.fdopen(listen) as said:
        told = said.read()
    _, status = os.waitpid(child, 0)
    print(f'{what}: {told or "ended by signal " + str(status)}')
