"""`kedro` and `dvc` in processes of their own, which do not wait seconds for torch, MLflow and scikit-learn.

A server imports the libraries once and forks for each command. The folder `bin` holds executables named `kedro`, `dvc`
and `python`, which belong before all others on the PATH: each hands its arguments, environment, folder, standard
streams and signals to a fork, and ends as that ends; if it is killed, the fork is killed too. The fork runs what the
real executable would: the same script or module, from its first line to the interpreter's exit. Kedro, DVC and this
project are imported anew each time, from the command's own PYTHONPATH and with its own environment; already there are
only libraries that read neither. Other modules, and commands for more than one thread, are executed as they are. Where
a test is about signals or a start, it takes the real executables: `Project.start`.
"""

import os
import signal
import socket
import sys

MODULES = ("kedro", "dvc", "pipelines", "pipelines.one_method")
"""What is forked of `python -m`."""
LIBRARIES = (
    "torch torch._dynamo torch.utils._sympy.functions safetensors.torch sklearn.linear_model sklearn.neighbors "
    "sklearn.datasets scipy.stats scipy.io pandas pyarrow.parquet pyarrow.pandas_compat PIL.ImageFile "
    "matplotlib.figure matplotlib.backends.backend_agg mpl_toolkits.mplot3d IPython.core.getipython "
    "mlflow.pyfunc mlflow.tracking.request_header.registry mlflow.store.tracking.sqlalchemy_store "
    "mlflow.store.model_registry.sqlalchemy_store opentelemetry.sdk.metrics detect_secrets.core.scan "
    "omegaconf pydantic rich.progress rich.logging rich.pretty git alembic dynaconf flask fsspec.implementations.local "
    "ruamel.yaml pygit2 dulwich.repo scmrepo.git networkx aiohttp sqlalchemy.dialects.sqlite filelock pluggy "
    "more_itertools tabulate rich.traceback slugify attrs parse importlib_metadata lazy_loader xxhash "
    "multiprocessing.managers diskcache voluptuous sqltrie"
)
"""What is imported once, with all that it imports."""
SILENT = ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY")
EXECUTABLE = """#!/bin/sh
exec "{python}" -IS "{script}" "{folder}" "{real}" "$@"
"""
"""A shell, since the path of an interpreter may have spaces; `-IS`, since the client needs no more than sockets."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Server:
    """The server, and the folder of its executables; it ends with the process that has started it."""

    def __init__(self, folder):
        import subprocess
        from pathlib import Path

        self.bin, binaries = folder / "bin", Path(sys.executable).parent
        self.bin.mkdir(parents=True)
        known = {"script": __file__, "folder": folder, "python": sys.executable}
        for name, real in {"kedro": binaries / "kedro", "dvc": binaries / "dvc", "python": sys.executable}.items():
            (self.bin / name).write_text(EXECUTABLE.format(**known, real=real))
            (self.bin / name).chmod(0o755)
        environment = {**os.environ, **dict.fromkeys(SILENT, "true"), "MLFLOW_LOGGING_LEVEL": "ERROR"}
        environment |= {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
        environment.pop("PYTHONPATH", None)
        with socket.socket(socket.AF_UNIX) as listening, (folder / "log").open("w") as log:
            listening.bind(str(folder / "socket"))
            listening.listen(64)  # whoever comes before the libraries are imported waits
            command = [sys.executable, __file__, str(listening.fileno())]
            given = {"env": environment, "pass_fds": [listening.fileno()], "stdin": subprocess.PIPE}
            self.process = subprocess.Popen(command, **given, stdout=log, stderr=log)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def ask(folder, real, *arguments):
    """The executables: has a command run by a fork, and ends as it does."""
    import json

    module = arguments[1] if arguments[:1] == ("-m",) and arguments[1:2] and arguments[1] in MODULES else None
    if os.environ.get("OMP_NUM_THREADS") != "1" or (real == sys.executable and not module):
        os.execv(real, [real, *arguments])
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"{folder}/socket")
        request = {"environment": dict(os.environ), "python": f"{folder}/bin/python", "module": module}
        request = json.dumps({**request, "command": [real, *arguments]}).encode()
        socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2, os.open(".", os.O_RDONLY)])
        server.sendall(request)
        for number in FORWARDED:
            signal.signal(number, lambda number, _: server.send(bytes([number])))
        status = int.from_bytes(server.recv(4) or sys.exit(f"{folder}: the server is gone, see its log"), "big")
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def serve(number):
    """Forks for each command, and returns in the fork, with the request."""
    import gc
    import importlib
    import select
    from pathlib import Path

    for name in LIBRARIES.split():
        importlib.import_module(name)
    if len([*Path("/proc/self/task").iterdir()]) > 1:
        sys.exit("a library has started a thread, which no fork would have")
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=int(number)) as listening:
        while True:
            ready, _, _ = select.select([listening, 0], [], [])
            if 0 in ready:  # who has started it is gone
                os._exit(0)
            connection, _ = listening.accept()
            if not os.fork():
                break
            connection.close()
    return attend(connection)


def attend(connection):
    """Forks the command, waits for its end, and returns in the fork, with the request."""
    import json
    import select
    from contextlib import suppress

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, 8, 4)
    request = json.loads(connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    child = os.fork()
    if not child:
        os.setsid()
        connection.close()
        os.fchdir(streams.pop())
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return request
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    while ended not in select.select([ended, connection], [], [])[0]:
        received = connection.recv(1)
        with suppress(ProcessLookupError):
            os.kill(child, received[0] if received else signal.SIGKILL)
            if not received:  # who has asked was killed
                os.killpg(child, signal.SIGKILL)
                break
    with suppress(BrokenPipeError):
        connection.send(os.waitpid(child, 0)[1].to_bytes(4, "big"))
    os._exit(0)


def run(request):
    """Becomes the command, and ends as an interpreter does, but for taking all modules apart, which would copy them."""
    import atexit
    import runpy
    import threading
    from pathlib import Path

    os.environ.clear()
    os.environ.update(request["environment"])
    sys.executable = request["python"]
    script, *arguments = request["command"]
    added = [Path.cwd() / each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:1] = map(str, [Path.cwd() if request["module"] else Path(script).parent, *added])
    code = None
    try:
        if request["module"]:
            sys.argv = ["-m", *arguments[2:]]
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [script, *arguments]
            runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        ask(*sys.argv[1:])
    else:
        run(serve(sys.argv[1]))
