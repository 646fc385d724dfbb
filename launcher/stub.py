import sys

BLOBS = {}
SLOW = (0, 0)
words = sys.argv[1:]
try:
    import _signal

    if _signal.getsignal(2) is _signal.default_int_handler:
        _signal.signal(2, _signal.SIG_DFL)
    import _frozen_importlib_external
    import gc
    import marshal
    import posix

    gc.disable()
    fd = posix.open(words[0], 0)
    offset, length = BLOBS[_frozen_importlib_external.MAGIC_NUMBER.hex()]
    parts = marshal.loads(posix.pread(fd, length, offset))
    launcher = sys.modules["kache_launcher"] = type(sys)("kache_launcher")
    exec(parts[0], launcher.__dict__)
    launcher.start(words, fd, offset + length, parts)
except Exception:
    slow = {}
    try:
        with open(words[0], "rb") as file:
            file.seek(SLOW[0])
            exec(compile(file.read(SLOW[1]), "launcher/slow.py", "exec"), slow)
        main = slow["main"]
    except Exception:
        import os
        import signal

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        try:
            os.execvp(words[2], words[2:])
        except Exception:
            sys.exit("kache: " + words[0] + " is damaged: install it again")
    main(words[0], words[1], words[2:])
