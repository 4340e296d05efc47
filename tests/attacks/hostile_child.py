"""A program that tries everything a child of the daemon must not be able to do, and writes down what came of it.

Arguments: the data directory after an `@` (a plain argument that lies there would be explained and refused), the
daemon's socket, the daemon's process, another process of the same user, the name of an abstract socket, and the file
for the results.
"""

import ctypes
import errno
import json
import os
import resource
import socket
import subprocess
import sys

DATA, SOCKET, DAEMON, OTHER, ABSTRACT, OUT = (word.removeprefix("@") for word in sys.argv[1:7])
LIBC = ctypes.CDLL(None, use_errno=True)
NEW_USER, NEW_MOUNT, NEW_PID = 0x10000000, 0x20000, 0x20000000


def libc(name, *arguments):
    ctypes.set_errno(0)
    if getattr(LIBC, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
    return "done"


def content(path):
    with open(path, "rb") as file:
        return file.read(64).decode("latin-1")


def connected(address):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
    return "connected"


def bind_root():
    """Show the root elsewhere, without what lies over parts of it."""
    place = OUT + ".mnt"
    os.makedirs(place, exist_ok=True)
    libc("mount", b"/", place.encode(), None, 4096, None)
    return content(place + DATA + "/auth_token")


def new_namespace():
    """A user and a mount namespace of our own, in which we would be root: take the cover away."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            libc("unshare", NEW_USER | NEW_MOUNT)
            libc("umount2", DATA.encode(), 2)
            content(DATA + "/auth_token")
        except OSError as error:
            code = error.errno
        else:
            code = 0
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, "in a namespace of our own")
    return "the token"


def read_memory():
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    return libc("process_vm_readv", int(OTHER), vector, 1, vector, 1, 0)


TRIALS = {
    "list": lambda: ",".join(os.listdir(DATA)) or "nothing",
    "open": lambda: content(f"{DATA}/auth_token"),
    "open by the working directory": lambda: content("auth_token"),
    "write": lambda: open(f"{DATA}/planted", "w").close() or "done",
    "remove": lambda: os.unlink(f"{DATA}/auth_token") or "done",
    "move": lambda: os.rename(DATA, DATA + "-moved") or "done",
    "link": lambda: os.link(f"{DATA}/auth_token", OUT + ".link") or "done",
    "connect": lambda: connected(SOCKET),
    "connect to an abstract socket": lambda: connected(f"\0{ABSTRACT}"),
    "umount": lambda: libc("umount2", DATA.encode(), 2),
    "mount": lambda: libc("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "bind mount": bind_root,
    "unshare": lambda: libc("unshare", NEW_MOUNT),
    "a user namespace": lambda: libc("unshare", NEW_USER),
    "a namespace of its own": new_namespace,
    "enter a namespace": lambda: libc("setns", os.open(f"/proc/{OTHER}/ns/mnt", os.O_RDONLY), 0),
    "read memory": read_memory,
    "chroot": lambda: os.chroot("/") or "done",
}
for who, pid in (("the daemon", DAEMON), ("another process", OTHER)):
    TRIALS |= {
        f"ptrace {who}": lambda pid=pid: libc("ptrace", 16, int(pid), 0, 0),
        f"signal {who}": lambda pid=pid: os.kill(int(pid), 0) or "done",
        f"limit {who}": lambda pid=pid: str(resource.prlimit(int(pid), resource.RLIMIT_CPU)),
        f"{who}: mem": lambda pid=pid: str(os.open(f"/proc/{pid}/mem", os.O_RDONLY)),
        f"{who}: environ": lambda pid=pid: content(f"/proc/{pid}/environ"),
        f"{who}: maps": lambda pid=pid: content(f"/proc/{pid}/maps"),
        f"{who}: root": lambda pid=pid: content(f"/proc/{pid}/root{DATA}/auth_token"),
        f"{who}: cwd": lambda pid=pid: ",".join(os.listdir(f"/proc/{pid}/cwd/")),
        f"{who}: fd": lambda pid=pid: content(f"/proc/{pid}/fd/0"),
    }


def main():
    results = {}
    order = sorted(TRIALS, key=lambda name: name in {"remove", "unshare", "a user namespace", "move"})
    for name in order if "--all" in sys.argv else [name for name in order if name in sys.argv[7:]]:
        try:
            results[name] = TRIALS[name]()
        except OSError as error:
            results[name] = "refused: " + errno.errorcode.get(error.errno or 0, str(error))
    results["environment"] = sorted(os.environ)
    results["descriptors"] = sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1]
    results["ids"] = [os.getuid(), os.geteuid(), os.getgid()]
    results["runs"] = subprocess.run(["sh", "-c", "echo yes"], capture_output=True, text=True, check=False).stdout
    with open(OUT + ".part", "w") as file:
        json.dump(results, file)
    os.rename(OUT + ".part", OUT)


main()
for _ in sys.stdin:
    pass
