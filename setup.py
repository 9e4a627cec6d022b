"""Builds the compiled extension; everything else is in setup.cfg."""

import subprocess

from setuptools import Extension, setup


def pkg_config(*words: str) -> list[str]:
    return subprocess.check_output(["pkg-config", *words, "fuse3"], text=True).split()


setup(
    ext_modules=[
        Extension(
            "fusefs.live._lowlevel",
            ["fusefs/live/_lowlevel.pyx"],
            extra_compile_args=[
                *pkg_config("--cflags"),
                "-O2",
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",  # handlers ignore some of what libfuse passes
            ],
            extra_link_args=[*pkg_config("--libs"), "-ldl"],
        )
    ]
)
