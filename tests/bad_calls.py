"""Bad calls as data: what each must answer. A new command or option adds rows here; tests/cli/test_bad_calls.py calls.

The calls are made in a folder that holds mine.py (a study file), best.json and best.safetensors (of that study),
mtlsearch.db (a made store of the study "made"), and the files of FILES.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Call(NamedTuple):
    """A call, its exit status, and a part of its one line on stderr."""

    words: tuple[str, ...]
    status: int
    said: str


LONG = "x" * 300
SURROGATE = "a\ud800b"
DEEP = "[" * 9_000
CONFIG = '{"format": "mtlsearch/config/1"'

# Files that no reader can use, by name.
FILES: dict[str, bytes] = {
    "empty.json": b"",
    "cut.json": b'{"format": "mtl',
    "list.json": b"[]",
    "other.json": b'{"format": "other/1"}',
    "digits.json": b'{"format": ' + b"9" * 400 + b"}",
    "infinite.json": b'{"format": 1e999}',
    "deep.json": b"[" * 100_000,
    "bytes.json": bytes(range(128, 256)),
    "bare.json": CONFIG.encode() + b"}",
    "empty.safetensors": b"",
    "random.safetensors": bytes(range(256)),
    "pickle.safetensors": b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.",
    "empty.csv": b"",
    "header.csv": b"a,b\n",
    "uneven.csv": b"a,b\n1,2,3\n",
    "twice.csv": b"a,a\n1,2\n",
    "bytes.csv": b"a,b\n\xff\xfe,1\n",
    "wide.csv": ",".join(f"c{i}" for i in range(100_000)).encode() + b"\n",
    "long.csv": b"a" * 200_000,
    "same.csv": b"a,b\n" + b"1,1\n" * 20,
    "good.csv": b"a,b\n" + b"".join(b"%d,%d\n" % (i, i % 2) for i in range(60)),
    "vast.npy": b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (18014398509481984,), }".ljust(117)
    + b"\n",
    "deep.npy": b"\x93NUMPY\x02\x00" + (9_001).to_bytes(4, "little") + DEEP.encode() + b"\n",
    "empty.npy": b"",
    "empty.png": b"",
    "cut.png": b"\x89PNG\r\n\x1a\n",
    "letter.txt": b"Dear reader",
    "text.db": b"a letter",
    "zero.db": b"",
    "broken.py": b"def (",
    "exits.py": b"raise SystemExit(0)",
    "nothing.py": b"x = 1",
    "infinite.py": b"from mtlsearch import real\nreal(0, float('inf'))",
    "backwards.py": b"from mtlsearch import integer\ninteger(3, 1)",
    "vast.py": b"from mtlsearch import integer\ninteger(1, 10**30)",
    "logarithm.py": b"from mtlsearch import real\nreal(0, 1, log=True)",
    "choiceless.py": b"from mtlsearch import choice\nchoice()",
}

# Options of whole numbers with their bounds (None: of the machine), and the commands that take them.
WHOLE = {
    "--trials": (1, 10**6, ("run", "compare")),
    "--searches": (1, 100, ("run",)),
    "--seed": (0, 2**63 - 1, ("run", "train")),
    "--epochs": (1, 10**6, ("run", "train")),
    "--threads": (1, None, ("run", "confirm", "compare", "group", "train", "verify")),
    "--population": (1, 4096, ("run", "compare")),
    "--seeds": (1, 1000, ("run", "confirm", "compare", "group")),
    "--top": (1, 1000, ("run", "confirm")),
    "--port": (1, 65535, ("dashboard",)),
}
CHOICES = {
    "--precision": ("fp8", ("run", "confirm", "compare", "group")),
    "--format": ("xml", ("trials",)),
}
# What a command needs beside the option at fault.
GIVEN = {
    "run": ("mine.py",),
    "train": ("mine.py",),
    "verify": ("best.json",),
    "predict": ("best.safetensors", "x.npy"),
    "explain": ("best.safetensors", "x.npy"),
}
COMMANDS = (
    "run", "studies", "init", "best", "confirm", "compare", "group", "export", "train", "verify", "predict",
    "explain", "trials",
    "report", "dashboard", "serve", "submit", "status", "stop", "fetch",
)  # fmt: skip
STORE_READERS = ("best", "confirm", "compare", "group", "export", "trials", "report")
STORES = {
    "sqlite:///none.db": "there is no such file",
    "sqlite:///.": "is a folder",
    "sqlite:///": "write sqlite:///FILE",
    "sqlite://": "write sqlite:///FILE",
    "sqlite:////": "is a folder",
    "sqlite:///..": "is a folder",
    "sqlite:///text.db": "not a SQLite database",
    "sqlite:///zero.db": "it is empty",
    "sqlite:///mtlsearch.db?timeout=abc": "takes no options",
    f"sqlite:///{LONG}": "300 bytes long",
    "sqlite:///a\nb": "one line of printable text",
    "mtlsearch.db": "for that file write sqlite:///mtlsearch.db",
    "mysql://host/name": "cannot be kept in 'mysql'",
    "nonsense://host": "cannot be kept in 'nonsense'",
    "postgresql+nonsense://host/name": "unknown database driver",
    "://": "cannot read the storage URL",
    "": "takes a URL",
}


def calls() -> Iterator[Call]:
    """Every bad call."""
    yield from _usage()
    yield from _numbers()
    yield from _stores()
    yield from _studies()
    yield from _models()
    yield from _inits()
    yield from _rest()
    yield from _service()


def _usage() -> Iterator[Call]:
    yield Call(("nonsense",), 2, "No such command")
    yield Call(("--nonsense",), 2, "No such option")
    for command in COMMANDS:
        given = GIVEN.get(command, ())
        yield Call((command, *given, "--nonsense"), 2, "No such option '--nonsense'")
        yield Call((command, "--help=x"), 2, "does not take a value")
        yield Call((command, *given, "-o"), 2, "'-o'")
    for command in ("train", "verify", "predict", "explain"):
        yield Call((command,), 2, "Missing argument")
    for command in STORE_READERS:
        yield Call((command, "made", "more"), 2, "unexpected extra argument")
        yield Call((command, "--name"), 2, "requires an argument")
    for command in ("studies", "dashboard"):
        yield Call((command, "more"), 2, "unexpected extra argument")


def _numbers() -> Iterator[Call]:
    for option, (low, high, commands) in WHOLE.items():
        for command in commands:
            given = GIVEN.get(command, ())
            for text in ("abc", "1.5", "", "1e3", "nan"):
                yield Call((command, *given, option, text), 2, "is not a valid integer")
            yield Call((command, *given, option, str(low - 1)), 2, "is not in the range")
            yield Call((command, *given, option, "-" + "9" * 30), 2, "is not in the range")
            beyond = "is not in the range" if high else "or less on this machine"
            yield Call((command, *given, option, str((high or 99_999) + 1)), 2, beyond)
            yield Call((command, *given, option, "9" * 30), 2, beyond)
    for text in ("0", "-1", "inf", "-inf"):
        yield Call(("run", "mine.py", "--timeout", text), 2, "is not in the range")
    yield Call(("run", "mine.py", "--timeout", "nan"), 2, "timeout must be above 0")
    yield Call(("run", "mine.py", "--timeout", "soon"), 2, "is not a valid float")
    for option, (value, commands) in CHOICES.items():
        for command in commands:
            yield Call((command, *GIVEN.get(command, ()), option, value), 2, f"'{value}' is not one of")


def _stores() -> Iterator[Call]:
    for command in (*STORE_READERS, "dashboard"):
        for url, said in STORES.items():
            yield Call((command, "--storage", url), 2 if LONG in url else 1, said)
        if command != "dashboard":
            yield Call((command, "--name", "none"), 1, "no study 'none'")
            yield Call((command, "--name", LONG), 2, "1 to 200 letters")
            yield Call((command, "--name", ""), 2, "1 to 200 letters")
            yield Call((command, "--name", SURROGATE), 2, "of Unicode")
            yield Call((command, "--name", "\x1b[2J"), 1, "\\x1b[2J")
    for command in ("best", "export", "trials"):
        yield Call((command, "none"), 1, "no study 'none'")


def _studies() -> Iterator[Call]:
    files = {
        "none": "no study 'none'",
        "./none.py": "no study file",
        "broken.py": "SyntaxError",
        "exits.py": "SystemExit",
        "nothing.py": "must define",
        "infinite.py": "finite numbers",
        "backwards.py": "low ≤ high",
        "vast.py": "whole numbers of at most",
        "logarithm.py": "a low above 0",
        "choiceless.py": "needs a value or more",
        "\x1b[2J": "\\x1b[2J",
    }
    for study, said in files.items():
        yield Call(("run", study), 1, said)
        yield Call(("train", study), 1, said)
    for study in (LONG, SURROGATE):
        yield Call(("run", study), 2, "no file can have the name")
        yield Call(("train", study), 2, "no file can have the name")
    for option in ("--sampler", "--pruner"):
        for value in ("..", ".", "", "a..b", "nonsense", "os.path", "no.such.Thing", "optuna.samplers", "1.2", LONG):
            yield Call(("run", "mine.py", option, value), 2, f"{option} must be")
    for value in ("", "x", "=", "kind=", "=fine", "none=1", "kind=none", "learning_rate=9", "learning_rate=nan"):
        yield Call(("run", "mine.py", "--set", value), 2, "")
    for value in ("tpu", "cuda:x", "cpu:3", "", "meta", "cuda:99"):
        yield Call(("run", "mine.py", "--device", value), 2, "--device")
    yield Call(("run", "mine.py", "--searches", "2", "--no-confirm"), 2, "but got --no-confirm")
    yield Call(("run", "mine.py", "--score", "max"), 2, "mean, min, log_error, pareto or tasks")


def _models() -> Iterator[Call]:
    configs = {
        "empty.json": "is empty",
        "cut.json": "not whole JSON",
        "list.json": "of the format",
        "other.json": "of the format",
        "digits.json": "a number of 400 digits",
        "infinite.json": "is too large",
        "deep.json": "not whole JSON",
        "bytes.json": "it is not text",
        "bare.json": "is a required property",
        "none.json": "cannot be read",
    }
    for config, said in configs.items():
        yield Call(("train", config), 1, said)
        yield Call(("verify", config), 1, said)
    for command in ("train", "verify"):
        yield Call((command, "best.json"), 1, "add --study PATH")
        yield Call((command, "best.json", "--study", "none.py"), 1, "no study file")
        yield Call((command, "best.json", "--study", "digits"), 1, "for the tasks a, b")
    yield Call(("train", "mine.py", "-o", "none/model.safetensors"), 1, "cannot be written")
    yield Call(("train", "mine.py", "-o", "."), 1, "cannot be written")
    for command in ("predict", "explain"):
        for model in ("empty", "random", "pickle"):
            yield Call((command, f"{model}.safetensors", "x.npy"), 1, "is not a whole safetensors file")
        yield Call((command, "none", "x.npy"), 1, "no file of parameters")
        yield Call((command, LONG, "x.npy"), 2, "no file can have the name")
        yield Call((command, SURROGATE, "x.npy"), 2, "no file can have the name")
        yield Call((command, "best.safetensors", "x.npy"), 1, "add --study PATH")
        for name, said in {
            "vast.npy": "no whole .npy array",
            "deep.npy": "no whole .npy array",
            "empty.npy": "no whole .npy array",
            "empty.png": "no readable picture",
            "cut.png": "no readable picture",
            "letter.txt": "no readable picture",
            "empty.csv": "but got 0",
            "bytes.csv": "no readable CSV",
            "none.npy": "no input file",
            "long.csv": "",
            "wide.csv": "but got 0",
        }.items():
            yield Call((command, "best.safetensors", name, "--study", "mine.py"), 1, said)
    yield Call(("explain", "best.safetensors", "x.npy", "-o", "page.doc"), 2, "must end in")


def _inits() -> Iterator[Call]:
    for name, said in {
        "none.csv": "no table",
        "empty.csv": "is empty",
        "header.csv": "no rows",
        "uneven.csv": "3 cells",
        "twice.csv": "is there twice",
        "bytes.csv": "not UTF-8",
        "wide.csv": "columns or fewer",
        "long.csv": "",
        "cut.png": "",
    }.items():
        yield Call(("init", "--csv", name, "--targets", "a", "-o", "new.py"), 1, said)
    yield Call(("init", "--csv", "good.csv", "-o", "new.py"), 2, "--targets must name the columns to predict")
    yield Call(("init", "good.csv", "--csv", "good.csv", "--targets", "a", "-o", "new.py"), 2, "takes one table")
    yield Call(("init", "more", "yet more", "-o", "new.py"), 2, "unexpected extra argument")
    yield Call(("init", "new.py"), 2, "with --out new.py")
    yield Call(("init", "--targets", "a", "-o", "new.py"), 2, "are about a table: name it")
    yield Call(("init", "--csv", "good.csv", "--targets", "none", "-o", "new.py"), 1, "is no column")
    yield Call(("init", "--csv", LONG, "--targets", "a"), 2, "no file can have the name")
    yield Call(("init", "-o", "none/new.py"), 1, "cannot be written")


def _rest() -> Iterator[Call]:
    yield Call(("export", "-o", "none/best.json"), 1, "cannot be written")
    yield Call(("export", "--checkpoint", "none/best.safetensors"), 1, "cannot be written")
    yield Call(("export", "-o", LONG), 2, "no file can have the name")
    yield Call(("report", "-o", "none/r.html"), 1, "cannot be written")
    yield Call(("trials", "--format", "csv", "-o", "none/t.csv"), 1, "cannot be written")
    yield Call(("trials", "--format", "parquet"), 2, "name it with -o")
    yield Call(("trials", "-o", "t.txt"), 2, "name csv, json or parquet")
    yield Call(("trials", "--raw"), 2, "--raw is for --format csv")
    yield Call(("compare", "mine.py", "--methods", "nonsense"), 2, "nonsense")
    yield Call(("group", "none"), 1, "no study 'none'")
    yield Call(("group", "none.py"), 1, "no study file none.py")
    yield Call(("group", "mine.py", "--top", "-1"), 2, "is not in the range")
    yield Call(("group", "mine.py", "--resplit", "-1"), 2, "is not in the range")
    yield Call(("export", "--grouping"), 1, "has no grouping yet")
    yield Call(("export", "--grouping", "--search"), 2, "goes with neither")
    yield Call(("export", "--grouping", "--checkpoint", "b.safetensors"), 2, "goes with neither")
    for host in ("", " ", "a b", "\x1b[2J", "no.such.host.invalid", "999.1.1.1", "x" * 300, "192.0.2.1"):
        yield Call(("dashboard", "--host", host), 2, "")
    yield Call(("studies", "--json=x"), 2, "does not take a value")


def _service() -> Iterator[Call]:
    for host in ("0.0.0.0", "192.0.2.1", "::", "no.such.host.invalid"):
        yield Call(("serve", "--host", host), 2, "needs --token-file")
    yield Call(("serve", "--token-file", "none"), 2, "cannot be read")
    yield Call(("serve", "--token-file", "letter.txt"), 2, "chmod 600")
    yield Call(("serve", "--studies", "none"), 2, "--studies must be a folder")
    yield Call(("serve", "--devices", "gpu"), 2, "--devices takes auto")
    yield Call(("serve", "--devices", ""), 2, "--devices takes auto")
    yield Call(("serve", "--at-once", "0"), 2, "is not in the range")
    yield Call(("serve", "--log-format", "xml"), 2, "is not one of")
    yield Call(("serve", "--storage", "mysql://host/name"), 1, "cannot be kept in 'mysql'")
    yield Call(("serve", "--folder", "mine.py/x"), 1, "must be writable")
    for words in (("submit", "digits"), ("status",), ("status", "digits"), ("stop", "1"), ("fetch", "1")):
        yield Call((*words, "--server", "http://127.0.0.1:9"), 1, "cannot be reached")
        yield Call((*words, "--server", "ftp://host"), 2, "a server's URL is http://HOST:PORT")
        yield Call((*words, "--server", "http://me:secret@127.0.0.1:9"), 2, "holds no password")
        yield Call((*words, "--token-file", "none"), 2, "cannot be read")
    yield Call(("submit",), 2, "STUDY")
    yield Call(("submit", "digits", "--trials", "0"), 2, "is not in the range")
    yield Call(("submit", "digits", "--priority", "5000"), 2, "is not in the range")
    yield Call(("submit", "digits", "--storage", "sqlite:///x.db"), 2, "No such option")
    yield Call(("status", "--wait", "--server", "http://127.0.0.1:9"), 2, "follows one search")
    yield Call(("stop",), 2, "SEARCH")
    yield Call(("fetch", "1", "-o", "none/best.json"), 1, "cannot be written")
