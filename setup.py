"""Builds the extension, and compiles what is to be fast; the rest is in setup.cfg.

The extension has to be built: what that needs and is not there is named in one line, before
pip looks for the libraries, some of which need the same.  Compiling is only for speed: if
mypyc is missing or fails, or FUSEFS_PURE=1 is set, one line says so and the sources will run
as they are.
fusefs/compiled.py says what is compiled, where that lies, and why it cannot be stale.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.dist_info import dist_info

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fusefs import compiled

LOWLEVEL = "fusefs.live.extension._lowlevel"


def pkg_config(*words: str) -> list[str]:
    return subprocess.check_output(["pkg-config", *words, "fuse3"], text=True).split()


def missing_packages() -> list[str]:
    """Debian's names of what the extension cannot be built without."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")[0]
    missing = []
    if shutil.which(compiler) is None:
        missing.append("gcc")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    if shutil.which("pkg-config") is None:
        missing += ["pkg-config", "libfuse3-dev"]
    elif subprocess.run(["pkg-config", "--exists", "fuse3"], check=False).returncode:
        missing.append("libfuse3-dev")
    return missing


def check_packages() -> None:
    if missing := missing_packages():
        sys.exit(f"fusefs: cannot be built without {', '.join(missing)} (Debian's package names)")


class DistInfo(dist_info):
    """What pip asks for first, and only if it is going to build."""

    def run(self) -> None:
        check_packages()
        super().run()


def compiled_modules(build_dir: str) -> list[Extension]:
    """One library and, for each module, a few lines that load it; the C is in build_dir."""
    from mypyc.build import mypycify

    extensions: list[Extension] = mypycify(
        [
            "--config-file=",
            "--ignore-missing-imports",  # pyfuse3, of what is not compiled; ./dev lint has it
            *(f"fusefs/{name}" for name in compiled.modules()),
        ],
        opt_level="1",  # 2 and 3 take half as long again to build and gain nothing
        debug_level="0",
        group_name="fusefs.compiled",
        target_dir=build_dir,
    )
    for extension in extensions:
        extension.name = extension.name.replace("fusefs.", "fusefs._compiled.", 1)
        extension.optional = True
    return extensions


class BuildExtensions(build_ext):
    """Adds the compiled modules, which setup() itself would generate for every command."""

    def run(self) -> None:
        check_packages()
        [lowlevel] = [each for each in self.extensions if each.name == LOWLEVEL]
        lowlevel.extra_compile_args += pkg_config("--cflags")
        lowlevel.extra_link_args += pkg_config("--libs")
        top = Path("" if self.inplace else self.build_lib, "fusefs", "_compiled")
        shutil.rmtree(top, ignore_errors=True)  # a module that is not compiled any more counts, too
        for name in compiled.modules():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
        stamp = top / "stamp"
        before = compiled.stamp(compiled.modules())
        modules = self.add_compiled()
        super().run()
        files = [Path(self.get_ext_fullpath(module.name)) for module in modules]
        if files and all(file.exists() for file in files):
            if before == compiled.stamp(compiled.modules()):  # nobody edited a file meanwhile
                stamp.write_text(before)
        else:
            print("fusefs: not compiled; the sources will run, interpreted", file=sys.stderr)

    def add_compiled(self) -> list[Extension]:
        if compiled.PURE:
            return []
        try:
            modules = compiled_modules(os.path.join(self.build_temp, "compiled"))
        except (Exception, SystemExit) as error:  # mypyc exits on a type error
            print(f"fusefs: mypyc: {error}", file=sys.stderr)
            return []
        self.distribution.ext_modules.extend(modules)
        self.swig_opts = None  # the one option that cannot be finalized twice
        self.finalized = False
        self.ensure_finalized()
        return modules


setup(
    cmdclass={"build_ext": BuildExtensions, "dist_info": DistInfo},
    ext_modules=[
        Extension(
            LOWLEVEL,
            ["fusefs/live/extension/_lowlevel.pyx"],
            depends=sorted(map(str, Path("fusefs/live/extension").glob("_*.px?"))),
            extra_compile_args=[
                "-O2",
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",  # handlers ignore some of what libfuse passes
            ],
            extra_link_args=["-ldl"],
        )
    ],
)
