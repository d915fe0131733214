"""Runs programs that were written for Prefect 3, unchanged, on Tidegate.

    python -m tidegate.compat.prefect script.py [arguments]
    python -m tidegate.compat.prefect -m module [arguments]

`import prefect` and what is below it then give the names of ``modules/``, each of which stands for the module of that
name and is a list of names over Tidegate's own. In a notebook, or where a program is started in another way, call
:func:`install` before the first ``import prefect``:

    import tidegate.compat.prefect
    tidegate.compat.prefect.install()

A name that is not there says so, and what to use instead, when it is imported. ``README.md`` beside this file lists all
names. Prefect itself is neither needed nor touched where it is installed; within a process that has called `install`,
``prefect`` is this one.
"""

from ._finder import install

__all__ = ["install"]
