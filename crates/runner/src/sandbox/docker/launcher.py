# Process 1 of a container: waits for the script, starts it, passes signals on, reaps, and reports the script's own end,
# as `launch.rs` does in the process sandbox. It is in the image's Python, because nothing else can be counted on there;
# without `site` and without modules of the library, because it is on the way of every script.
import posix, select, sys, _signal, _socket

if posix.getpid() != 1:
    # Below it ends "all processes": elsewhere than in a container of its own those would be the machine's.
    sys.exit("only as process 1 of a container")

control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
control.connect(sys.argv[1])
try:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
except ImportError:
    libc = None  # a Python without it: what the engine forbids is forbidden all the same


def prctl(*arguments):
    if libc.prctl(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "prctl")


def report(text):
    try:
        control.sendall(text.encode() + b"\n")
    except OSError:
        pass  # the runner is gone: the next read says so


def receive():
    data, streams = b"", []
    while len(data) < 8 or len(data) < 8 + int.from_bytes(data[:8], "little"):
        part, rights, _, _ = control.recvmsg(65536, 256)
        if not part:
            posix._exit(0)
        data += part
        for _, _, numbers in rights:
            streams += [int.from_bytes(numbers[i : i + 4], sys.byteorder) for i in range(0, len(numbers), 4)]
    return data[8:].split(b"\0"), streams


def restrict(filter):
    """The same second layer as in the process sandbox, over whatever the engine forbids."""

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    code = ctypes.create_string_buffer(filter, len(filter))
    set_seccomp, mode_filter = 22, 2
    prctl(set_seccomp, mode_filter, ctypes.byref(Program(len(filter) // 8, ctypes.addressof(code))))


def become_the_program(fields, streams, failed):
    cwd, umask, filter, count = fields[0], int(fields[1], 8), bytes.fromhex(fields[2].decode()), int(fields[3])
    command, variables = fields[4 : 4 + count], dict(v.split(b"=", 1) for v in fields[4 + count :])
    step = "start a session"
    try:
        posix.setsid()
        step = "set up the standard streams"
        for number, stream in enumerate(streams):
            posix.dup2(stream, number)
        posix.closerange(3, failed)
        posix.closerange(failed + 1, 1 << 20)
        step = "set limits"
        score = posix.open("/proc/self/oom_score_adj", posix.O_WRONLY)
        posix.write(score, b"500")
        posix.close(score)
        step = "enter the working directory"
        posix.chdir(cwd)
        posix.umask(umask)
        for number in range(1, 65):
            try:
                _signal.signal(number, _signal.SIG_DFL)
            except (OSError, ValueError):
                pass
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        step = "restrict itself"
        if libc and filter:
            restrict(filter)
        step = "execute the program"
        command[0] = command[0] or sys.executable  # without a name it is this Python
        posix.execve(command[0], command, variables)
    except OSError as error:
        posix.write(failed, b"%d %s" % (error.errno, step.encode()))
    except Exception:
        posix.write(failed, b"22 %s" % step.encode())  # EINVAL: the plan is at fault
    finally:
        posix._exit(127)


def end_of(status):
    if posix.WIFSIGNALED(status):
        return '"code":null,"signal":%d' % posix.WTERMSIG(status)
    return '"code":%d,"signal":null' % posix.WEXITSTATUS(status)


def kill_all(signal):
    try:
        posix.kill(-1, signal)
    except OSError:
        pass  # nothing is left


cpu_seconds, peak_kibibytes = 0.0, 0


def reap(options):
    global cpu_seconds, peak_kibibytes
    try:
        pid, status, usage = posix.wait4(-1, options)
    except ChildProcessError:
        return 0, 0
    if pid:
        cpu_seconds += usage.ru_utime + usage.ru_stime
        peak_kibibytes = max(peak_kibibytes, usage.ru_maxrss)
    return pid, status


fields, streams = receive()
wake, waker = posix.pipe()
for end in wake, waker:
    posix.set_blocking(end, False)
_signal.signal(_signal.SIGCHLD, lambda number, frame: None)
_signal.set_wakeup_fd(waker)
failure, failed = posix.pipe()
program = posix.fork()
if program == 0:
    become_the_program(fields, streams, failed)
_signal.signal(_signal.SIGINT, _signal.SIG_IGN)
if libc:
    set_dumpable = 4
    prctl(set_dumpable, 0)  # the job is of the same user, and shall not look into this process
posix.close(failed)
for stream in set(streams):
    posix.close(stream)
said = posix.read(failure, 256).decode()
if said:
    errno, _, step = said.partition(" ")
    report('{"failed":{"step":"%s","errno":%s}}' % (step, errno))
    posix._exit(0)
report('"started"')

poll = select.poll()
poll.register(control.fileno(), select.POLLIN)
poll.register(wake, select.POLLIN)
ended = None
while ended is None:
    ready = [number for number, _ in poll.poll()]
    if wake in ready:
        posix.read(wake, 512)
        while True:
            pid, status = reap(posix.WNOHANG)
            if pid == program:
                ended = status
            if not pid:
                break
    if ended is None and control.fileno() in ready:
        order = control.recv(1)
        if order == b"I":
            posix.kill(program, _signal.SIGINT)
        elif order == b"T":
            kill_all(_signal.SIGTERM)
        elif not order:
            posix._exit(0)  # the runner is gone, and with this process goes all there is
kill_all(_signal.SIGKILL)
while reap(0)[0]:
    pass
shared = posix.statvfs("/dev/shm")
report(
    '{"ended":{%s,"cpu_ms":%d,"peak_bytes":%d,"shared_bytes":%d}}'
    % (end_of(ended), cpu_seconds * 1000, peak_kibibytes * 1024, (shared.f_blocks - shared.f_bfree) * shared.f_frsize)
)
# What was counted is read from outside as long as this process is there.
while control.recv(1):
    pass
posix._exit(0)
